"""The verdict on an answer: is there code, does it parse, do its names exist, does it run, does it do the task, did the
answer end, does it repeat itself.

Nothing of an answer runs in this process, and nothing that its code gives back becomes an object here: that is done in
a judging process (``process``), whose program is ``examine``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from eval_prompts.judging.assignment import Assignment
from eval_prompts.judging.examine import examine, judge_partial
from eval_prompts.judging.process import JudgingError, judge_apart
from eval_prompts.judging.repetition import repetition
from eval_prompts.judging.syntax import syntax_error
from eval_prompts.judging.verdict import Badge, Verdict, summary

__all__ = ["Assignment", "Badge", "Verdict", "judge", "judge_partial", "summary", "syntax_error"]

log = logging.getLogger(__name__)


def judge(
    text: str,
    *,
    probe_id: str | None = None,
    stopped: bool | None = None,
    tests: Sequence[str] | None = None,
    setup: str = "",
    task: Assignment | None = None,
    jail: bool = False,
    unrun: str = "",
) -> Verdict:
    """The verdict on a finished answer, in some milliseconds (up to a few seconds for code that runs into its limits).

    ``stopped`` says whether the model ended the answer itself. The task is ``task``, or that of a probe, or ``tests``
    (assertions, run after ``setup``), or none. With ``jail`` code that the sandbox cannot run is run in the bubblewrap
    jail. With ``unrun`` nothing is run, and that is the reason that is given. Raises UserError where sandbox or jail
    are not available, and nothing else for any text: where the judging itself fails, the log says why, and the verdict
    that it failed.
    """
    task = task or Assignment(probe_id, tuple(tests or ()), setup)
    if unrun:
        return examine(text, task, stopped=stopped, unrun=unrun)
    try:
        return judge_apart(text, task, stopped, jail)
    except JudgingError:
        log.exception("An answer could not be judged")
        failed = Verdict(stopped=stopped, repetition=repetition(text), judging_failed=True)
        return replace(failed, task="not run" if task.asks_something else "none")
