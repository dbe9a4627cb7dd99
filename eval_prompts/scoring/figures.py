"""What a scoring comes to: per task both sides' scores, the paired difference, and what may be said of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from eval_prompts.scoring.habits import Habit, habits_of, median_tokens
from eval_prompts.scoring.statistics import Difference, Interval, agreement, compare, holm, mean_interval, pass_at_k
from eval_prompts.scoring.table import SIDES, Outcome, Table, TaskTable
from eval_prompts.serving.readings import UNREADABLE

SIGNIFICANT = 0.05
EFFECT = 0.05
"""The difference that matters: 5 points."""
MOST_PARTS = 24
"""Tags that a task is read by; more would be no reading."""
MOST_K = (1, 5, 10, 25, 50, 100)


class Standing(StrEnum):
    """What may be said of the tuned side beside the base."""

    BETTER = "better"
    WORSE = "worse"
    NOT_BETTER = "not better"
    """A gain of 5 points is ruled out."""
    CANNOT_TELL = "cannot tell yet"
    ONE_SIDE = "one side alone"


@dataclass(frozen=True)
class SideFigures:
    """One side on one task. ``score`` is the share that passes (or the mean score), ``not_run`` answers could not be
    tried and count as not passed. ``written`` of the ``answers`` were written, and of the others likelihoods were read:
    ``ended`` and tokens are of those that were written."""

    score: Interval
    answers: int
    written: int
    passed: int
    not_run: int
    ended: int
    tokens: float | None
    mean_tokens: float | None
    pass_at: dict[int, float]
    same_text: float | None
    same_verdict: float | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self) | {"pass_at": {str(k): share for k, share in self.pass_at.items()}}


@dataclass(frozen=True)
class Part:
    """The questions of a task with one tag: both sides' mean scores, and their paired difference. Nothing is claimed of
    a part."""

    tag: str
    questions: int
    base: float
    tuned: float
    difference: Difference

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        told = {"tag": self.tag, "questions": self.questions, "base": self.base, "tuned": self.tuned}
        return told | {"difference": self.difference.to_dict()}


@dataclass(frozen=True)
class TaskFigures:
    """One task: both sides, their paired difference, and where the tuned side stands; ``p_value`` is adjusted for all
    tasks of the scoring. ``left_out`` counts the questions without a verdict on both sides, by reason; ``parts`` are
    those with the commonest tags, of which there are ``tags``. ``samples_left_out`` counts answers that could not be
    asked for to questions that are compared by their other samples."""

    name: str
    title: str
    metric: str
    questions: int
    whole: int
    sides: dict[str, SideFigures]
    difference: Difference | None
    p_value: float | None
    standing: Standing
    outcomes: dict[Outcome, list[str]]
    left_out: dict[str, int] = field(default_factory=dict)
    parts: tuple[Part, ...] = ()
    tags: int = 0
    samples_left_out: int = 0

    @property
    def more(self) -> int | None:
        """About how many more questions show a difference of 5 points at 80% power; None for one side alone."""
        return None if self.difference is None else self.difference.more_for(EFFECT)

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "name": self.name,
            "title": self.title,
            "metric": self.metric,
            "questions": self.questions,
            "whole": self.whole,
            "sides": {side: figures.to_dict() for side, figures in self.sides.items()},
            "difference": self.difference and self.difference.to_dict(),
            "p_value": self.p_value,
            "standing": str(self.standing),
            "more_for_5_points": self.more,
            **{str(outcome): ids for outcome, ids in self.outcomes.items()},
            "left_out": dict(self.left_out),
            "samples_left_out": self.samples_left_out,
            "parts": [part.to_dict() for part in self.parts],
        }


@dataclass(frozen=True)
class Figures:
    """A whole scoring. The first task is one's own; the others are the battery, where something may have got worse."""

    tasks: tuple[TaskFigures, ...]
    habits: tuple[Habit, ...]
    other: tuple[Mapping[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "tasks": [task.to_dict() for task in self.tasks],
            "habits": [habit.to_dict() for habit in self.habits],
            "figures": [dict(figure) for figure in self.other],
        }


def figures_of(table: Table) -> Figures:
    """All that a scoring's table comes to, finished or not."""
    tasks = [task_figures(task) for task in table.tasks.values()]
    compared = {task.name: task.difference.p_value for task in tasks if task.difference}
    adjusted = holm(compared)
    judged = tuple(
        replace(task, p_value=adjusted[task.name], standing=standing(task.difference, adjusted[task.name]))
        if task.difference
        else task
        for task in tasks
    )
    both = set(table.plan["sides"]) >= set(SIDES)
    pairs = [pair for task in table.tasks.values() for pair in task.pairs()] if both else []
    return Figures(judged, tuple(habits_of(pairs)), tuple(table.figures.values()))


def _mean_of_means(values: Sequence[Sequence[float]]) -> float:
    return math.fsum(math.fsum(one) / len(one) for one in values) / len(values)


def standing(difference: Difference, p_value: float) -> Standing:
    """What a difference shows: a claim where the adjusted test is below 5%; "not better" where the interval rules out a
    gain of 5 points; else that nothing can be told yet."""
    if not difference.of:
        return Standing.CANNOT_TELL
    if p_value < SIGNIFICANT:
        return Standing.BETTER if difference.value > 0 else Standing.WORSE
    return Standing.NOT_BETTER if difference.high < EFFECT else Standing.CANNOT_TELL


def task_figures(task: TaskTable) -> TaskFigures:
    """One task's figures, its p-value not adjusted yet."""
    sides = {side: side_figures(task, side) for side in task.sides}
    outcomes: dict[Outcome, list[str]] = {outcome: [] for outcome in Outcome}
    for number, question in enumerate(task.questions):
        outcomes[task.outcome(number)].append(str(question["id"] or number + 1))
    difference = None
    if set(task.sides) >= set(SIDES):
        difference = compare(task.values("base"), task.values("tuned"), task.clusters)
    state = Standing.CANNOT_TELL if difference else Standing.ONE_SIDE
    p_value = difference.p_value if difference else None
    return TaskFigures(
        task.name, task.title, task.metric, len(task.questions), int(task.plan["whole"]), sides, difference, p_value,
        state, outcomes, left_out(task), parts_of(task) if difference else (), len(tags_of(task)),
        samples_left_out(task),
    )  # fmt: skip


def tags_of(task: TaskTable) -> Counter[str]:
    """How many questions have each tag."""
    return Counter(str(tag) for question in task.questions for tag in dict.fromkeys(question["tags"]))


def parts_of(task: TaskTable) -> tuple[Part, ...]:
    """What both sides come to on the questions with each of the commonest tags, in the order of the questions; none
    where all questions have the same ones."""
    tags = [tag for tag, count in tags_of(task).most_common(MOST_PARTS) if count < len(task.questions)]
    values = {side: task.values(side) for side in SIDES}
    found = []
    for tag in tags:
        places = [
            at
            for at, question in enumerate(task.questions)
            if tag in question["tags"] and values["base"][at] and values["tuned"][at]
        ]
        if places:
            base, tuned = ([values[side][at] for at in places] for side in SIDES)
            difference = compare(base, tuned, [task.clusters[at] for at in places])
            found.append(Part(tag, len(places), _mean_of_means(base), _mean_of_means(tuned), difference))
    return tuple(found)


def left_out(task: TaskTable) -> dict[str, int]:
    """How many questions are in no comparison, by reason: those without a value on one of the sides."""
    counts = {UNREADABLE: 0, "could not be asked": 0, "no answer yet": 0, "nothing that can be judged": 0}
    values = {side: task.values(side) for side in task.sides}
    for number in range(len(task.questions)):
        lacking = [side for side in task.sides if not values[side][number]]
        if not lacking:
            continue
        reason = task.reason_unasked(number, lacking)
        if reason == UNREADABLE:
            counts[UNREADABLE] += 1
        elif reason:
            counts["could not be asked"] += 1
        elif any(not task.of(number, side) for side in lacking):
            counts["no answer yet"] += 1
        else:
            counts["nothing that can be judged"] += 1
    return {reason: count for reason, count in counts.items() if count}


def samples_left_out(task: TaskTable) -> int:
    """How many answers could not be asked for to questions that other samples answer on that side."""
    values = {side: task.values(side) for side in task.sides}
    return sum(bool(values[side][number]) for number, side, _ in task.unasked)


def compared_values(task: TaskTable, side: str) -> list[list[float]]:
    """The values of one side by question and sample, of the questions that all sides have values of: scores of other
    questions, or of more of them, would not be the ones that the difference is of."""
    known = zip(*(task.values(name) for name in task.sides), strict=True)
    return [own if all(every) else [] for own, every in zip(task.values(side), known, strict=True)]


def side_figures(task: TaskTable, side: str) -> SideFigures:
    """One side's figures on a task."""
    values, answers = compared_values(task, side), task.all_of(side)
    written = task.written(side)
    by_question = [task.of(number, side) for number in range(len(task.questions))]
    samples = min((len(scores) for scores in values if scores), default=0)
    pass_at = {}
    if task.metric == "passes" and samples > 1:
        scored = [scores for scores in values if scores]
        for k in (k for k in MOST_K if k <= samples):
            shares = [pass_at_k(len(scores), round(sum(scores)), k) for scores in scored]
            pass_at[k] = sum(shares) / len(shares)
    return SideFigures(
        score=mean_interval(values, task.clusters),
        answers=len(answers),
        passed=sum(answer["verdict"] == "passes" for answer in answers),
        not_run=sum(answer["verdict"] == "not run" for answer in answers),
        written=len(written),
        ended=sum(answer["state"] == "ended" for answer in written),
        tokens=median_tokens(written),
        mean_tokens=sum(answer["tokens"] for answer in written) / len(written) if written else None,
        pass_at=pass_at,
        same_text=agreement([[answer["text"].strip() for answer in group] for group in by_question]),
        same_verdict=agreement([[answer["verdict"] for answer in group] for group in by_question]),
    )
