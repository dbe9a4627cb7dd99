"""What a right answer to each probe does. Names do not matter, nor whether a result is printed or returned, unless the
question says which; what is computed does."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from eval_prompts.judging.outcome import Check, Outcome, Session, in_words
from eval_prompts.judging.probes.knn_check import check_knn
from eval_prompts.judging.probes.list_checks import check_average, check_membership
from eval_prompts.judging.probes.program import Entry, Program, numbers_in, numbers_of, repeat, stopped

SHORTEST_SERIES = 5
FIBONACCI = [0, 1]
while len(FIBONACCI) < 100:
    FIBONACCI.append(FIBONACCI[-1] + FIBONACCI[-2])
RADII = ((2, math.pi * 4), (10, math.pi * 100))
PI_TOLERANCE = 0.005


def check(probe_id: str, program: Program) -> list[Check]:
    """The behavioural checks of a probe on a program; an empty list if the probe has none.

    A check that is None could not be tried in this sandbox; the answer is right if there are checks and all passed.
    """
    checker = CHECKERS.get(probe_id)
    return checker(program) if checker else []


def _fibonacci(program: Program) -> list[Check]:
    label = "prints the Fibonacci series"
    with program.open_session() as session:
        top = session.run(program.source, repeat("10"))
        if top.state != "exited" and (found := stopped(label, top)):
            return [found]
        calls: list[tuple[Entry, Outcome]] = []
        for entry in program.functions("fib") if top.ok or top.ran_out else []:
            if entry.needed <= 1:
                argument = "10" if entry.takes(1) else ""
                calls.append((entry, session.evaluate(f"{entry.call}({argument})", typing=repeat("10"))))
        lengths = _other_lengths(session, [entry for entry, outcome in calls if _terms(outcome) and entry.takes(1)][:1])
    if run := _series(top.printed):
        lengths = lengths or _other_typed_length(program, top)
        return [_computed(label, program, run, top), *lengths]
    for _, outcome in calls:
        if outcome.ok and (run := _series(outcome.printed, to_the_end=True)):
            return [_computed(label, program, run, outcome), *lengths]
    return [_no_series(label, top, [outcome for _, outcome in calls])]


def _computed(label: str, program: Program, run: Sequence[float], outcome: Outcome) -> Check:
    """A printed series passes unless the program holds it ready as numbers or text (a comment or docstring is none)."""
    numbers = program.constants()
    ready = any(numbers[at : at + len(run)] == run for at in range(len(numbers)))
    return Check(label, not ready, "the numbers stand in the code" if ready else "", outcome.printed)


def _other_lengths(session: Session, entries: Sequence[Entry]) -> list[Check]:
    """Whether a function of a length follows it; no check without a function."""
    label = "is right for other lengths"
    for entry in entries:
        lengths = {}
        for count in (1, 2, 7, 15):
            outcome = session.evaluate(f"{entry.call}({count})")
            lengths[count] = _terms(outcome) or 0
            if not outcome.ok or not lengths[count]:
                shown = outcome.reason or in_words(outcome.value if outcome.value is not None else outcome.printed)
                return [Check(label, False, f"{entry.name}({count}): {shown}", outcome.printed)]
        grows = lengths[7] < lengths[15]
        return [Check(label, grows, "" if grows else f"{entry.name}(7) and {entry.name}(15) give as much")]
    return []


def _other_typed_length(program: Program, top: Outcome) -> list[Check]:
    """Whether a script that asks for a length follows it; no check for one that asks for nothing."""
    if not top.asked:
        return []
    with program.open_session() as session:
        shorter = session.run(program.source, repeat("6"))
    ended = shorter.state in ("ok", "exited") or shorter.ran_out
    right = ended and 0 < len(_series(shorter.printed, 3)) < len(_series(top.printed))
    reason = "" if right else "typing 6 and 10 gives the same"
    return [Check("is right for other lengths", right, reason, shorter.printed)]


def _terms(outcome: Outcome) -> int | None:
    """How far a call got in the series: by what it printed, returned as a list, or returned as one number."""
    if numbers_in(outcome.printed):
        run = _series(outcome.printed, 1, to_the_end=True)
        return len(run) or None
    value = outcome.value
    if isinstance(value, list | tuple):
        series = list(value)
        return len(series) if series in (FIBONACCI[: len(series)], FIBONACCI[1 : len(series) + 1]) else None
    if type(value) is int and value in FIBONACCI:
        return FIBONACCI.index(value) + 1
    return None


def _series(text: str, shortest: int = SHORTEST_SERIES, to_the_end: bool = False) -> list[float]:
    """The longest run of the Fibonacci series, from 0 or 1 on, among the numbers of a text; [] if it is too short or
    continues wrongly. With ``to_the_end`` no number may follow it. The time grows as the text: a run has at most as
    many numbers as ``FIBONACCI``."""
    per_line = [numbers_in(line) for line in text.splitlines()]
    in_words = bool(re.search("[A-Za-z]", text))
    best: list[float] = []
    for numbers in (numbers_in(text), [line[-1] for line in per_line if line]):
        for start, first in enumerate(numbers):
            if first not in (0, 1):
                continue
            for series in (FIBONACCI, FIBONACCI[1:]):
                size = 0
                while start + size < len(numbers) and size < len(series) and numbers[start + size] == series[size]:
                    size += 1
                end = start + size
                continues = end == len(numbers) or (not to_the_end and (numbers[end] in (0, 1) or in_words))
                if size >= shortest and size > len(best) and continues:
                    best = numbers[start:end]
    return best


def _no_series(label: str, top: Outcome, calls: Sequence[Outcome]) -> Check:
    for outcome in [*calls, top]:
        if outcome.ok and isinstance(outcome.value, list | tuple) and not outcome.printed:
            return Check(label, False, f"returns {in_words(outcome.value)} but prints no series")
        if outcome.ok and type(outcome.value) in (int, float) and not outcome.printed:
            return Check(label, False, f"returns one number ({in_words(outcome.value)}), prints no series", top.printed)
    for outcome in [*calls, top]:
        if not outcome.ok:
            return Check(label, None if outcome.state == "lacking" else False, outcome.reason, outcome.printed)
        if outcome.printed.strip():
            return Check(label, False, f"prints {in_words(outcome.printed.strip())}", outcome.printed)
    return Check(label, False, "prints nothing")


def _circle(program: Program) -> list[Check]:
    asking, computing = "asks for the radius", "gives the area for the radius typed"
    checks: list[Check] = []
    for radius, area in RADII:
        with program.open_session() as session:
            outcome = session.run(program.source, repeat(str(radius), 1))
            if not outcome.asked and outcome.ok:
                for function in [item for item in program.functions("area|circle|main") if item.takes(0)]:
                    outcome = session.evaluate(f"{function.call}()", typing=repeat(str(radius), 1))
                    if outcome.asked:
                        break
        if outcome.state == "lacking":
            return [Check(asking, None, outcome.reason)]
        if not outcome.asked:
            reason = outcome.reason or "never asks for anything to be typed"
            return [Check(asking, False, reason, outcome.printed)]
        if outcome.state != "exited" and (found := stopped(computing, outcome)):
            return [Check(asking, True), found]
        right = any(abs(number / area - 1) < PI_TOLERANCE for number in numbers_of(outcome))
        reason = "" if right else f"for the radius {radius} gives {in_words(outcome.value or outcome.printed.strip())}"
        checks = [Check(asking, True), Check(computing, right, reason, outcome.printed)]
        if not right:
            break
    return checks


CHECKERS: dict[str, Callable[[Program], list[Check]]] = {
    "knn": check_knn,
    "fibonacci": _fibonacci,
    "average": check_average,
    "membership": check_membership,
    "circle": _circle,
}
