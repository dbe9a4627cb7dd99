"""What the ratings database keeps: pairs of answers as they were shown, and votes on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from tuning.errors import UserError

Choice = Literal["left", "right", "tie", "both_bad"]
"""What was clicked."""
Outcome = Literal["base", "tuned", "tie", "both_bad"]
"""What that means, by the places in which the pair was shown."""
SideName = Literal["base", "tuned"]
REASONS = {
    "correct": "more correct",
    "runs": "its code runs",
    "clear": "clearer",
    "complete": "more complete",
    "concise": "shorter",
    "explains": "explains better",
    "wrong": "wrong",
    "off_topic": "off topic",
    "unfinished": "cut off or repeats",
}
WHOLE = 0
"""The turn number of a whole conversation."""
MAX_COMMENT = 2000
MAX_NAME = 64
"""Characters of an id or an anonymous session, as the database's columns hold them."""
REPLACEMENT = "\ufffd"


@dataclass(frozen=True)
class Answered:
    """One side of a pair: its answer, its measures (``seconds`` of computation), and who gave it.

    ``state`` is that of ``decode.Answer``; ``fingerprint`` tells the weights from all others; ``verdict`` is
    ``Verdict.to_dict()``, once it is known.
    """

    text: str
    tokens: int
    seconds: float
    state: str
    label: str
    fingerprint: str
    verdict: dict[str, Any] | None = None


@dataclass(frozen=True)
class ShownPair:
    """Two answers to one question as they were shown; ``created`` in Unix seconds. ``conversation`` is the id of the
    pair that began the conversation ('' for the pair itself), ``turn`` its place in that, ``WHOLE`` for all of it at
    once, when the answers are all that each side said."""

    id: str
    created: float
    session: str
    question: str
    probe: str | None
    base: Answered
    tuned: Answered
    left: SideName
    blind: bool
    settings: dict[str, Any]
    conversation: str = ""
    turn: int = 1

    @property
    def thread(self) -> str:
        """What all turns of one conversation have in common."""
        return self.conversation or self.id

    @property
    def is_whole(self) -> bool:
        """Whether this is a whole conversation and not a turn of one."""
        return self.turn == WHOLE

    @property
    def right(self) -> SideName:
        """Who stood on the right."""
        return "tuned" if self.left == "base" else "base"

    def outcome(self, choice: Choice) -> Outcome:
        """What a choice on this pair means."""
        if choice == "left":
            return self.left
        return self.right if choice == "right" else choice


@dataclass(frozen=True)
class Vote:
    """What one session said of a pair. ``streaming``: while the answers were still being written. ``blind``: without
    knowing the sides, which a blind pair's first vote reveals. Times in Unix seconds."""

    pair_id: str
    session: str
    choice: Choice
    outcome: Outcome
    streaming: bool
    blind: bool
    reasons: tuple[str, ...]
    comment: str
    created: float
    changed: float
    network: str = ""
    """Tells the network that it came from, as a keyed hash; '' where that is not known."""


@dataclass(frozen=True)
class VotedPair:
    """A vote with the pair that it is about."""

    pair: ShownPair
    vote: Vote


@dataclass(frozen=True)
class Contest:
    """Two sides that were compared: what tells the weights of each from all others, and their latest names."""

    tuned: str
    base: str
    label: str
    base_label: str

    @property
    def two_adapters(self) -> bool:
        """Whether the base side is an adapter too."""
        return has_adapter(self.base)


def has_adapter(fingerprint: str) -> bool:
    """Whether a side's fingerprint is that of an adapter on a base model (``base+adapter``), not of a base model."""
    return "+" in fingerprint


def is_text(text: str) -> bool:
    """Whether a text holds neither NUL nor a lone surrogate, which databases and files refuse."""
    return "\0" not in text and (text.isascii() or not any(0xD800 <= ord(letter) < 0xE000 for letter in text))


def storable(value: Any) -> Any:
    """Plain data with every NUL and lone surrogate in its texts replaced by U+FFFD; what holds none stays as it is."""
    if isinstance(value, str):
        return value if is_text(value) else "".join(one if is_text(one) else REPLACEMENT for one in value)
    if isinstance(value, dict):
        return {storable(key): storable(part) for key, part in value.items()}
    return [storable(part) for part in value] if isinstance(value, list | tuple) else value


def is_name(value: Any) -> bool:
    """Whether a value can be the id of a pair or the name of an anonymous session."""
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME and is_text(value)


def check_vote(choice: Any, reasons: Any, comment: Any) -> tuple[Choice, tuple[str, ...], str]:
    """A vote's parts, checked; reasons without repetition in their order. Raises UserError naming what is wrong."""
    if choice not in get_args(Choice):
        raise UserError(f"A vote is one of {', '.join(get_args(Choice))}: choose one of them.")
    if not isinstance(reasons, list | tuple) or not all(isinstance(reason, str) for reason in reasons):
        raise UserError("The reasons of a vote are a list of words.")
    unknown = next((reason for reason in reasons if reason not in REASONS), None)
    if unknown is not None:
        raise UserError(f"There is no reason {unknown[:40]!r}: the reasons are {', '.join(REASONS)}.")
    if not isinstance(comment, str):
        raise UserError("A comment must be text.")
    if len(comment) > MAX_COMMENT:
        raise UserError(f"The comment is too long ({len(comment):,} characters): {MAX_COMMENT:,} are kept at most.")
    if not is_text(comment):
        raise UserError("The comment holds a character that is no text: remove it.")
    return choice, tuple(reason for reason in REASONS if reason in reasons), comment


def check_same(kept: ShownPair, given: ShownPair) -> None:
    """Raise UserError unless two pairs of one id are of the same question and sides in the same places."""

    def shown(pair: ShownPair) -> Any:
        return storable([pair.left, pair.question, pair.base.fingerprint, pair.tuned.fingerprint])

    if shown(kept) != shown(given):
        raise UserError(
            f"The pair {given.id} is kept with another question, other models, or its sides in other places: nothing "
            "was taken in. Import votes as they were exported."
        )
