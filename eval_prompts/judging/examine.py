"""From an answer to a verdict: is there code, does it parse, do its names exist, does it run, does it do the task, did
the answer end, does it repeat itself.

Nothing of an answer runs in this process: code runs in the Monty sandbox, and in the bubblewrap jail where a caller
asks for that. Every conclusion is drawn here, from plain data that comes back.
"""

from __future__ import annotations

import ast
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Literal

from eval_prompts.judging.answer import ParsedAnswer, Syntax, may_go_on, parse_answer
from eval_prompts.judging.asserting.given_tests import run_assertions, run_function_check
from eval_prompts.judging.assignment import Assignment
from eval_prompts.judging.extract import extract
from eval_prompts.judging.outcome import Check, Outcome, Session
from eval_prompts.judging.probes import checks
from eval_prompts.judging.probes.program import Program, Typist, bound_names
from eval_prompts.judging.repetition import repetition
from eval_prompts.judging.set_orders import agreed, turned
from eval_prompts.judging.syntax import syntax_error, syntax_tree
from eval_prompts.judging.undefined_names import missing_names
from eval_prompts.judging.verdict import Runs, Task, Verdict

SECONDS = {"sandbox": 8.0, "jail": 30.0}
"""The time for all that is tried with one answer; a single step has its own, shorter limit."""


def examine(
    text: str,
    task: Assignment,
    *,
    stopped: bool | None = None,
    jail: bool = False,
    unrun: str = "",
    so_far: Callable[[Verdict], None] = lambda verdict: None,
) -> Verdict:
    """The verdict on a finished answer, with its code run from this process (see ``judge.judge`` for the arguments).

    ``so_far`` is told what is known before each step that hostile code may hold for ever. Raises UserError where
    sandbox or jail are not available.
    """
    answer = parse_answer(text, stopped)
    start = Verdict(code=answer.program.code, stopped=stopped, repetition=repetition(text), syntax=answer.error)
    wanted: Task = "fails" if task.asks_something else "none"
    if answer.syntax is Syntax.NONE:
        return replace(start, task=wanted)
    if answer.syntax in (Syntax.WRONG, Syntax.CUT_OFF):
        return replace(start, parses=None if answer.syntax is Syntax.CUT_OFF else False, task=wanted)
    if answer.syntax is Syntax.NEWER:
        reason = f"it needs Python {answer.needs}, and this is {platform.python_version()}"
        return _not_run(replace(start, needs=f"Python {answer.needs}"), task, reason)
    try:
        return _examine_program(answer, replace(start, parses=True, syntax=answer.notes), task, jail, unrun, so_far)
    except RecursionError:
        return _not_run(replace(start, parses=True), task, "it is nested too deeply")


def _examine_program(
    answer: ParsedAnswer,
    start: Verdict,
    task: Assignment,
    jail: bool,
    unrun: str,
    so_far: Callable[[Verdict], None],
) -> Verdict:
    if answer.tree is None:
        raise RecursionError
    missing = tuple(missing_names(start.code, answer.tree))
    parsed = replace(start, missing=missing, defines_only=_defines_only(answer.tree))
    if unrun:
        return _not_run(parsed, task, unrun)
    verdict = _execute(parsed, answer.tree, task, "sandbox", so_far)
    if jail and "not run" in (verdict.runs, verdict.task):
        verdict = _execute(parsed, answer.tree, task, "jail", so_far)
    return verdict


def _not_run(start: Verdict, task: Assignment, reason: str) -> Verdict:
    wanted = task.asks_something
    tried = (Check("runs", None, reason),) if wanted else ()
    return replace(start, runs_reason=reason, task="not run" if wanted else "none", checks=tried)


def judge_partial(text: str) -> Verdict:
    """A first verdict on an answer that still streams: whether what is there parses, and repeats. Runs nothing."""
    program = extract(text, capped=True)
    error = syntax_error(program.code) if program.code else ""
    going_on = bool(error) and program.open_end and may_go_on(program.code)
    return Verdict(
        code=program.code,
        parses=None if going_on or not program.code else not error,
        syntax="" if going_on else error,
        repetition=repetition(text),
        final=False,
    )


