"""Two pieces of code side by side: which lines are the same, which only one has, and what changed within a line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest

MAX_LINES = 1000
ALIKE = 0.5
WORDS = re.compile(r"\w+|\s+|.")


@dataclass(frozen=True)
class Line:
    """One line of one side: its number from 1, and its text in pieces, of which the changed ones are marked."""

    number: int
    pieces: tuple[tuple[str, bool], ...]


@dataclass(frozen=True)
class Pair:
    """What stands at one height of the side-by-side view; a side that has no line there is None."""

    kind: str
    base: Line | None
    tuned: Line | None


def diff_lines(base: str, tuned: str) -> list[Pair]:
    """Both codes aligned by :class:`difflib.SequenceMatcher`, at most the first ``MAX_LINES`` lines of each.

    ``kind`` is 'same', 'changed' (both have a line there), 'base' or 'tuned' (only that side has one). Trailing
    white space does not count as a difference. Two empty codes give no pairs.
    """
    left, right = _lines(base), _lines(tuned)
    pairs: list[Pair] = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if tag == "equal":
            pairs += [
                Pair("same", _whole(i, left), _whole(j, right))
                for i, j in zip(range(i1, i2), range(j1, j2), strict=True)
            ]
        else:
            pairs += _replaced(left, right, range(i1, i2), range(j1, j2))
    return pairs


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()[:MAX_LINES]]


def _whole(index: int, lines: list[str]) -> Line:
    return Line(index + 1, ((lines[index], False),))


def _replaced(left: list[str], right: list[str], base: range, tuned: range) -> Iterator[Pair]:
    """One replaced stretch, its lines next to each other in their order; what is left over stands alone."""
    for i, j in zip_longest(base, tuned):
        if j is None:
            yield Pair("base", _whole(i, left), None)
        elif i is None:
            yield Pair("tuned", None, _whole(j, right))
        else:
            yield _changed(i, j, left, right)


def _changed(i: int, j: int, left: list[str], right: list[str]) -> Pair:
    """Two lines next to each other, with their differing words marked where they have enough in common."""
    before, after = WORDS.findall(left[i]), WORDS.findall(right[j])
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    if matcher.ratio() < ALIKE:
        return Pair("changed", _whole(i, left), _whole(j, right))
    base: list[tuple[str, bool]] = []
    tuned: list[tuple[str, bool]] = []
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        base += [("".join(before[i1:i2]), tag != "equal")] if i2 > i1 else []
        tuned += [("".join(after[j1:j2]), tag != "equal")] if j2 > j1 else []
    return Pair("changed", Line(i + 1, tuple(base)), Line(j + 1, tuple(tuned)))
