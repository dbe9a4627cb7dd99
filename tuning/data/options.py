"""How a source is to be read, where that is not plain from the source itself."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from tuning.data.chat import PLAIN_FORMAT, PYTHON_FORMAT, PromptFormat
from tuning.errors import UserError

COLUMN_ROLES = (
    *("question", "answer", "context", "input", "system", "history", "messages", "text", "label", "check", "trained"),
    *("conversation", "role", "content", "turns"),
    *("chosen", "rejected"),
)
NEEDED = {
    "preference": ("chosen", "rejected"),
    "chat": ("messages",),
    "turn": ("conversation", "role", "content"),
    "text": ("text",),
    "pair": ("question", "answer"),
}
"""The roles without which ``--columns`` names no layout, by its kind."""
READ = {
    "preference": ("question", "context", "input", "system", "history", "trained"),
    "chat": ("system", "history", "label", "check", "trained"),
    "turn": ("trained",),
    "text": ("trained",),
    "pair": ("context", "input", "system", "history", "label", "check", "trained", "turns"),
}
"""The further roles that a layout reads."""
ROLE = re.compile(r"(?:^|,)\s*([a-z_]+)\s*=")
TrainOn = Literal["all", "last"]
FormatName = Literal["auto", "python", "plain"]


@dataclass(frozen=True)
class Reading:
    """``columns`` names the column of each role; empty for recognising them. ``encoding`` is that of text files.

    ``preference`` asks for pairs of a better and a worse answer, and for nothing else.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    encoding: str | None = None
    train_on: TrainOn = "all"
    preference: bool = False

    @property
    def last_only(self) -> bool:
        """Whether only the last turn of a conversation is trained."""
        return self.train_on == "last"


@dataclass(frozen=True)
class FormatWish:
    """The prompt format that is wished for: ``name`` 'auto' for the source's own; the rest replaces parts of it."""

    name: FormatName = "auto"
    system: str | None = None
    user: str | None = None

    def of(self, default: PromptFormat) -> PromptFormat:
        """The prompt format for rows of a source whose own is ``default``."""
        chosen = {"auto": default, "python": PYTHON_FORMAT, "plain": PLAIN_FORMAT}[self.name]
        if self.system is not None:
            chosen = replace(chosen, system=self.system)
        return chosen if self.user is None else replace(chosen, user=self.user)


def column_roles(text: str | None) -> dict[str, str]:
    """``question=Q,answer=A,context=C`` as roles with their columns. Raises UserError for anything else."""
    if not text or not text.strip():
        return {}
    found = list(ROLE.finditer(text))
    if not found or text[: found[0].start()].strip():
        raise UserError(f"--columns is {text!r}, but must be like question=COLUMN,answer=COLUMN.")
    roles: dict[str, str] = {}
    for at, match in enumerate(found):
        end = found[at + 1].start() if at + 1 < len(found) else len(text)
        role, column = match[1], text[match.end() : end].strip()
        if role not in COLUMN_ROLES:
            raise UserError(f"--columns names the role {role!r}: choose among {', '.join(COLUMN_ROLES)}.")
        if role in roles or not column or column in roles.values():
            raise UserError(f"--columns gives {role} no column of its own: name each role and each column once.")
        roles[role] = column
    kind = kind_named(roles)
    if kind is None:
        raise UserError(
            "--columns must name question and answer, or messages, or text, or conversation, role and content (of one "
            "message a row), or chosen and rejected."
        )
    lost = [role for role in roles if role not in (*NEEDED[kind], *READ[kind])]
    if lost:
        raise UserError(
            f"--columns names {', '.join(lost)}, which nothing reads beside {' and '.join(NEEDED[kind])}: leave out "
            f"{lost[0]}={roles[lost[0]]}{' and the like' if lost[1:] else ''} (read there: {', '.join(READ[kind])})."
        )
    return roles


def kind_named(roles: Iterable[str]) -> str | None:
    """The kind of layout that some roles make; None if they are not enough for any."""
    return next((kind for kind, needed in NEEDED.items() if set(needed) <= set(roles)), None)


def add_reading(command: argparse.ArgumentParser) -> None:
    """Add what says how a source is read."""
    command.add_argument("--columns", metavar="ROLES", help="such as question=Q,answer=A,context=C; else recognised")
    command.add_argument("--encoding", metavar="NAME", help="of a text file, such as cp1252; else UTF-8 or UTF-16")
    command.add_argument(
        "--train-on", choices=("all", "last"), default="all", help="answers of a conversation that are trained"
    )


def reading(options: argparse.Namespace) -> Reading:
    """How the source is to be read."""
    return Reading(column_roles(options.columns), options.encoding, options.train_on)
