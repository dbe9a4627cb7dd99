"""The scorer of Python: the judge of the Python task, with the question's probe or assertions."""

from __future__ import annotations

from typing import Any

from eval_prompts.judging.assignment import Assignment
from eval_prompts.judging.verdict import Verdict
from eval_prompts.tasks.scorers.base import Outcome, Score

OUTCOMES = {"passes": Outcome.PASSES, "fails": Outcome.FAILS, "not run": Outcome.NOT_RUN}


def assignment(columns: dict[str, Any], probe: str | None) -> Assignment:
    """What an answer to a question with these columns is checked against: its probe, or the assertions in ``tests``
    (a list or a script) after ``setup``."""
    tests = columns.get("tests") or ()
    listed = (tests,) if isinstance(tests, str) else tuple(map(str, tests))
    return Assignment(probe, tuple(test for test in listed if test.strip()), str(columns.get("setup") or ""))


def from_verdict(verdict: Verdict) -> Score | None:
    """The Python judge's verdict as a score; None where the question asked nothing that can pass or fail."""
    outcome = OUTCOMES.get(verdict.task)
    if outcome is None:
        return None
    passed = {Outcome.PASSES: 1.0, Outcome.FAILS: 0.0}.get(outcome)
    reason = verdict.task_reason or ("" if verdict.code else "the answer holds no Python code")
    return Score("python", outcome, reason, passed)
