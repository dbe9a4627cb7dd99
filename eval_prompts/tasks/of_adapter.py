"""The prompt format that an adapter was trained in, as far as it says so."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from eval_prompts.models.adapter_source import STARTERS
from eval_prompts.tasks.catalogue import python_task
from eval_prompts.tasks.task import Question, Task
from tuning.data.chat import PLAIN_FORMAT, PYTHON_FORMAT, PromptFormat
from tuning.errors import UserError
from tuning.runs.run import runs_root

if TYPE_CHECKING:
    import argparse

    from eval_prompts.models.adapters import AdapterCard
    from eval_prompts.rows import Prompt

UNKNOWN = (
    "The {noun} {name} was trained elsewhere and does not say in which prompt: questions go out as they are, without "
    "a system prompt. Choose a task to change that."
)
OWN = "The {noun} {name} was trained in a prompt format of its own, and questions go out in that."
EMPTY = "Its template names {columns} too, for which the questions here have nothing."
SUITE_PYTHON = "Both sides are asked in the Python task's prompt: name another one's with --task."
SUITE_OWN = (
    "Both sides are asked in the prompt that the {noun} {name} was trained in: --task python takes the Python task's."
)
SUITE_LACKS = " The adapter {name} was trained in a prompt over columns that a suite does not have."
UNREADABLE = (
    "The record of the {noun} {name} has a prompt format that cannot be read ({reason}): the Python task's is used."
)


def format_of(card: AdapterCard | None) -> tuple[PromptFormat, str]:
    """The format that questions go out in where no task was chosen, and what to tell the user of it; '' for the usual.

    The starter, records of before prompt formats were kept, and models that are served elsewhere mean the Python task.
    """
    if card is None or card.path == Path():
        return PYTHON_FORMAT, ""
    if not card.recorded:
        return PLAIN_FORMAT, UNKNOWN.format(noun=card.noun, name=card.name)
    if card.prompt_format is None:
        return PYTHON_FORMAT, ""
    try:
        format = PromptFormat.from_dict(card.prompt_format)
    except UserError as error:
        return PYTHON_FORMAT, UNREADABLE.format(noun=card.noun, name=card.name, reason=str(error).rstrip("."))
    return format, "" if format == PYTHON_FORMAT else OWN.format(noun=card.noun, name=card.name)


def default_task(card: AdapterCard | None) -> tuple[Task, str]:
    """What is asked where no task was chosen: the five probes, in the adapter's own format; and what to tell of it."""
    format, note = format_of(card)
    task = python_task()
    if format == task.format:
        return task, note
    lacking = [name for name in format.fields if name not in ("question", "input")]
    questions = [replace(one, columns={**dict.fromkeys(lacking, ""), **one.columns}) for one in task.questions]
    if lacking:
        note = f"{note} {EMPTY.format(columns=', '.join(lacking))}"
    if format.user is not None and "question" not in format.fields:
        format = replace(format, user=None)
    return replace(task, format=format, questions=questions, title="Python probes"), note


def suite_prompt(card: AdapterCard | None) -> tuple[Task, str]:
    """The Python task in the prompt that a suite's questions go out in where no task was named, and what to say of it:
    the one that the adapter records, else the Python task's own."""
    python = python_task()
    format = format_of(card)[0] if card is not None and card.recorded else python.format
    lacking = set(format.fields) - {"question", "input"}
    if card is None or format == python.format or lacking:
        return python, SUITE_PYTHON + (SUITE_LACKS.format(name=card.name) if card is not None and lacking else "")
    return replace(python, format=format), SUITE_OWN.format(noun=card.noun, name=card.name)


def is_made_for(card: AdapterCard | None, task: Task) -> bool:
    """Whether the adapter in use is the one that was made for a task; nothing is fetched to find out."""
    if card is None or not task.adapter:
        return False
    if task.adapter in STARTERS:
        return card.path == STARTERS[task.adapter]
    in_runs = runs_root() / task.adapter
    return card.path in (Path(task.adapter).expanduser().absolute(), in_runs, in_runs / "adapter")


def take_adapter_of(task: Task, options: argparse.Namespace) -> None:
    """Have a command use the adapter that was made for its task, where the command names no model for the tuned side;
    says so on stderr."""
    if task.adapter and options.adapter is None and not options.tuned_model and options.sides != "base":
        options.adapter = task.adapter
        print(f"The adapter is the one made for {task.name}, {task.adapter}: --adapter takes another.", file=sys.stderr)


def prompts_by_adapter(questions: Sequence[Question]) -> Callable[[AdapterCard | None], list[Prompt]]:
    """Questions of the default task, or a visitor's own, as they are put to an adapter that is not known yet."""

    def prompts(card: AdapterCard | None) -> list[Prompt]:
        task, _ = default_task(card)
        return task.prompts([task.find(question.id) or question for question in questions])

    return prompts
