"""What a visitor's owner asks to be scored, from the form's words to questions with settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from eval_prompts.answers import Settings
from eval_prompts.scoring.battery import battery_of, beside
from eval_prompts.scoring.in_app.suites import find as find_suite
from eval_prompts.scoring.subject import Subject, named_subject, of_suite
from eval_prompts.tasks.catalogue import all_tasks, find_task
from eval_prompts.tasks.of_adapter import suite_prompt
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.models.adapters import AdapterCard
    from eval_prompts.tasks.task import Task


def form(in_use: Task) -> dict[str, Any]:
    """What may be scored: the tasks, with the battery of each and which is in use, and the settings of each."""
    tasks = [task for task in all_tasks()[0] if scored(task)]
    if scored(in_use) and in_use.name not in [task.name for task in tasks]:
        tasks.insert(0, in_use)
    return {
        "tasks": [
            {
                "name": task.name,
                "title": task.words,
                "questions": len(task.questions),
                "battery": list(battery_of(task)),
                "tokens": task.settings.max_new_tokens,
            }
            for task in tasks
        ],
        "in_use": in_use.name,
    }


def subjects(asked: Mapping[str, Any], in_use: Task, adapter: AdapterCard | None) -> list[Subject]:
    """What is scored, its own task first, then what else may have got worse. Raises UserError for what cannot be."""
    limit = whole(asked.get("limit"), "limit", 0) or None
    suite, name = str(asked.get("suite") or "").strip(), str(asked.get("task") or "")

    def settings(task: Task) -> Settings:
        changes: dict[str, Any] = {}
        if asked.get("temperature") not in (None, ""):
            changes["temperature"] = number(asked["temperature"], "temperature")
        if asked.get("max_new_tokens") not in (None, ""):
            changes["max_new_tokens"] = whole(asked["max_new_tokens"], "token cap", 1)
        if asked.get("seed") not in (None, ""):
            changes["seed"] = whole(asked["seed"], "seed", 0)
        return replace(task.settings, **changes)

    if suite:
        prompt = find_task(name) if name else suite_prompt(adapter)[0]
        own = of_suite(find_suite(suite), prompt, settings(prompt), limit)
    else:
        own = named_subject(name or in_use.name, settings, limit)
    names = battery_of(own.task) if asked.get("battery", True) else ()
    return beside(own, names, settings, limit)


def scored(task: Task) -> bool:
    """Whether a task has questions and something that says what an answer is worth."""
    return bool(task.questions) and bool(task.scorers or any(question.checks for question in task.questions))


def whole(value: Any, name: str, least: int) -> int:
    """A whole number from outside; ``least`` for none. Raises UserError for anything else."""
    if value in (None, ""):
        return least
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or int(value) != value or value < least:
        raise UserError(f"The {name} must be a whole number of at least {least}.")
    return int(value)


def number(value: Any, name: str) -> float:
    """A number from outside. Raises UserError for anything else."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UserError(f"The {name} must be a number.") from None
