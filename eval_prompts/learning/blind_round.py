"""The questions of a blind round: what a run that learned from votes held out, as a task of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eval_prompts.tasks.catalogue import free_name, save_task
from eval_prompts.tasks.held_out import HeldOut, held_out
from eval_prompts.tasks.questions import make_questions
from eval_prompts.tasks.task import Task
from tuning.data.chat import PYTHON_FORMAT, SYSTEM_PROMPT, USER_PREFIX, PromptFormat
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
    rows, asked = as_python(found)
    # Several pairs of answers to one question are one question.
    first = {repr([row.get(part) for part in ASKED]): row for row in reversed(rows)}
    once = [row for row in rows if first[repr([row.get(part) for part in ASKED])] is row]
    again = f" ({len(rows) - len(once):,} held-out rows ask one of them again.)" if len(once) < len(rows) else ""
    questions = make_questions(
        list(enumerate(once, start=1)), asked, (), source=f"held-out rows of {run.name}", unit="row"
    )
    name = free_name(f"blind-{run.name}")
    about = (
        f"What {run.name} did not learn from: {len(questions)} questions for a blind round against the adapter before."
        + again
    )
    save_task(Task(name, f"Blind round of {run.name}", about, asked, questions))
    return {"task": name, "questions": len(questions)}


def as_python(found: HeldOut) -> tuple[list[dict[str, Any]], PromptFormat]:
    """Questions without what the Python task writes around each, and its format, where all of them were asked in that:
    votes keep whole prompts."""
    lead = f"{USER_PREFIX}\n"
    texts = [str(row.get("question", "")) for row in found.rows]
    bare = found.format.user is None and not found.format.shots and not any(row.get("input") for row in found.rows)
    if not bare or found.format.system != SYSTEM_PROMPT or not all(text.startswith(lead) for text in texts):
        return found.rows, found.format
    rows = [row | {"question": text[len(lead) :]} for row, text in zip(found.rows, texts, strict=True)]
    return rows, PYTHON_FORMAT
