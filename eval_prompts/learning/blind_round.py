"""The questions of a blind round: what a run that learned from votes held out, as a task of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eval_prompts.tasks.catalogue import free_name, save_task
from eval_prompts.tasks.held_out import held_out
from eval_prompts.tasks.questions import make_questions
from eval_prompts.tasks.task import Task
from tuning.errors import UserError

if TYPE_CHECKING:
    from tuning.runs.run import Run

ASKED = ("question", "input", "messages")
"""What of a held-out row is asked."""


def blind_round(run: Run) -> dict[str, Any]:
    """Keep the questions that a run held out as a task; its name, and how many questions it has.

    Raises UserError where it held out none that can be asked.
    """
    config = run.config()
    try:
        found = held_out(config.data, "both", config)
    except UserError as error:
        raise UserError(f"{run.name} held out no question for a blind round ({error})") from error
    # Several pairs of answers to one question are one question.
    asked = {repr([row.get(part) for part in ASKED]): row for row in reversed(found.rows)}
    rows = [row for row in found.rows if asked[repr([row.get(part) for part in ASKED])] is row]
    questions = make_questions(
        list(enumerate(rows, start=1)), found.format, (), source=f"held-out rows of {run.name}", unit="row"
    )
    name = free_name(f"blind-{run.name}")
    about = (
        f"What {run.name} did not learn from: {len(questions)} questions for a blind round against the adapter before."
    )
    save_task(Task(name, f"Blind round of {run.name}", about, found.format, questions))
    return {"task": name, "questions": len(questions)}
