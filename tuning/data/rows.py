"""What reading gives: questions with answers or whole conversations, and an account of everything that is left out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant", "text"]
"""``text`` is a text to be continued: trained as it is, without a chat template."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation; ``trained`` if the model learns to write it."""

    role: Role
    text: str
    trained: bool = False


Turns = tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class RawRow:
    """One question with its answer as the source has it; ``check`` is an assertion script where there is one.

    ``turns`` holds the conversation where it is more than that: a system prompt, several pairs, or a plain text.
    ``question`` is then all that the user says and ``answer`` the last trained turn. ``rejected`` is a worse answer in
    place of that one, in preference data alone. ``line`` is where it stands.
    """

    question: str
    input: str
    answer: str
    check: str = ""
    turns: Turns = ()
    line: int = 0
    rejected: str = ""


class LeftOut(Counter[str]):
    """How often something was left out, by reason, and the line of the first example (0: unknown)."""

    def __init__(self, counts: Iterable[str] | dict[str, int] = (), lines: dict[str, int] | None = None) -> None:
        super().__init__(counts)
        self.lines: dict[str, int] = dict(lines or {})

    def add(self, reason: str, line: int = 0, count: int = 1) -> None:
        """Count something under a reason."""
        self[reason] += count
        if line and not self.lines.get(reason):
            self.lines[reason] = line

    def words(self) -> str:
        """All reasons with their counts and lines, for a message."""
        return ", ".join(
            f"{reason}: {count:,}" + (f" (first in line {self.lines[reason]:,})" if self.lines.get(reason) else "")
            for reason, count in sorted(self.items())
        )


def turns_to_json(turns: Turns) -> str:
    """A conversation as a table holds it; '' for none."""
    if not turns:
        return ""
    return json.dumps([[turn.role, turn.text, turn.trained] for turn in turns], ensure_ascii=False)


def turns_from_json(text: str) -> Turns:
    """What :func:`turns_to_json` gave. Raises ValueError for anything else."""
    if not text:
        return ()
    try:
        return tuple(Turn(role, str(words), bool(trained)) for role, words, trained in json.loads(text))
    except (TypeError, ValueError) as error:
        raise ValueError("no conversation") from error
