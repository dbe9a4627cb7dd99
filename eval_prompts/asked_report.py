"""The report of what was asked on the page: the same files as ``compare`` writes, as texts to be saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eval_prompts import report
from eval_prompts.comparison import Comparison, turns_of
from eval_prompts.showing.loss_curve import read_curve
from eval_prompts.tasks.of_adapter import default_task
from eval_prompts.votes.vote_statistics import by_kind
from eval_prompts.votes.words import headline, notes
from tuning.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from eval_prompts.serving.status import Status
    from eval_prompts.showing.asked import Asked, Part
    from eval_prompts.tasks.task import Question, Task
    from eval_prompts.votes.store import Ratings

KINDS: dict[str, tuple[str, Callable[[Comparison], str]]] = {
    "html": ("report.html", report.page),
    "md": ("report.md", report.markdown),
    "json": ("answers.json", report.answers_json),
}


def report_of(asked: Asked, kind: str, ratings: Ratings | None) -> dict[str, Any]:
    """A report as a file's name and text. ``ratings`` is where votes are looked up, None for a report without them.

    Raises UserError for another kind, and while answers are hidden or none is there.
    """
    if kind not in KINDS:
        raise UserError(f"A report is one of {', '.join(KINDS)}.")
    name, write = KINDS[kind]
    return {"name": name, "text": write(comparison_of(asked, ratings))}


def comparison_of(asked: Asked, ratings: Ratings | None) -> Comparison:
    """All that was asked so far, as one comparison. Raises UserError where nothing may be told yet."""
    questions, parts = asked.parts()
    status = parts[-1].status
    prompts = [prompt for part in parts for prompt in part.prompts]
    remarks = []
    of_task = len(questions) - asked.further
    if of_task < asked.count:
        first = asked.begin_of(asked.first) + 1
        remarks.append(f"Asked so far: questions {first:,} to {first + of_task - 1:,} of the task's {asked.count:,}.")
    if len({(part.status.fingerprint, str(part.status.adapter), str(part.status.against)) for part in parts}) > 1:
        remarks.append("The models were changed in between: the names are those of the last answers.")
    return Comparison(
        status,
        asked.settings,
        [answer for part in parts for answer in part.answers],
        {key: found for part in parts for key, found in part.verdicts.items()},
        votes_on(ratings, status) if ratings is not None else (),
        read_curve(status.adapter.path) if status.adapter else None,
        as_asked(asked.task, status, parts[0], questions[0]),
        questions,
        prompts=prompts,
        remarks=remarks,
        turns=turns_of([turn for part in parts for turn in part.turns]),
    )


def as_asked(task: Task, status: Status, part: Part, question: Question) -> Task:
    """The task with the prompt format that its first question was put in: the adapter's own, where that was used."""
    own, _ = default_task(status.adapter)
    messages = part.prompts[0].messages
    if task.put(question).messages != messages and own.put(own.find(question.id) or question).messages == messages:
        return own
    return task


def votes_on(ratings: Ratings, status: Status) -> list[str]:
    """What people voted on the answers of these models, in lines; empty where nobody did. Raises UserError if the
    votes cannot be read."""
    if status.adapter is None:
        return []
    fingerprints = [
        f"{status.fingerprint}+{card.fingerprint}" if card else status.fingerprint
        for card in (status.adapter, status.against)
    ]
    votes = ratings.votes(adapter=fingerprints[0], against=fingerprints[1])
    if not votes:
        return []
    found = by_kind(votes)
    return [f"All votes on these two so far, on the page too: {headline(found)}", *notes(found["all"])]
