"""What is scored beside one's own task, so that what got worse elsewhere is seen unasked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eval_prompts.scoring.subject import Subject, of_task
from eval_prompts.tasks.catalogue import BUILT_IN, find_task

if TYPE_CHECKING:
    from eval_prompts.answers import Settings
    from eval_prompts.tasks.task import Task

GENERAL = "general"
"""The built-in battery, which runs beside every task unless it is left out."""


def battery_of(task: Task) -> tuple[str, ...]:
    """The names of what is scored beside a task: what its file names, else the built-in battery."""
    names = task.battery or ((GENERAL,) if GENERAL in BUILT_IN else ())
    return tuple(name for name in names if name not in (task.name, ""))


def beside(
    own: Subject, names: Sequence[str], settings: Callable[[Task], Settings], limit: int | None = None
) -> list[Subject]:
    """One's own task and those of ``names``: tasks by name or file, relative to the own task's file. The built-in
    battery is asked with its own settings, whatever is asked of the others. Raises UserError for a task that there is
    not, and for one without scorers."""
    found = [own]
    for name in names:
        task = find_task(_place(own.task, name))
        if task.name not in [subject.name for subject in found]:
            place = {"task": str(task.file.absolute()) if task.file and task.name not in BUILT_IN else task.name}
            asked = task.settings if task.name == GENERAL else settings(task)
            found.append(of_task(task, place, asked, limit))
    return found


def _place(task: Task, name: str) -> str:
    """A name from a task file as it is found: a file beside that file, or a task's name."""
    if task.file is not None and name not in BUILT_IN and (task.file.parent / name).is_file():
        return str(task.file.parent / name)
    return name


def lacks_battery(plan: Mapping[str, Any]) -> bool:
    """Whether nothing was looked at but one's own task, though both sides were scored."""
    return len(plan["tasks"]) < 2 and not plan.get("figures") and set(plan["sides"]) == {"base", "tuned"}
