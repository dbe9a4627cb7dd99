"""A task's score while a run trains (``--score-on``): it decides which adapter is kept, and may end the run early."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tuning.errors import UserError
from tuning.files import without_folder
from tuning.runs import scores
from tuning.runs.scores import TaskScore
from tuning.training.adapter.keeping import write_adapter
from tuning.training.answering import Answered, Answerer, every

if TYPE_CHECKING:
    from tuning.presets import Config
    from tuning.training.setup import Job

FOLDER = "task_score"
TOLD_SECONDS = 3.0
Z_LEVEL = 1.959964
NOISE = 1e-18
"""A squared error below which numbers are all alike."""


def wanted(config: Config, step: int, last: bool = False) -> bool:
    """Whether the score after ``step`` is wanted: of the beginning, every so many steps, and of the end."""
    if config.score_on is None:
        return False
    return last or step in (0, config.max_steps) or (bool(config.score_every) and step % config.score_every == 0)


def measure(job: Job, answer: Answerer, should_stop: Callable[[], bool]) -> bool:
    """Score the adapter as it stands and take note of it, once for every step; False if it is to stop first.

    ``job.progress`` then says whether this is the best so far, and for how often there was none better. Raises
    UserError where the task is another one than before: which score is the best could not be told.
    """
    config, progress = job.config, job.progress
    step = progress.step
    if progress.scored_at == step:
        return True
    earlier = scores.of_run(job.folder, str(config.score_on))
    known = earlier.pop(step, None)
    ranks = job.session.ranks
    found = ranks.share((known or asked(job, answer, should_stop)) if ranks.first else None)
    if found is None:
        return False
    if changed := [one.step for one in earlier.values() if one.asked and one.asked != found.asked]:
        raise UserError(
            f"--score-on {config.score_on}: the task has changed since step {changed[-1]} was scored: put it back as "
            "it was and resume, or start a new run."
        )
    progress.scored_at = step
    best = progress.best_score is None or found.score > progress.best_score
    progress.without_score_gain = 0 if best else progress.without_score_gain + 1
    if best:
        progress.best_score, progress.best_step, progress.kept_loss = found.score, step, progress.last_loss
    if ranks.first and known is None:
        scores.keep(job.folder, [found])
    job.emit(
        "score", step=step, task=found.title, score=found.score, low=found.low, high=found.high,
        questions=found.questions, unasked=found.unasked, best=best,
    )  # fmt: skip
    return True


def asked(job: Job, answer: Answerer, should_stop: Callable[[], bool]) -> TaskScore | None:
    """The score from the answers of the adapter as it stands; None if it is to stop first. Raises UserError where
    nothing can be judged."""
    config, step = job.config, job.progress.step
    folder = job.folder / FOLDER
    folder.mkdir(exist_ok=True)
    fresh = step == 0 and config.from_adapter is None
    adapter = folder / "adapter"
    if not fresh:
        write_adapter(job, adapter, step)
    request = {
        "run": str(job.folder),
        "folder": str(folder / f"step-{step:06d}"),
        "adapter": None if fresh else str(adapter),
        "task": config.score_on,
        "limit": config.score_questions,
    }

    def tell(done: int, total: int) -> None:
        if total:
            job.emit("scoring", step=step, done=done, total=total)

    answered = answer(request, every(TOLD_SECONDS, tell), should_stop)
    return None if answered is None else score_of(answered, step, str(config.score_on))


def score_of(found: Answered, step: int, task: str) -> TaskScore:
    """The share of questions that pass, or the mean score where nothing passes or fails, with its 95% interval. An
    answer that could not be tried counts as not passed, and for no score.

    Raises UserError where nothing could be judged.
    """
    by_question: dict[str, list[float]] = defaultdict(list)
    judged = [one for one in found.answers if one.tried]
    passing = any(one.passed is not None for one in judged) or not judged
    for one in found.answers:
        value = one.passed if passing else one.score
        if value is not None:
            by_question[one.id].append(float(value))
    values = [sum(each) / len(each) for each in by_question.values()]
    if not values:
        raise UserError(f"--score-on {task}: none of its questions could be asked: choose another task.")
    mean = sum(values) / len(values)
    low, high = interval(values)
    return TaskScore(
        step, task, without_folder(task), mean, low, high, len(values), unasked=found.unasked, asked=found.asked,
        by_run=True,
    )  # fmt: skip


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Wilson's interval of a mean of numbers from 0 to 1, at the effective number of questions, m(1-m) over the squared
    error, as E. Korn and B. Graubard (1998) do for surveys: it is not empty where all are equal."""
    count = len(values)
    mean = min(1.0, max(0.0, sum(values) / count))
    error = sum((value - mean) ** 2 for value in values) / (count * max(1, count - 1))
    alike = error < NOISE or all(value in (0.0, 1.0) for value in values)
    effective = count if alike else mean * (1 - mean) / error
    square = Z_LEVEL**2 / effective
    middle = (mean + square / 2) / (1 + square)
    half = math.sqrt(square * (mean * (1 - mean) + square / 4)) / (1 + square)
    return min(mean, max(0.0, middle - half)), max(mean, min(1.0, middle + half))
