"""From an answer to a verdict: is there code, does it parse, do its names exist, does it run, does it do the task, did
the answer end, does it repeat itself.

Nothing of an answer runs in this process: code runs in the Monty sandbox, and in the bubblewrap jail where a caller
asks for that. Every conclusion is drawn here, from plain data that comes back.
"""

from __future__ import annotations

import ast
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from eval_prompts.judging.assertions import run_assertions, run_function_check
from eval_prompts.judging.extract import blocks, code, cut_off, syntax_tree
from eval_prompts.judging.outcome import Check, Outcome, Session
from eval_prompts.judging.probes import checks
from eval_prompts.judging.probes.program import Program, Typist, bound_names
from eval_prompts.judging.repetition import repetition
from eval_prompts.judging.undefined_names import missing_names
from eval_prompts.judging.verdict import Badge, Runs, Task, Verdict, summary

__all__ = ["Assignment", "Badge", "Verdict", "judge", "judge_partial", "judge_task", "summary", "syntax_error"]

MAX_CODE = 50_000
CUT_OFF = "It was cut off before there was a complete statement to judge."
SECONDS = {"sandbox": 8.0, "jail": 30.0}
"""The time for all that is tried with one answer; a single step has its own, shorter limit."""


@dataclass(frozen=True)
class Assignment:
    """What an answer is checked against: a probe, assertions as in MBPP, or a ``check(candidate)`` as in HumanEval."""

    probe_id: str | None = None
    tests: tuple[str, ...] = ()
    setup: str = ""
    function_test: str = ""
    entry_point: str = ""
    context: str = field(default="", repr=False)

    @property
    def asks_something(self) -> bool:
        """Whether there is anything to pass or fail."""
        return bool(self.probe_id in checks.CHECKERS or self.tests or self.function_test)


def judge(
    text: str,
    *,
    probe_id: str | None = None,
    stopped: bool | None = None,
    tests: Sequence[str] | None = None,
    setup: str = "",
    jail: bool = False,
    unrun: str = "",
) -> Verdict:
    """The verdict on a finished answer, in some milliseconds (up to a few seconds for code that runs into its limits).

    ``stopped`` says whether the model ended the answer itself. The task is that of a probe, or ``tests`` (assertions,
    run after ``setup``), or none. With ``jail`` code that the sandbox cannot run is run in the bubblewrap jail. With
    ``unrun`` nothing is run, and that is the reason that is given. Raises UserError where sandbox or jail are not
    available, and nothing else for any text.
    """
    assignment = Assignment(probe_id, tuple(tests or ()), setup)
    return judge_task(text, assignment, stopped=stopped, jail=jail, unrun=unrun)


def judge_task(
    text: str, task: Assignment, *, stopped: bool | None = None, jail: bool = False, unrun: str = ""
) -> Verdict:
    """As ``judge``, for any kind of task."""
    source = code(text, capped=stopped is False)
    start = Verdict(code=source, stopped=stopped, repetition=repetition(text))
    wanted: Task = "fails" if task.asks_something else "none"
    if not source:
        return replace(start, task=wanted)
    error = syntax_error(source)
    if error and (stopped is False or cut_off(text)) and _may_go_on(source):
        return replace(start, parses=None, syntax=CUT_OFF, task=wanted)
    if error:
        return replace(start, parses=False, syntax=error, task=wanted)
    try:
        return _judge_program(text, start, task, jail, unrun)
    except RecursionError:
        return _not_run(replace(start, parses=True), task, "it is nested too deeply")


def _judge_program(text: str, start: Verdict, task: Assignment, jail: bool, unrun: str) -> Verdict:
    source = start.code
    tree = syntax_tree(source)
    if tree is None:
        raise RecursionError
    note = "Its unfinished last statement is left out." if _shortened(text, source) else ""
    parsed = replace(start, parses=True, syntax=note, missing=tuple(missing_names(source, tree)))
    if unrun:
        return _not_run(parsed, task, unrun)
    verdict = _execute(parsed, tree, task, "sandbox")
    if jail and "not run" in (verdict.runs, verdict.task):
        verdict = _execute(parsed, tree, task, "jail")
    return verdict


def _not_run(start: Verdict, task: Assignment, reason: str) -> Verdict:
    wanted = task.asks_something
    tried = (Check("runs", None, reason),) if wanted else ()
    return replace(start, runs_reason=reason, task="not run" if wanted else "none", checks=tried)


