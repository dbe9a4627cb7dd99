"""What a right answer to the two probes about lists does: the average, and whether an element is there."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import partial

from eval_prompts.outcome import Check, Outcome, in_words
from eval_prompts.program import Entry, Program, Typist, first_right, number_of, numbers_in, stopped

AVERAGES = (([1, 2, 3, 4], 2.5), ([10], 10), ([-3, 3, 6], 2), ([2.5, 3.5], 3), ([1, 2], 1.5), ([4, 8, 15, 16, 32], 15))
ROUNDING = 0.005
MEMBERS = (([4, 8, 15, 16, 23, 42], (7, 100, -4), (15, 4, 42)), ([5], (50,), (5,)))
"""Each: a list, elements that are not in it, elements that are."""
DENIAL = re.compile(r"\b(?:not|no|false|absent|missing|cannot|never|none)\b|n't\b", re.IGNORECASE)
AVERAGE_LABEL = "gives the average of a list of numbers"
MEMBER_LABEL = "tells whether an element is in a list"


def check_average(program: Program) -> list[Check]:
    """A function of a list (or of several numbers), or a script for typed or fixed numbers."""
    usable = [entry for entry in program.functions("average|avg|mean") if entry.takes(1) and entry.most != 0]
    attempts: list[Callable[[], Check | None]] = [partial(_average_by, program, entry) for entry in usable]
    return [first_right([*attempts, partial(_average_of_script, program)], AVERAGE_LABEL)]


def check_membership(program: Program) -> list[Check]:
    """A function of a list and an element in either order, or a script for typed or fixed numbers."""
    usable = [entry for entry in program.functions("exist|contain|check|find|search|member") if entry.takes(2)]
    attempts: list[Callable[[], Check | None]] = [
        partial(_membership_by, program, entry, list_first) for entry in usable for list_first in (True, False)
    ]
    return [first_right([*attempts, partial(_membership_of_script, program)], MEMBER_LABEL)]


def _average_by(program: Program, entry: Entry) -> Check:
    spread = entry.most is None and not entry.parameters
    with program.open_session() as session:
        if found := stopped(AVERAGE_LABEL, session.run(program.source, Typist(program, AVERAGES[0][0]))):
            return found
        for numbers, expected in AVERAGES:
            outcome = session.evaluate(f"{entry.call}({'*' if spread else ''}{numbers})")
            if found := stopped(AVERAGE_LABEL, outcome):
                return found
            got = number_of(outcome)
            if got is None or not math.isclose(got, expected, abs_tol=ROUNDING):
                reason = f"of {numbers} gives {_shown(outcome)}, expected {expected}"
                return Check(AVERAGE_LABEL, False, reason, outcome.printed)
    return Check(AVERAGE_LABEL, True)


def _average_of_script(program: Program) -> Check | None:
    for numbers, expected in (AVERAGES[0], AVERAGES[-1]):
        typist = Typist(program, numbers)
        outcome = _run_script(program, typist, None if program.asks() else program.with_numbers(numbers))
        if outcome is None:
            return None
        if outcome.state != "exited" and (found := stopped(AVERAGE_LABEL, outcome)):
            return found
        printed = numbers_in(typist.without_prompts(outcome.printed))
        got = number_of(outcome) if outcome.value is not None else None
        if not any(math.isclose(number, expected, abs_tol=ROUNDING) for number in [*printed[-1:], got or math.nan]):
            reason = f"of {numbers} gives {_shown(outcome)}, expected {expected}"
            return Check(AVERAGE_LABEL, False, reason, outcome.printed)
    return Check(AVERAGE_LABEL, True)


def _membership_by(program: Program, entry: Entry, list_first: bool) -> Check:
    with program.open_session() as session:
        if found := stopped(MEMBER_LABEL, session.run(program.source, Typist(program, MEMBERS[0][0], 15))):
            return found
        positions = False
        for numbers, absent, present in MEMBERS:
            for element in (*absent, *present):
                given = f"{numbers}, {element}" if list_first else f"{element}, {numbers}"
                outcome = session.evaluate(f"{entry.call}({given})")
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
    if isinstance(value, list | tuple | set):
        return bool(value)
    text = value if isinstance(value, str) else outcome.printed
    return bool(text.strip()) and not DENIAL.search(text)


def _wrong(outcome: Outcome, element: float, numbers: Sequence[float]) -> Check:
    reason = f"for {element} in {list(numbers)} gives {_shown(outcome)}"
    return Check(MEMBER_LABEL, False, reason, outcome.printed)


def _shown(outcome: Outcome) -> str:
    if outcome.value is None and outcome.printed.strip():
        return in_words(outcome.printed.strip())
    return in_words(outcome.value)
