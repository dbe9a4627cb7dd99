"""Verdicts on answers while people watch them: a cheap look while they stream, the whole judgement once they are over.

Judging a finished answer runs its code in a sandbox and may take seconds, so it is done by a few threads that all
visitors share; nobody who streams waits for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING

from eval_prompts.judging.judge import judge_partial
from eval_prompts.judging.verdict import Verdict
from eval_prompts.tasks.verdicts import Judgement, judge_answer
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.answers import Answer
    from eval_prompts.judging.verdict import Badge
    from eval_prompts.lens.likelihood import Known
    from eval_prompts.lens.token_tree import Continuation
    from eval_prompts.showing.views import BadgeView, VerdictView
    from eval_prompts.tasks.task import Question, Task

WORKERS = 2
NOT_RUN = "code cannot be run on this server, whose log says why"
PARTIAL_SECONDS = 0.5
"""How often the same streaming answer is looked at again."""
CHECKING: VerdictView = {"checking": True, "badges": []}
UNJUDGED: VerdictView = {"checking": False, "badges": []}
FAILED = Judgement(python=Verdict(judging_failed=True))

Read = Callable[["Answer", tuple["Continuation", ...]], "Known"]
"""The likelihoods of some texts in an answer's place, under the side that gave it. Raises UserError."""

log = logging.getLogger(__name__)


class Judges:
    """The threads that judge finished answers, first come, first served."""

    def __init__(self, workers: int = WORKERS, jail: bool = False) -> None:
        self._jail = jail
        self._told: set[str] = set()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="judge")

    def judge(self, answer: Answer, task: Task, question: Question, read: Read | None = None) -> Future[Judgement]:
        """What a task's scorers say of a finished answer, as soon as a thread has come to it. ``read`` gives the
        likelihoods that they may ask for."""
        return self._pool.submit(self._judged, answer, task, question, read)

    def close(self) -> None:
        """Take up nothing more; what is being judged now ends within its own limits."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _judged(self, answer: Answer, task: Task, question: Question, read: Read | None = None) -> Judgement:
        """The judgement; where code cannot be run, what can be said without. Why is the owner's to know: once, in the
        log."""
        try:
            known, unread = known_of(answer, task, question, read)
            verdict = partial(judge_answer, task, question, answer.said, answer.stopped, read=known, unread=unread)
            try:
                return verdict(jail=self._jail)
            except UserError as error:
                if str(error) not in self._told:
                    self._told.add(str(error))
                    log.warning("Answers are judged without running them: %s", error)
                return verdict(unrun=NOT_RUN)
        except Exception:
            log.exception("An answer could not be judged")
            return FAILED


def known_of(answer: Answer, task: Task, question: Question, read: Read | None) -> tuple[Known | None, str]:
    """The likelihoods that a question's scorers ask for, under the side that answered; or None, and why."""
    wanted = task.wanted(question)
    if not wanted or read is None:
        return None, ""
    try:
        return read(answer, wanted), ""
    except UserError as error:
        return None, str(error)


class Verdicts:
    """The verdicts on the answers of one request, as they become known."""

    def __init__(self, judges: Judges, task: Task, questions: Sequence[Question], read: Read | None = None) -> None:
        """``questions`` are those of the request, by number; ``task`` says what a good answer to them is, and ``read``
        gives the likelihoods that it may ask for."""
        self._read = read
        self._judges = judges
        self._task = task
        self._questions = questions
        self._beginning = threading.Lock()
        self._final: dict[tuple[str, int], Future[Judgement]] = {}
        self._partial: dict[tuple[str, int], tuple[float, str, VerdictView]] = {}

    def of(self, answer: Answer) -> VerdictView:
        """What to show for an answer now: whether it is still being checked, and its badges. Never waits.

        An answer that was stopped is not judged, since it is not all that the model had to say.
        """
        if answer.state in ("ended", "capped"):
            future = self.begin(answer)
            if not future.done():
                return CHECKING
            verdict = outcome(future)
            return shown(verdict) if verdict else UNJUDGED
        if answer.state in ("streaming", "cancelled") and answer.said and self._task.judges_python:
            return self._look(answer)
        return UNJUDGED

    def begin(self, answer: Answer) -> Future[Judgement]:
        """Have a finished answer judged, once."""
        key = answer.side, answer.index
        with self._beginning:
            if key not in self._final:
                self._final[key] = self._judges.judge(answer, self._task, self._questions[answer.index], self._read)
            return self._final[key]

    def final(self, index: int) -> dict[str, Judgement]:
        """The verdicts that are known on the answers to one question, by side."""
        begun = list(self._final.items())
        futures = {side: future for (side, at), future in begun if at == index and future.done()}
        return {side: verdict for side, future in futures.items() if (verdict := outcome(future))}

    def wait(self, seconds: float) -> bool:
        """Wait until all that is being judged is known; False if it is not after that many seconds."""
        return not wait(list(self._final.values()), seconds).not_done

    def _look(self, answer: Answer) -> VerdictView:
        key, now = (answer.side, answer.index), time.monotonic()
        seen = self._partial.get(key)
        if seen and (seen[1] == answer.said or (now - seen[0] < PARTIAL_SECONDS and not answer.done)):
            return seen[2]
        found = shown(judge_partial(answer.said))
        self._partial[key] = now, answer.said, found
        return found


def shown(verdict: Verdict | Judgement) -> VerdictView:
    """A verdict as the page shows it."""
    return {"checking": False, "badges": [badge_view(badge) for badge in verdict.badges]}


def badge_view(badge: Badge) -> BadgeView:
    """A badge as the page shows it."""
    return {
        "kind": badge.kind,
        "label": badge.label,
        "state": badge.state,
        "reason": badge.reason,
        "output": badge.output,
    }


def outcome(future: Future[Judgement]) -> Judgement | None:
    """What a judge found; None if it was called off."""
    return None if future.cancelled() else future.result()