def judge_partial(text: str) -> Verdict:
    """A first verdict on an answer that still streams: whether what is there parses, and repeats. Runs nothing."""
    source = code(text, capped=True)
    error = syntax_error(source) if source else ""
    going_on = bool(error) and not blocks(text)[-1].closed and _may_go_on(source)
    return Verdict(
        code=source,
        parses=None if going_on or not source else not error,
        syntax="" if going_on else error,
        repetition=repetition(text),
        final=False,
    )


def syntax_error(source: str) -> str:
    """What is wrong with a program's syntax, in words with its line; '' if nothing. Compiles, and runs nothing."""
    if len(source) > MAX_CODE:
        return f"The code is longer than {MAX_CODE:,} characters."
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(source, "<answer>", "exec", dont_inherit=True)
    except SyntaxError as error:
        return f"Line {error.lineno}: {error.msg}." if error.lineno else f"{error.msg}."
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        return f"It cannot be read: {error or type(error).__name__}."
    return ""


def _execute(start: Verdict, tree: ast.Module, task: Assignment, where: str) -> Verdict:
    """``start`` with what running the program in the sandbox or the jail shows."""
    program = Program(start.code, tree, partial(_open, where, time.monotonic() + SECONDS[where]))
    with program.open_session() as session:
        outcome = session.run(start.code, Typist(program, [3, 1, 2], 2))
        verdict = _ran(replace(start, where=where), outcome)
        found = _assertions(session, program, task, outcome)
    if task.probe_id in checks.CHECKERS:
        broken = outcome.state in ("raised", "limit") and not outcome.asked
        stops = Check("runs without an error", None if outcome.state == "lacking" else False, outcome.reason)
        found = [stops] if broken or outcome.state == "lacking" else checks.check(task.probe_id, program)
    return replace(verdict, checks=tuple(found), task=_conclusion(found, task))


def _assertions(session: Session, program: Program, task: Assignment, outcome: Outcome) -> list[Check]:
    if not task.tests and not task.function_test:
        return []
    if outcome.ok and task.setup:
        outcome = session.run(task.setup)
    if not outcome.ok:
        passed = None if outcome.state == "lacking" else False
        return [Check("runs before its tests", passed, outcome.reason, outcome.printed)]
    if task.function_test:
        return [run_function_check(session, task.function_test, task.entry_point, task.context)]
    names = bound_names(program.tree) | _names(task.setup)
    return run_assertions(session, task.tests, names, task.setup)


def _names(source: str) -> frozenset[str]:
    tree = syntax_tree(source)
    return bound_names(tree) if tree else frozenset()


def _conclusion(found: Sequence[Check], task: Assignment) -> Task:
    if not found:
        return "not run" if task.asks_something else "none"
    if any(check.passed is False for check in found):
        return "fails"
    return "not run" if any(check.passed is None for check in found) else "passes"


def _ran(verdict: Verdict, outcome: Outcome) -> Verdict:
    states: dict[str, Runs] = {"ok": "yes", "lacking": "not run"}
    runs = states.get(outcome.state, "no")
    reason = outcome.reason
    if outcome.state == "exited":
        runs = "yes" if "code 0" in outcome.reason or "code None" in outcome.reason else "no"
    elif outcome.ran_out:
        runs, reason = "not run", "asks for more to be typed than is known here"
    return replace(verdict, runs=runs, runs_reason=reason, output=outcome.printed)


def _open(where: str, deadline: float) -> Session:
    """A fresh session that ends by ``deadline`` (of ``time.monotonic``)."""
    left = max(deadline - time.monotonic(), 0.05)
    if where == "jail":
        from eval_prompts.judging.sandbox.jail import open_jail

        return open_jail(left)
    from eval_prompts.judging.sandbox.monty import Limits, MontySandbox

    return MontySandbox(Limits(seconds=min(Limits.seconds, left), total_seconds=min(Limits.total_seconds, left)))


def _shortened(text: str, source: str) -> bool:
    whole = [block.code for block in blocks(text) if block.maybe_python]
    return bool(whole) and not source.rstrip().endswith(whole[-1].rstrip())


def _may_go_on(source: str) -> bool:
    """Whether the error in ``source`` stands in its last line, as in a statement that is still being written."""
    try:
        compile(source, "<answer>", "exec", dont_inherit=True)
    except SyntaxError as error:
        return (error.lineno or 0) >= source.count("\n") + 1 or "never closed" in error.msg or "EOF" in error.msg
    except (ValueError, RecursionError, MemoryError, OverflowError):
        return False
    return True
