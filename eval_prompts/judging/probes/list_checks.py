"""What a right answer to the two probes about lists does: the average, and whether an element is there."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from eval_prompts.judging.outcome import Check, Outcome, in_words
from eval_prompts.judging.probes.program import Entry, Program, Typist, first_right, numbers_of, stopped

AVERAGES = (
    ([1, 2, 3, 4], 2.5), ([10], 10), ([-3, 3, 6], 2), ([2.5, 3.5], 3), ([1, 2], 1.5), ([7, 1, 1], 3),
    ([4, 8, 15, 16, 32], 15),
)  # fmt: skip
ROUNDING = 0.005
EITHER_END = (0, -1)
Members = tuple[list[int], tuple[int, ...], tuple[int, ...]]
MEMBERS: tuple[Members, ...] = (
    ([4, 8, 15, 16, 23, 42], (7, 100, -4, 1), (15, 4, 42)),
    ([5], (50,), (5,)),
    ([9, -2, 7, 0, 3, 7], (4, 2), (9, 3, 7, 0, -2)),
)
"""Each: a list, elements that are not in it, elements that are."""
DENIAL = re.compile(r"\b(?:not|no|false|absent|missing|cannot|never|none)\b|n't\b", re.IGNORECASE)
LAST_WORD = re.compile(r"\b(true|false|yes|no)\W*$", re.IGNORECASE)
AVERAGE_LABEL = "gives the average of a list of numbers"
MEMBER_LABEL = "tells whether an element is in a list"


def check_average(program: Program) -> list[Check]:
    """A function of a list (or of several numbers), or a script for typed or fixed numbers."""
    usable = [entry for entry in program.functions("average|avg|mean") if entry.takes(1) and entry.most != 0]
    attempts: list[Callable[[], Check | None]] = [partial(_average_by, program, entry) for entry in usable]
    return [first_right([*attempts, partial(_average_of_script, program)], AVERAGE_LABEL)]


def check_membership(program: Program) -> list[Check]:
    """A function of a list and an element in either order, or of an element alone beside a fixed list, or a script for
    typed or fixed numbers."""
    functions = program.functions("exist|contain|check|find|search|member")
    attempts: list[Callable[[], Check | None]] = [
        partial(_membership_by, program, program.source, f"{entry.call}({given})", MEMBERS)
        for entry in functions
        if entry.takes(2)
        for given in ("{numbers}, {element}", "{element}, {numbers}")
    ]
    if fixed := program.with_numbers(MEMBERS[0][0]):
        attempts += [
            partial(_membership_by, program, fixed, f"{entry.call}({{element}})", MEMBERS[:1])
            for entry in functions
            if entry.takes(1)
        ]
    return [first_right([*attempts, partial(_membership_of_script, program)], MEMBER_LABEL)]


def _average_by(program: Program, entry: Entry) -> Check:
    spread = entry.most is None and not entry.parameters
    with program.open_session() as session:
        if found := stopped(AVERAGE_LABEL, session.run(program.source, Typist(program, AVERAGES[0][0]))):
            return found
        places: Sequence[int] = EITHER_END
        for numbers, expected in AVERAGES:
            outcome = session.evaluate(f"{entry.call}({'*' if spread else ''}{numbers})")
            if found := stopped(AVERAGE_LABEL, outcome):
                return found
            places = _places_of(expected, numbers_of(outcome), places)
            if not places:
                return _wrong_average(outcome, numbers, expected)
    return Check(AVERAGE_LABEL, True)


def _average_of_script(program: Program) -> Check | None:
    places: Sequence[int] = EITHER_END
    for numbers, expected in (AVERAGES[0], AVERAGES[-1]):
        typist = Typist(program, numbers)
        outcome = _run_script(program, typist, None if program.asks() else program.with_numbers(numbers))
        if outcome is None:
            return None
        if outcome.state != "exited" and (found := stopped(AVERAGE_LABEL, outcome)):
            return found
        said = replace(outcome, printed=typist.without_prompts(outcome.printed))
        places = _places_of(expected, numbers_of(said), places)
        if not places:
            return _wrong_average(said, numbers, expected)
    return Check(AVERAGE_LABEL, True)


def _places_of(expected: float, found: Sequence[float], places: Sequence[int]) -> Sequence[int]:
    """At which of the ``places`` the numbers that were said hold the one expected: words name it first or last, and
    the same way each time."""
    return [at for at in places if found and math.isclose(found[at], expected, abs_tol=ROUNDING)]


def _membership_by(program: Program, source: str, call: str, lists: Sequence[Members]) -> Check:
    """Whether ``call``, a text with ``{numbers}`` and ``{element}`` in it, tells of each element of the ``lists``."""
    with program.open_session() as session:
        if found := stopped(MEMBER_LABEL, session.run(source, Typist(program, MEMBERS[0][0], 15))):
            return found
        positions = False
        for numbers, absent, present in lists:
            for element in (*absent, *present):
                outcome = session.evaluate(call.format(numbers=numbers, element=element))
                if found := stopped(MEMBER_LABEL, outcome):
                    return found
                positions = positions or (element in absent and outcome.value in (-1, None))
                if _says(outcome, positions) is not (element in present):
                    return _wrong(outcome, element, numbers)
    return Check(MEMBER_LABEL, True)


def _membership_of_script(program: Program) -> Check | None:
    numbers, absent, present = MEMBERS[0]
    for element in (*absent, *present):
        fixed = program.with_numbers(numbers) if program.asks() else program.with_numbers(numbers, element)
        typist = Typist(program, () if fixed else numbers, element)
        outcome = _run_script(program, typist, fixed)
        if outcome is None:
            return None
        if outcome.state != "exited" and (found := stopped(MEMBER_LABEL, outcome)):
            return found
        said = Outcome("ok", outcome.value, typist.without_prompts(outcome.printed))
        if _says(said, positions=False) is not (element in present):
            return _wrong(said, element, numbers)
    return Check(MEMBER_LABEL, True)


def _run_script(program: Program, typist: Typist, changed: str | None) -> Outcome | None:
    """Run the program, or it as ``changed``; where it asks only in a function that it does not call, call that too.
    None if there is neither anything to type nor anything changed."""
    if not program.asks() and changed is None:
        return None
    with program.open_session() as session:
        outcome = session.run(changed or program.source, typist)
        if outcome.ok and program.asks() and not outcome.asked:
            for entry in program.functions("main"):
                if entry.takes(0):
                    return session.evaluate(f"{entry.call}()", typing=typist)
    return outcome


def _says(outcome: Outcome, positions: bool) -> bool:
    """Whether a call says that the element is there: by a truth value, a position (-1 and None for nowhere), words, or
    by being silent where it is not."""
    value = outcome.value
    if type(value) is bool:
        return value
    if type(value) is int:
        return value >= 0 if positions else value > 0
    if isinstance(value, list | tuple) and value and type(value[0]) is bool:
        return value[0]
    if isinstance(value, list | tuple | set):
        return bool(value)
    text = value if isinstance(value, str) else outcome.printed
    if last := LAST_WORD.search(text):
        return last[1].lower() in ("true", "yes")
    return bool(text.strip()) and not DENIAL.search(text)


def _wrong_average(outcome: Outcome, numbers: Sequence[float], expected: float) -> Check:
    return Check(AVERAGE_LABEL, False, f"of {numbers} gives {_shown(outcome)}, expected {expected}", outcome.printed)


def _wrong(outcome: Outcome, element: float, numbers: Sequence[float]) -> Check:
    reason = f"for {element} in {list(numbers)} gives {_shown(outcome)}"
    return Check(MEMBER_LABEL, False, reason, outcome.printed)


def _shown(outcome: Outcome) -> str:
    if outcome.value is None and outcome.printed.strip():
        return in_words(outcome.printed.strip())
    return outcome.reason or in_words(outcome.value)
