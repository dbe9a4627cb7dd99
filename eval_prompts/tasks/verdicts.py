"""What a task's scorers find about one answer, together: a judgement with badges, a verdict and a score."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from eval_prompts.judging.judge import judge
from eval_prompts.judging.verdict import Badge, BadgeState, Verdict
from eval_prompts.tasks.scorers.base import Outcome, Score
from eval_prompts.tasks.scorers.python import assignment, from_verdict
from eval_prompts.tasks.task import Question, Task

if TYPE_CHECKING:
    from eval_prompts.lens.likelihood import Known

STATES: dict[Outcome, BadgeState] = {Outcome.PASSES: "good", Outcome.FAILS: "bad"}
WORDS = {
    "exact": ("same as the reference", "not the reference"),
    "normalised": ("same as the reference", "not the reference"),
    "contains": ("contains it", "does not contain it"),
    "excludes": ("nothing excluded", "holds what it must not"),
    "any_of": ("contains one", "contains none"),
    "regex": ("matches", "does not match"),
    "number": ("right number", "wrong number"),
    "choice": ("right option", "wrong option"),
    "json": ("right JSON", "wrong JSON"),
    "sql": ("right rows", "wrong rows"),
    "length": ("right length", "wrong length"),
    "language": ("right language", "wrong language"),
    "ends": ("ends by itself", "hit the cap"),
    "no_repeats": ("does not repeat", "repeats itself"),
    "reference": ("reference is likely", "reference is unlikely"),
    "own": ("passes", "fails"),
}
"""What a badge says of an answer that passes and of one that fails."""


class Change(StrEnum):
    """How the tuned side's answer compares with the base side's, by their scores."""

    BETTER = "better"
    SAME = "same"
    WORSE = "worse"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Judgement:
    """All that a task's scorers found about one finished answer. ``python`` is the judge of Python's verdict."""

    scores: tuple[Score, ...] = ()
    python: Verdict | None = None
    stopped: bool | None = None

    @property
    def task(self) -> str:
        """'passes' if all that can pass or fail passes, 'fails' if one does not, 'not run' if one could not be tried,
        'none' if nothing was asked that can."""
        outcomes = {score.outcome for score in self.scores}
        for outcome in (Outcome.FAILS, Outcome.NOT_RUN, Outcome.PASSES):
            if outcome in outcomes:
                return str(outcome)
        return "none"

    @property
    def score(self) -> float | None:
        """The mean of the scores, 0 to 1; None if one could not be tried, or there is none."""
        figures = [score.score for score in self.scores]
        known = [figure for figure in figures if figure is not None]
        return sum(known) / len(known) if known and len(known) == len(figures) else None

    @property
    def badges(self) -> list[Badge]:
        """What is shown: of Python all that its judge found, of every other scorer one badge."""
        found = self.python.badges if self.python else []
        return [*found, *(badge(score) for score in self.scores if score.scorer != "python")]

    @property
    def task_reason(self) -> str:
        """Why the task is not passed; '' where it is."""
        odd = [score for score in self.scores if score.outcome is not Outcome.PASSES and score.reason]
        return f"{odd[0].scorer}: {odd[0].reason}" if odd else ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON data, badges and scores included."""
        told = self.python.to_dict() if self.python else {"stopped": self.stopped, "final": True}
        return told | {
            "task": self.task,
            "task_reason": self.python.task_reason if self.python and len(self.scores) < 2 else self.task_reason,
            "score": self.score,
            "scores": [score.to_dict() for score in self.scores],
            "badges": [asdict(each) for each in self.badges],
        }


def badge(score: Score) -> Badge:
    """A score as a badge."""
    good, bad = WORDS.get(score.scorer, (score.scorer, score.scorer))
    words = {Outcome.PASSES: good, Outcome.FAILS: bad, Outcome.NOT_RUN: f"{score.scorer} not checked"}
    label = score.short or words.get(score.outcome, score.scorer)
    reason = f"{score.reason[:1].upper()}{score.reason[1:]}{'' if score.reason.endswith(('.', '…')) else '.'}"
    kind = "task" if score.outcome in (Outcome.PASSES, Outcome.FAILS, Outcome.NOT_RUN) else "figure"
    return Badge(kind, label, STATES.get(score.outcome, "neutral"), reason if score.reason else "")


def judge_answer(
    task: Task,
    question: Question,
    text: str,
    stopped: bool | None = None,
    *,
    jail: bool = False,
    unrun: str = "",
    read: Known | None = None,
    unread: str = "",
) -> Judgement:
    """What a task's scorers and the question's own say of a finished answer.

    ``jail`` and ``unrun`` are for the judge of Python (see :func:`eval_prompts.judging.judge.judge`); ``read`` are the
    likelihoods of :meth:`Task.wanted` under the model that answers, and ``unread`` says why there are none. Raises
    UserError where the sandbox is not available, and nothing else for any text.
    """
    verdict: Verdict | None = None
    scores: list[Score | None] = []
    given = question.given(text, stopped, read, unread)
    for scorer in (*task.scorers, *question.checks):
        if scorer.name == "python":
            asked = assignment(dict(question.columns), question.probe)
            verdict = judge(text, task=asked, stopped=stopped, jail=jail, unrun=unrun)
            scores.append(from_verdict(verdict))
        else:
            scores.append(scorer(given))
    return Judgement(tuple(score for score in scores if score is not None), verdict, stopped)


def change(base: Judgement | None, tuned: Judgement | None) -> Change:
    """Which of two answers to one question scores higher."""
    if base is None or tuned is None or base.score is None or tuned.score is None:
        return Change.UNKNOWN
    difference = tuned.score - base.score
    if abs(difference) < 1e-9:
        return Change.SAME
    return Change.BETTER if difference > 0 else Change.WORSE


def tally(judgements: Iterable[tuple[str, Judgement]]) -> dict[str, dict[str, Any]]:
    """Counts per side: answers, passes, fails, not_run, ended, and the mean score of those that have one."""
    counts: dict[str, Counter[str]] = {}
    figures: dict[str, list[float]] = {}
    for side, judgement in judgements:
        count = counts.setdefault(side, Counter(answers=0, passes=0, fails=0, not_run=0, ended=0))
        count.update(["answers"])
        if judgement.task != "none":
            count.update([judgement.task.replace(" ", "_")])
        count["ended"] += judgement.stopped is True
        if judgement.score is not None:
            figures.setdefault(side, []).append(judgement.score)
    means = {side: sum(values) / len(values) for side, values in figures.items()}
    return {side: {**count, "score": means.get(side)} for side, count in counts.items()}
