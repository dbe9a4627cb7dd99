"""Votes as they are kept, one row each, whole: ties and "both bad", both answers with verdicts and fingerprints, the
settings, ISO times. From such rows the votes can be put back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, get_args

from eval_prompts.votes.formats import Kind, Row, read, written
from eval_prompts.votes.records import (
    MAX_NAME,
    Answered,
    ShownPair,
    SideName,
    Vote,
    VotedPair,
    check_vote,
    is_name,
    storable,
)
from tuning.errors import UserError

SIDE_COLUMNS: dict[str, Kind] = {
    "text": "text", "tokens": "whole", "seconds": "number", "state": "text", "model": "text", "fingerprint": "text",
    "verdict": "data",
}  # fmt: skip
COLUMNS: dict[str, Kind] = {
    "pair": "text", "session": "text", "choice": "text", "outcome": "text", "blind": "flag", "streaming": "flag",
    "reasons": "texts", "comment": "text", "voted_at": "text", "changed_at": "text", "network": "text",
    "asked_at": "text", "asker": "text", "question": "text", "probe": "text", "left": "text", "shown_blind": "flag",
    "settings": "data", "conversation": "text", "turn": "whole",
    **{f"{side}_{name}": kind for side in ("base", "tuned") for name, kind in SIDE_COLUMNS.items()},
}  # fmt: skip
BEFORE_CONVERSATIONS = {"conversation": "", "turn": 1}
"""What files of before conversations were kept do not say."""
PREFERENCE_MARKS = {"chosen", "rejected"}


def whole_rows(votes: Iterable[VotedPair]) -> list[Row]:
    """One row for each vote; times are ISO 8601 in UTC to the microsecond."""
    return [_row(voted) for voted in votes]


def export_whole(votes: Iterable[VotedPair], form: str) -> tuple[bytes, int]:
    """A file's content in 'csv', 'jsonl' or 'parquet', and its number of rows. Raises UserError for another form."""
    rows = whole_rows(votes)
    return written(rows, COLUMNS, form), len(rows)


def read_whole(content: bytes, form: str) -> list[VotedPair]:
    """The votes of such a file. Raises UserError, naming the row, for a file of something else."""
    rows = read(content, COLUMNS, form)
    if rows and set(rows[0]) >= PREFERENCE_MARKS:
        raise UserError(
            "These are preference pairs, which leave out ties, verdicts and settings, so they cannot be restored: "
            "import votes that were exported whole."
        )
    votes = []
    for number, row in enumerate(rows, 1):
        try:
            votes.append(_voted(BEFORE_CONVERSATIONS | row))
        except KeyError as error:
            raise UserError(f"Row {number} is no vote: its column {error.args[0]!r} is missing.") from None
        except (TypeError, ValueError, UserError) as error:
            raise UserError(f"Row {number} is no vote: {str(error).rstrip('.')}.") from None
    return votes


def _row(voted: VotedPair) -> Row:
    pair, vote = voted.pair, voted.vote
    row: Row = {
        "pair": pair.id,
        "session": vote.session,
        "choice": vote.choice,
        "outcome": vote.outcome,
        "blind": vote.blind,
        "streaming": vote.streaming,
        "reasons": list(vote.reasons),
        "comment": vote.comment,
        "voted_at": iso(vote.created),
        "changed_at": iso(vote.changed),
        "network": vote.network,
        "asked_at": iso(pair.created),
        "asker": pair.session,
        "question": pair.question,
        "probe": pair.probe or "",
        "left": pair.left,
        "shown_blind": pair.blind,
        "settings": pair.settings,
        "conversation": pair.conversation,
        "turn": pair.turn,
    }
    for side, answer in (("base", pair.base), ("tuned", pair.tuned)):
        values = (
            answer.text, answer.tokens, float(answer.seconds), answer.state, answer.label, answer.fingerprint,
            answer.verdict,
        )  # fmt: skip
        row |= {f"{side}_{name}": value for name, value in zip(SIDE_COLUMNS, values, strict=True)}
    whole: Row = storable(row)
    return whole


def _voted(row: Mapping[str, Any]) -> VotedPair:
    """The vote of a row. Raises KeyError, TypeError, ValueError or UserError for what is none."""
    for name, kind in COLUMNS.items():
        _check(name, row[name], kind)
    if not all(is_name(row[name]) for name in ("pair", "session", "asker")):
        raise ValueError(f"pair, session and asker are names of at most {MAX_NAME} characters")
    if row["conversation"] and not is_name(row["conversation"]):
        raise ValueError(f"conversation is a name of at most {MAX_NAME} characters, or empty")
    if not 0 <= row["turn"] < 2**31:
        raise ValueError(f"turn is {row['turn']}, and no turn's number")
    for side in get_args(SideName):
        if not 0 <= row[f"{side}_tokens"] < 2**31 or not 0 <= row[f"{side}_seconds"] < math.inf:
            raise ValueError(f"{side}_tokens and {side}_seconds are no measures of an answer")
    if row["left"] not in get_args(SideName):
        raise ValueError("left is 'base' or 'tuned'")
    sides = {
        side: Answered(
            text=row[f"{side}_text"],
            tokens=row[f"{side}_tokens"],
            seconds=float(row[f"{side}_seconds"]),
            state=row[f"{side}_state"],
            label=row[f"{side}_model"],
            fingerprint=row[f"{side}_fingerprint"],
            verdict=row[f"{side}_verdict"],
        )
        for side in get_args(SideName)
    }
    choice, reasons, comment = check_vote(row["choice"], row["reasons"], row["comment"])
    pair = ShownPair(
        id=row["pair"],
        created=seconds(row["asked_at"]),
        session=row["asker"],
        question=row["question"],
        probe=row["probe"] or None,
        left=row["left"],
        blind=row["shown_blind"],
        settings=row["settings"],
        conversation=row["conversation"],
        turn=row["turn"],
        **sides,
    )
    if pair.outcome(choice) != row["outcome"]:
        raise ValueError(f"the choice {choice!r} with {pair.left} on the left is not {row['outcome']!r}")
    vote = Vote(
        pair_id=pair.id,
        session=row["session"],
        choice=choice,
        outcome=row["outcome"],
        streaming=row["streaming"],
        blind=row["blind"],
        reasons=reasons,
        comment=comment,
        created=seconds(row["voted_at"]),
        changed=seconds(row["changed_at"]),
        network=row["network"],
    )
    return VotedPair(pair, vote)


def _check(name: str, value: Any, kind: Kind) -> None:
    """Raise TypeError unless a value can stand in a column of that kind."""
    kinds: dict[Kind, type | tuple[type, ...]] = {"text": str, "number": (int, float), "whole": int, "flag": bool}
    kinds |= {"texts": list, "data": dict}
    if name.endswith("verdict") and value is None:
        return
    if not isinstance(value, kinds[kind]) or (kind in ("number", "whole") and isinstance(value, bool)):
        raise TypeError(f"{name} is {type(value).__name__}, not {kind}")


def iso(moment: float) -> str:
    """Unix seconds as ISO 8601 in UTC, to the microsecond."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds")


def seconds(text: str) -> float:
    """Unix seconds of an ISO time. Raises ValueError for what is none, or says no zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"the time {text!r} has no zone")
    return moment.timestamp()
