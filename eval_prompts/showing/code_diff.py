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
    left: Line | None
    right: Line | None


def diff_lines(left: str, right: str) -> list[Pair]:
    """Both codes aligned by :class:`difflib.SequenceMatcher`, at most the first ``MAX_LINES`` lines of each.

    ``kind`` is 'same', 'changed' (both have a line there), 'left' or 'right' (only that side has one). Trailing
    white space does not count as a difference. Two empty codes give no pairs.
    """
    before, after = _lines(left), _lines(right)
    pairs: list[Pair] = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            pairs += [
                Pair("same", _whole(i, before), _whole(j, after))
                for i, j in zip(range(i1, i2), range(j1, j2), strict=True)
            ]
        else:
            pairs += _replaced(before, after, range(i1, i2), range(j1, j2))
    return pairs


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()[:MAX_LINES]]


def _whole(index: int, lines: list[str]) -> Line:
    return Line(index + 1, ((lines[index], False),))


def _replaced(before: list[str], after: list[str], left: range, right: range) -> Iterator[Pair]:
    """One replaced stretch, its lines next to each other in their order; what is left over stands alone."""
    for i, j in zip_longest(left, right):
        if j is None:
            yield Pair("left", _whole(i, before), None)
        elif i is None:
            yield Pair("right", None, _whole(j, after))
        else:
            yield _changed(i, j, before[i], after[j])


def _changed(i: int, j: int, before: str, after: str) -> Pair:
    """Two lines next to each other, with their differing words marked where they have enough in common."""
    old, new = WORDS.findall(before), WORDS.findall(after)
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    if matcher.ratio() < ALIKE:
        return Pair("changed", Line(i + 1, ((before, False),)), Line(j + 1, ((after, False),)))
    left: list[tuple[str, bool]] = []
    right: list[tuple[str, bool]] = []
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        left += [("".join(old[i1:i2]), tag != "equal")] if i2 > i1 else []
        right += [("".join(new[j1:j2]), tag != "equal")] if j2 > j1 else []
    return Pair("changed", Line(i + 1, tuple(left)), Line(j + 1, tuple(right)))
