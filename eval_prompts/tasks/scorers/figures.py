"""Scorers of answers that hold a number or name an option: number, choice."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from eval_prompts.tasks.scorers.base import Given, Judge, Score, number, one_of, quoted, said, unknown
from eval_prompts.tasks.scorers.wording import finder, normalise

SPACES = " \u00a0\u2009\u202f"
"""What stands between groups of three digits beside the comma or the dot: 10 000, 10'000."""
NUMBER, COMMA_NUMBER = (
    re.compile(
        rf"(?<![\w{mark}])(?P<sign>[-−+])?[$€£¥]?"
        rf"(?P<digits>\d{{1,3}}(?:(?P<group>[{group}{SPACES}'’])\d{{3}}(?:(?P=group)\d{{3}})*(?!\d))(?:{mark}\d+)?"
        rf"|\d+(?:{mark}\d+)?|{mark}\d+)(?P<exponent>[eE][-+]?\d{{1,3}})?(?P<percent>\s?%)?"
    )
    for mark, group in ((r"\.", ","), (",", "."))
)
OTHER_MARK = {".": re.compile(r"(?<![\d,])\d+,\d{1,2}(?![\d,])"), ",": re.compile(r"(?<![\d.])\d+\.\d{1,2}(?![\d.])")}
"""A number whose decimal mark is not the one that was named: no groups of three digits follow it."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SAID = re.compile(
    r"(?i:\b(?:answer|option|choice)\b(?:\s+(?:is|would be|should be))?\s*:?)\s*[(\[*\"']*"
    r"(?:([A-Z])\b(?![’'])|([a-z])(?=[)\].*\"'!]|\s*$))"
    r"|\\boxed\{\s*([A-Z])\s*\}"
)
LED = re.compile(r"\s*[(\[*\"'#]*([A-Z])\b([)\]*\"'.:,]*)(?:\s|$)")
SMALL = re.compile(r"\s*[(\[*\"']*([a-z])(?:[)\]*\"'.:]+(?=\s|$)|\s*$)")
"""A small letter is one where it is all there is, or a mark follows it."""
MARKED = re.compile(r"(?<![\w’'])([A-Z])[)\]:.]")
ALONE = re.compile(r"(?<![\w’'])(?<!not )(?<!Not )([B-HJ-Z]|A(?=[).:*\]]|\s*$)|I(?=[).:*\]]|\s*$))(?![\w’'])")


def numbers_in(text: str, decimal: str = ".") -> list[float]:
    """All numbers in a text, in order: thousands grouped, signs, powers of ten, percent (12% is 12)."""
    found = []
    for match in (NUMBER if decimal == "." else COMMA_NUMBER).finditer(text):
        digits = match["digits"].replace(match["group"] or "'", "").replace(decimal, ".") + (match["exponent"] or "")
        figure = float(digits)
        if math.isfinite(figure):
            found.append(-figure if match["sign"] in ("-", "−") else figure)
    return found


def is_ambiguous(reference: str, decimal: str) -> bool:
    """Whether the number that counts in a reference, its last, seems to have another decimal mark."""
    odd = [match.end() for match in OTHER_MARK[decimal].finditer(reference)]
    ends = [match.end("digits") for match in (NUMBER if decimal == "." else COMMA_NUMBER).finditer(reference)]
    return bool(odd and ends) and odd[-1] == ends[-1]


def figure(tolerance: Any = 0, relative: Any = 0, which: Any = "last", decimal: Any = ".") -> Judge:
    """A number of the answer is the reference's, within ``tolerance``, or ``relative`` times the reference."""
    near, share = number(tolerance, "tolerance", 0), number(relative, "relative", 0)
    which = one_of(which, "which", ("last", "first", "only", "any"))
    decimal = one_of(decimal, "decimal", (".", ","))

    def judge(given: Given) -> Score:
        odd = next((reference for reference in given.references if is_ambiguous(reference, decimal)), None)
        if odd is not None:
            other = "," if decimal == "." else "."
            return unknown("number", f"the reference {quoted(odd)} may be read in two ways: set decimal to {other!r}")
        wanted = [numbers[-1] for reference in given.references if (numbers := numbers_in(reference, decimal))]
        if not wanted:
            return unknown("number", f"the reference {quoted(given.references[0])} holds no number")
        seen = numbers_in(given.text, decimal)
        if not seen:
            return said("number", False, "the answer holds no number")
        if which == "only" and len(set(seen)) > 1:
            return said("number", False, f"the answer holds {len(set(seen))} numbers, one is asked for")
        chosen = {"first": seen[:1], "any": seen}.get(which, seen[-1:])
        # The smallest difference that floating point can make by itself is no difference.
        passed = any(
            abs(value - good) <= max(near, share * abs(good), 1e-9 * abs(good)) for value in chosen for good in wanted
        )
        return said("number", passed, f"{chosen[-1]:.12g}" + ("" if passed else f", not {wanted[0]:.12g}"))

    return judge


