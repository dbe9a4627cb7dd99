"""What came back from running untrusted code: plain data, never an object of the code's own."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

State = Literal["ok", "raised", "exited", "limit", "lacking"]
Typing = Callable[[str], str]
"""Types what a program asks for: gets the prompt, returns the line; raises EOFError when nothing is left to type."""

SIMPLE = (
    type(None), bool, int, float, complex, str, bytes, type(...),
    datetime.date, datetime.datetime, datetime.time, datetime.timedelta, decimal.Decimal,
)  # fmt: skip
MAX_NODES = 200_000
MAX_DEPTH = 60
PRINTED_LIMIT = 64 * 1024


@dataclass(frozen=True)
class Opaque:
    """Stands for a value that is no plain data: an instance of a class in the code, a function, an endless nesting."""

    what: str


@dataclass(frozen=True)
class Outcome:
    """The end of one step in a sandbox.

    ``state``: 'ok'; 'raised' an error of the code's own; 'exited' (it ended the program); 'limit' (time, memory,
    output or the like); 'lacking' (the code needs something that this sandbox does not have: nothing is known of it).
    ``value`` is plain data or ``Opaque``; ``reason`` says in words why the state is not 'ok'; ``asked`` counts the
    lines of input that the code asked for, and ``out_of_input`` says that it asked for more than there was. Of an error
    of its own ``error`` is the class and ``message`` its text; ``failing`` says that it ended itself with a code other
    than 0.
    """

    state: State
    value: Any = None
    printed: str = ""
    reason: str = ""
    asked: int = 0
    out_of_input: bool = False
    error: str = ""
    message: str = ""
    failing: bool = False

    @property
    def ok(self) -> bool:
        return self.state == "ok"

    @property
    def ran_out(self) -> bool:
        """Whether it ended because the program asks for more than is known to type."""
        return self.state == "raised" and self.asked > 0 and self.out_of_input


@dataclass(frozen=True)
class Check:
    """One behaviour that was looked at: whether the code ``passed`` (None: could not be tried), and why in words.

    ``wrong_value`` says that it failed by what it gave, rather than by an error or by not fitting the call.
    """

    label: str
    passed: bool | None
    reason: str = ""
    output: str = ""
    wrong_value: bool = False


class Session(Protocol):
    """One sandboxed program: ``run`` it once, then ``evaluate`` expressions in its namespace."""

    lazy: frozenset[str]
    """Functions whose lazy iterators this sandbox hands over as lists."""

    def run(self, source: str, typing: Typing | None = None) -> Outcome:
        """Run a program, or a further piece of it, from its top."""

    def evaluate(
        self, expression: str, values: Mapping[str, Any] | None = None, typing: Typing | None = None
    ) -> Outcome:
        """The value of one expression; ``values`` are bound to their names first."""


def plain(value: object) -> Any:
    """``value`` rebuilt from exact built-in types, or an ``Opaque`` if any part of it is something else.

    Also for values that share parts (sixty lists of the form ``x = [x, x]`` would take 2^60 steps to compare).
    """
    try:
        return _plain(value, 0, [MAX_NODES])
    except _NotPlainError as error:
        return Opaque(str(error))


class _NotPlainError(Exception):
    pass


def _plain(value: object, depth: int, nodes: list[int]) -> object:
    nodes[0] -= 1
    if nodes[0] < 0:
        raise _NotPlainError("a value too large to compare")
    if depth > MAX_DEPTH:
        raise _NotPlainError("a value nested too deeply to compare")
    kind = type(value)
    if kind in SIMPLE:
        return value
    if isinstance(value, tuple) and type(value).__len__ is tuple.__len__:
        return tuple(_plain(part, depth + 1, nodes) for part in value)
    if isinstance(value, list | set | frozenset) and kind in (list, set, frozenset):
        return type(value)(_plain(part, depth + 1, nodes) for part in value)
    if isinstance(value, dict) and kind is dict:
        return {_plain(key, depth + 1, nodes): _plain(part, depth + 1, nodes) for key, part in value.items()}
    name = getattr(value, "name", None)
    raise _NotPlainError(f"an object of the class {name if isinstance(name, str) else kind.__name__}")


def in_words(value: object, limit: int = 80) -> str:
    """A value for a reader, at most ``limit`` characters."""
    if isinstance(value, Opaque):
        return value.what
    if type(value) is int and value.bit_length() > 1000:
        return f"a whole number of {value.bit_length()} bits"
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return "a value too large to show"
    return text if len(text) <= limit else text[: limit - 3] + "..."


class Printed:
    """Collects printed text up to a limit in characters; beyond it raises OverflowError, which ends the program."""

    def __init__(self, limit: int = PRINTED_LIMIT) -> None:
        self.text = ""
        self.limit = limit
        self.full = False

    def __call__(self, stream: str, text: str) -> None:
        room = self.limit - len(self.text)
        self.text += text[:room]
        if len(text) > room:
            self.full = True
            raise OverflowError(f"printed more than {self.limit:,} characters")
