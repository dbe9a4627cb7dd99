"""What a run's adapter, or one of its checkpoints, has scored on tasks: kept with the run, one JSON object a line."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tuning.files import write_whole
from tuning.runs.events import append, parse

FILE = "scores.jsonl"


@dataclass(frozen=True)
class TaskScore:
    """The score (0 to 1) of the adapter after ``step`` on a task, with its interval; ``base`` is the base's, where it
    was scored on the same questions. ``beside`` marks a task that is scored to see what got worse, ``unasked`` counts
    questions that could not be asked, and ``asked`` (see :func:`asked_of`) tells what was asked from all else.
    ``by_run`` marks what the run itself asked while it trained."""

    step: int
    task: str
    title: str
    score: float
    low: float
    high: float
    questions: int
    base: float | None = None
    beside: bool = False
    time: float = 0.0
    unasked: int = 0
    asked: str = ""
    by_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def keep(folder: Path, scores: Iterable[TaskScore]) -> None:
    """Append scores to a run's. Raises OSError if the disk is full."""
    path = folder / FILE
    if not path.exists():
        write_whole(path, "")
    for score in scores:
        append(path, score.to_dict() | {"event": "score", "time": round(time.time(), 3)})


def asked_of(plan: Mapping[str, Any], task: str | None = None) -> str:
    """Tells the questions of a scoring's task (the first unless named), how they are judged and how they are answered
    from all others; '' where its plan does not say."""
    try:
        found = next(one for one in plan["tasks"] if task in (None, one["name"]))
        told = [
            found["fingerprints"],
            found["settings"],
            found.get("samples", plan["samples"]),
            plan.get("jail", False),
        ]
    except (KeyError, TypeError, StopIteration):
        return ""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]


def read(folder: Path) -> list[TaskScore]:
    """The newest score of every step and task, by step; lines that are none are passed over."""
    found = {(one.step, one.task): one for one in lines(folder)}
    return sorted(found.values(), key=lambda one: (one.step, one.beside, one.task))


def of_run(folder: Path, task: str) -> dict[int, TaskScore]:
    """What a run itself has scored on its task, by step: what is scored later may be asked otherwise. In earlier
    versions that had the base beside it."""
    found = (one for one in lines(folder) if one.task == task and not one.beside)
    return {one.step: one for one in found if one.by_run or (one.base is None and not one.asked)}


def lines(folder: Path) -> Iterator[TaskScore]:
    """All scores in the order in which they were kept."""
    try:
        content = (folder / FILE).read_bytes().splitlines()
    except OSError:
        return
    for event in parse(content):
        try:
            one = TaskScore(**{name: value for name, value in event.items() if name != "event"})
            if isinstance(one.step, int) and math.isfinite(one.score):
                yield one
        except (TypeError, ValueError):
            continue


def of_step(found: Iterable[TaskScore], step: int) -> TaskScore | None:
    """The score of a step on the run's own task, the newest where there are several."""
    own = [one for one in found if one.step == step and not one.beside]
    return max(own, key=lambda one: one.time, default=None)


def forgotten(found: Iterable[TaskScore], step: int) -> float | None:
    """By how much a step's adapter is worse than the base on what was scored beside its task, a mean over tasks (0 to
    1; below 0 where it is better); None where nothing was."""
    lost = [one.base - one.score for one in found if one.step == step and one.beside and one.base is not None]
    return sum(lost) / len(lost) if lost else None