def options_of(value: Any) -> list[str]:
    """A question's options: a list, a JSON list, or texts apart by ``|`` or lines; a leading 'A)' is not theirs."""
    if isinstance(value, str):
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            parsed = None
        value = parsed if isinstance(parsed, list) else re.split(r"\||\n", value)
    if not isinstance(value, Sequence):
        return []
    stripped = [re.sub(r"^\s*\(?[A-Z]\s*[).:]\s+", "", str(item)).strip() for item in value]
    return [item for item in stripped if item]


def letter_of(text: str, options: Sequence[str]) -> str | None:
    """The letter of the one option that an answer names; None where it names none, or several.

    In this order: 'the answer is B' (the last such), a letter that the answer begins with, the only letter that stands
    alone, the only option whose words are in it.
    """
    letters = LETTERS[: len(options)]
    claims = [letter for found in SAID.findall(text) if (letter := "".join(found).upper()) in letters]
    if claims:
        return str(claims[-1])
    led = LED.match(text)
    if led and led[1] in letters and not re.match(r"\s*(A|I) [a-z]", text):
        # "A and B" names two; in "A. Since B is wrong" the mark tells which letter is the answer.
        alone_there = MARKED if set(led[2]) & set(")]:.") else ALONE
        others = {letter for letter in alone_there.findall(text.strip().splitlines()[0]) if letter in letters} - {
            led[1]
        }
        return None if others else led[1]
    small = SMALL.match(text)
    if small and small[1].upper() in letters:
        others = {letter for letter in re.findall(r"(?<!\w)([a-z])[)\]:.]", text) if letter.upper() in letters}
        return None if others - {small[1]} else small[1].upper()
    alone = {letter for letter in ALONE.findall(text) if letter in letters}
    if len(alone) == 1:
        return str(alone.pop())
    if alone:
        return None
    named = [at for at, option in enumerate(options) if finder(option, False, True).search(text)]
    # 'nitrogen oxide' also holds 'nitrogen': the longer option is meant.
    named = [
        at
        for at in named
        if not any(other != at and normalise(options[at]) in normalise(options[other]) for other in named)
    ]
    return letters[named[0]] if len(named) == 1 else None


def choice(column: str) -> Judge:
    """The answer names the right one of the options in a column, by letter or in words; the reference is either."""

    def judge(given: Given) -> Score:
        options = options_of(given.columns.get(column))
        if not 2 <= len(options) <= len(LETTERS):
            return unknown(
                "choice", f"the column {column} holds {len(options)} options; 2 to {len(LETTERS)} are needed"
            )
        right = right_letter(given.references[0], options)
        if right is None:
            return unknown("choice", f"the reference {quoted(given.references[0])} is none of the options")
        seen = letter_of(given.text, options)
        if seen is None:
            return said("choice", False, "it does not name one of the options")
        return said("choice", seen == right, f"it names {seen}" + ("" if seen == right else f", {right} is right"))

    return judge


def right_letter(reference: str, options: Sequence[str]) -> str | None:
    """The letter that a reference stands for: the letter itself, or an option's words."""
    bare = reference.strip().strip("().:")
    same = [at for at, option in enumerate(options) if normalise(option) == normalise(reference)]
    if len(same) == 1:
        return LETTERS[same[0]]
    return bare.upper() if len(bare) == 1 and bare.upper() in LETTERS[: len(options)] else None
