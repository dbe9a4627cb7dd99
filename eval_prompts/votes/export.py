"""Votes as preference pairs (``prompt``, ``chosen``, ``rejected``), the layout that preference trainers read.

In JSON lines and Parquet the three are lists of chat messages, as TRL's preference trainers read them: the prompt is
the very conversation that the models were given, system prompt included, and each answer is one message of the
assistant. Where each side went on from its own answers, and for a whole conversation, the prompt is what both have in
common, and the answers are all that was said after that. A CSV, for spreadsheets, holds the bare question and the bare
answers. Ties and "both are bad" prefer nothing, so they are not among the rows; how many those are is told. Whole
votes: :mod:`eval_prompts.votes.whole`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from eval_prompts.votes.formats import FORMATS, Kind, Row, written
from eval_prompts.votes.records import storable
from eval_prompts.votes.whole import iso
from tuning.data.chat import is_message, prompt_messages
from tuning.data.thinking import without_thinking
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.votes.records import ShownPair, VotedPair

COLUMNS: dict[str, Kind] = {
    "prompt": "messages", "chosen": "messages", "rejected": "messages", "chosen_side": "text", "chosen_model": "text",
    "rejected_model": "text", "probe": "text", "blind": "flag", "streaming": "flag", "left": "text",
    "reasons": "texts", "comment": "text", "voted_at": "text", "session": "text", "pair": "text",
    "conversation": "text", "turn": "whole",
}  # fmt: skip
CSV_COLUMNS: dict[str, Kind] = COLUMNS | {"prompt": "text", "chosen": "text", "rejected": "text"}


def preference_rows(votes: Iterable[VotedPair], *, bare: bool = False) -> list[Row]:
    """One row for each vote that prefers a side, as messages or, if ``bare``, as texts; ``voted_at`` is ISO 8601."""
    rows = []
    for pair, vote in ((voted.pair, voted.vote) for voted in votes):
        if vote.outcome not in ("base", "tuned"):
            continue
        chosen = pair.base if vote.outcome == "base" else pair.tuned
        rejected = pair.tuned if vote.outcome == "base" else pair.base
        better, worse = without_thinking(chosen.text), without_thinking(rejected.text)
        texts = (pair.question, better, worse)
        loser = "tuned" if vote.outcome == "base" else "base"
        values = (
            *(texts if bare else parted(pair, vote.outcome, loser)),
            vote.outcome, chosen.label, rejected.label, pair.probe or "", vote.blind, vote.streaming, pair.left,
            list(vote.reasons), vote.comment, iso(vote.changed), vote.session, pair.id, pair.thread, pair.turn,
        )  # fmt: skip
        rows.append(storable(dict(zip(COLUMNS, values, strict=True))))
    return rows


def conversation(pair: ShownPair) -> list[dict[str, Any]]:
    """What the models were given, the base side where each was given its own; a pair that was kept before that was
    written down was asked in the Python format."""
    return kept(pair, "messages") or [dict(message) for message in prompt_messages(pair.question)]


def conversations(pair: ShownPair) -> dict[str, list[dict[str, Any]]]:
    """What each side was given, by side."""
    both = conversation(pair)
    return {"base": both, "tuned": kept(pair, "tuned_messages") or both}


def kept(pair: ShownPair, name: str) -> list[dict[str, Any]]:
    """The messages that a pair's record keeps under a name; none where it does not."""
    messages = pair.settings.get(name)
    if isinstance(messages, list) and all(is_message(message) for message in messages):
        return [{"role": message["role"], "content": message["content"]} for message in messages]
    return []


def parted(pair: ShownPair, better: str, worse: str) -> tuple[list[dict[str, Any]], ...]:
    """What both sides have in common, and what each said after that, as messages: the better one and the worse one."""
    asked = conversations(pair)
    if not pair.is_whole and asked["base"] == asked["tuned"]:
        texts = (without_thinking(getattr(pair, side).text) for side in (better, worse))
        return asked["base"], *(said(text) for text in texts)
    if pair.is_whole:
        whole = {side: kept(pair, f"{side}_turns") for side in asked}
    else:
        whole = {side: [*asked[side], *said(without_thinking(getattr(pair, side).text))] for side in asked}
    ours, theirs = whole[better], whole[worse]
    shorter = min(len(ours), len(theirs))
    same = next((at for at in range(shorter) if ours[at] != theirs[at]), shorter - 1)
    return ours[:same], ours[same:], theirs[same:]


def said(text: str) -> list[dict[str, str]]:
    """An answer as one message of the assistant."""
    return [{"role": "assistant", "content": text}]


def export(votes: Iterable[VotedPair], form: str) -> tuple[bytes, int]:
    """A file's content in 'csv', 'jsonl' or 'parquet', and its number of rows. Raises UserError for another form."""
    if form not in FORMATS:
        raise UserError(f"Votes are exported as {', '.join(FORMATS)}: choose one of them.")
    rows = preference_rows(votes, bare=form == "csv")
    return written(rows, CSV_COLUMNS if form == "csv" else COLUMNS, form), len(rows)


def left_out(votes: Sequence[VotedPair]) -> str:
    """How many votes are no preference pairs and why, in words; '' where all are."""
    counts = Counter(voted.vote.outcome for voted in votes)
    ties, bad = counts["tie"], counts["both_bad"]
    if not ties + bad:
        return ""
    words = [f"{ties} tie{'s' if ties != 1 else ''}"] if ties else []
    words += [f"{bad} \u201cboth bad\u201d"] if bad else []
    return f"{ties + bad} of {len(votes)} votes prefer no side and are left out: {', '.join(words)}"
