"""Tasks for scripts: ``/save_task``, ``/delete_task`` and ``/export_task`` (the owner), ``/preview_task``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from eval_prompts.serving.lens import Lens
from eval_prompts.tabs.task_tab import preview
from eval_prompts.tasks import catalogue
from eval_prompts.tasks.choice import TaskChoice
from eval_prompts.tasks.export import dump_task
from eval_prompts.tasks.files import parse_task
from tuning.errors import UserError
from tuning.shared_tab import add_endpoint


def build(lens: Lens, tasks: TaskChoice, is_owner: Callable[[gr.Request], bool]) -> None:
    """Adds the endpoints to the current ``gr.Blocks``."""

    def save_task(content: str) -> dict[str, Any]:
        """Keeps a task in the data folder, in the place of one of the same name. For the owner alone.

        Args:
            content: the text of a task file (docs/tasks.md), its questions inline.

        Returns:
            The task as /tasks lists it.
        """
        task = parse_task(content, "task.yaml")
        catalogue.save_task(task)
        if tasks.chosen is not None and tasks.chosen.name == task.name:
            tasks.use(task.name)
        return catalogue.summary(catalogue.find_task(task.name))

    def delete_task(task: str) -> bool:
        """Removes one of the tasks in the data folder. For the owner alone.

        Args:
            task: the task's name.

        Returns:
            True once it is gone.
        """
        catalogue.delete_task(task)
        if tasks.chosen is not None and tasks.chosen.name == task:
            tasks.reset()
        return True

    def export_task(task: str) -> str:
        """A task as the text of a file, its questions inline. For the owner alone.

        Args:
            task: the task's name.

        Returns:
            YAML, which /save_task takes.
        """
        return dump_task(tasks.named(task, owner=True))

    def preview_task(request: gr.Request, task: str = "", number: int = 1) -> dict[str, Any]:
        """The exact prompt of one of a task's questions, as the models get it.

        Args:
            task: the name of a task (see /tasks); empty for the one in use.
            number: which of its questions, the first being 1.

        Returns:
            One object with number (from 0), turns (each with role and content), tokens (their characters; empty where
            the models are on other machines or not loaded yet), references and note.
        """
        asked = tasks.named(task, is_owner(request))
        if not 1 <= number <= len(asked.questions):
            raise UserError(f"The task {asked.name} has {len(asked.questions):,} questions: choose one of them.")
        return preview(lens, asked, number - 1)

    for function in (save_task, delete_task, export_task, preview_task):
        add_endpoint(function, queue=False)