def _defines_only(tree: ast.Module) -> bool:
    """Whether running a program does nothing but define: no call of its own, no computation, nothing printed."""
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Pass)
    defined = False
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined = True
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            value = node.value
            if value is not None and any(isinstance(part, ast.Call | ast.Await) for part in ast.walk(value)):
                return False
            defined = defined or isinstance(value, ast.Lambda)
        elif not isinstance(node, definitions) and not (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            return False
    return defined


def _execute(
    start: Verdict,
    tree: ast.Module,
    task: Assignment,
    where: Literal["sandbox", "jail"],
    so_far: Callable[[Verdict], None],
) -> Verdict:
    """``start`` with what running the program in the sandbox or the jail shows."""
    program = Program(start.code, tree, partial(_open, where, time.monotonic() + SECONDS[where]))
    so_far(replace(start, where=where))
    with program.open_session() as session:
        outcome = session.run(start.code, Typist(program, [3, 1, 2], 2))
        verdict = _ran(replace(start, where=where), outcome)
        so_far(verdict)
        found = _assertions(session, program, task, outcome)
    if where == "sandbox" and any(check.passed is not None for check in found):
        found = _in_another_order(program, task, found)
    if task.probe_id in checks.CHECKERS:
        broken = outcome.state in ("raised", "limit") and not outcome.asked
        stops = Check("runs without an error", None if outcome.state == "lacking" else False, outcome.reason)
        found = [stops] if broken or outcome.state == "lacking" else checks.check(task.probe_id, program)
    return replace(verdict, checks=tuple(found), task=_conclusion(found, task))


def _in_another_order(program: Program, task: Assignment, found: list[Check]) -> list[Check]:
    """The checks as found, but for those that come out otherwise where sets give their elements in another order."""
    other = turned(program.tree)
    if not other:
        return found
    with program.open_session() as session:
        outcome = session.run(other, Typist(program, [3, 1, 2], 2))
        return agreed(found, _assertions(session, program, task, outcome)) if outcome.ok else found


def _assertions(session: Session, program: Program, task: Assignment, outcome: Outcome) -> list[Check]:
    if not task.tests and not task.function_test:
        return []
    if outcome.ok and task.setup:
        outcome = session.run(task.setup)
    if not outcome.ok:
        passed = None if outcome.state == "lacking" else False
        return [Check("runs before its tests", passed, outcome.reason, outcome.printed)]
    if task.function_test:
        test = task.function_test, task.entry_point, task.context
        return [run_function_check(session, *test, own_equality=_decides_equality(program.tree))]
    names = bound_names(program.tree) | _names(task.setup)
    return run_assertions(session, task.tests, names, task.setup, _decides_equality(program.tree))


def _decides_equality(tree: ast.Module) -> bool:
    methods = ("__eq__", "__ne__")
    return any(isinstance(node, ast.FunctionDef) and node.name in methods for node in ast.walk(tree))


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
        runs = "no" if outcome.failing else "yes"
    elif outcome.ran_out:
        runs, reason = "not run", "asks for more to be typed than is known here"
    return replace(verdict, runs=runs, runs_reason=reason, output=outcome.printed)


def _open(where: str, deadline: float) -> AbstractContextManager[Session]:
    """A fresh session that ends by ``deadline`` (of ``time.monotonic``)."""
    left = max(deadline - time.monotonic(), 0.05)
    if where == "jail":
        from eval_prompts.judging.sandbox.jail import open_jail

        return open_jail(left)
    from eval_prompts.judging.sandbox.monty import Limits, MontySandbox

    return MontySandbox(Limits(seconds=min(Limits.seconds, left), total_seconds=min(Limits.total_seconds, left)))
