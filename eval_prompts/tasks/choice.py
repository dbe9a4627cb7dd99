"""Which task the page asks: the owner's choice, else the Python task."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from eval_prompts.tasks.catalogue import (
    BUILT_IN,
    DEFAULT,
    all_tasks,
    find_task,
    own_files,
    plain_task,
    python_task,
    summary,
)
from eval_prompts.tasks.of_adapter import default_task, format_of, is_made_for, prompts_by_adapter
from eval_prompts.tasks.scorers.names import nearest
from eval_prompts.tasks.task import Question, Task
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.models.adapters import AdapterCard
    from eval_prompts.rows import Prompt
    from eval_prompts.serving.status import Status

AT_ONCE = 50
"""Questions of a task that one press asks."""
ONE_PROMPT = (
    "Both sides are asked in the prompt of the adapter {name}; {other} was trained in another one, or does not say in "
    "which."
)

log = logging.getLogger(__name__)


class TaskChoice:
    """The task in use. It may be changed from any thread; a request keeps the one it began with."""

    def __init__(self, task: Task | None = None) -> None:
        self._chosen = task

    @property
    def task(self) -> Task:
        """What is asked: the task that was chosen, else the Python task's questions."""
        return self._chosen or python_task()

    def named(self, name: str, owner: bool = False) -> Task:
        """The task of that name for a visitor, who may name no file, or for the owner, who sees hidden ones too; '' is
        the one in use. Raises UserError."""
        if not name or name == self.task.name:
            return self.task
        if name not in BUILT_IN and name not in own_files():
            raise UserError(f"There is no task {name[:60]!r}{nearest(name[:60], [*BUILT_IN, *own_files()])}")
        task = find_task(name)
        if not (task.show or owner):
            raise UserError(f"The task {name} is not open to visitors.")
        return task

    def remembered(self, name: str, owner: bool = False) -> Task:
        """The task of that name, '' being the default; where it is no longer there, the plain one: another task's
        scorers would judge what was never theirs, and votes would count for it."""
        try:
            return self.named(name or DEFAULT, owner)
        except UserError as error:
            log.info("A conversation goes on without a verdict: %s", error)
            return plain_task()

    def use(self, name: str) -> dict[str, Any]:
        """Use the task of that name, or in that file, from now on. For the owner alone. Raises UserError for none."""
        task = self._chosen = find_task(name)
        return summary(task)

    def reset(self) -> dict[str, Any]:
        """Ask the Python task's questions again, in the prompt of whichever adapter is loaded. For the owner alone."""
        self._chosen = None
        return summary(python_task())

    def prompts_for(
        self, task: Task, questions: Sequence[Question], named: str = ""
    ) -> Callable[[AdapterCard | None], list[Prompt]] | None:
        """How ``questions`` of ``task`` are put to the adapter that answers: in its own prompt format where nobody has
        chosen a task, neither the owner nor whoever asks (``named``); None for the task's own prompt."""
        if named or self._chosen is not None or task is not python_task():
            return None
        return prompts_by_adapter(questions)

    def noted(self, status: Status) -> Status:
        """The state of things with what is to be said of the prompt that questions are put in."""
        asked = self._chosen or default_task(status.adapter)[0]
        status = replace(status, notes=status.notes_for(asked.format.system))
        if self._chosen is not None or status.adapter is None:
            return status
        card, against = status.adapter, status.against
        if against is not None and format_of(against)[0] != format_of(card)[0]:
            both = ONE_PROMPT.format(name=card.name, other=against.name)
            status = replace(status, notes=(*status.notes, both))
        note = default_task(card)[1]
        if not note:
            return status
        if card.recorded:
            return replace(status, notes=(*status.notes, note))
        return replace(status, adapter=card.noting(note))

    @property
    def chosen(self) -> Task | None:
        """The owner's choice, if there is one."""
        return self._chosen

    def listed(self, owner: bool = False, card: AdapterCard | None = None) -> list[dict[str, Any]]:
        """The tasks that visitors see, and the owner's hidden ones where it is the owner who asks; each with whether it
        is in use, and whether it ``fits`` the adapter of ``card``, which was made for it."""
        found = [task for task in all_tasks()[0] if task.show or owner or task.name == self.task.name]
        if self.task.name not in [task.name for task in found]:
            found.insert(0, self.task)
        return [
            summary(task) | {"in_use": task.name == self.task.name, "fits": is_made_for(card, task)} for task in found
        ]


def pages_of(task: Task) -> int:
    """How many pages of questions a task has, at least one."""
    last = len(task.questions) - 1
    while last > 0 and task.questions[last].after:
        last -= 1
    return max(0, last) // AT_ONCE + 1


def pages_for(count: int) -> int:
    """How many pages so many questions take, at least one."""
    return max(1, -(-count // AT_ONCE))


@dataclass(frozen=True)
class Found:
    """Some of a task's questions with their numbers, the first being 1; ``count`` are all that were looked for."""

    questions: list[tuple[int, Question]]
    count: int
    page: int = 1
    pages: int = 1

    def to_dict(self) -> dict[str, Any]:
        """For the page."""
        rows = [
            {"id": one.id, "title": one.title, "question": one.text, "number": number} for number, one in self.questions
        ]
        return {
            "questions": rows,
            "page": self.page,
            "pages": self.pages,
            "count": self.count,
            "size": AT_ONCE,
        }


def look_up(task: Task, page: int = 1, words: str = "") -> Found:
    """A page of a task's questions; with ``words``, of those whose text, title or id holds them, whatever their case.

    Raises UserError for a page that there is not among all questions; of those found, the last page is taken.
    """
    if not words.strip():
        questions = page_of(task, page) if task.questions else []
        return Found(list(enumerate(questions, begin_of(task, page) + 1)), len(task.questions), page, pages_of(task))
    wanted = words.strip().casefold()
    found = [
        (number, one)
        for number, one in enumerate(task.questions, 1)
        if wanted in one.text.casefold() or wanted in one.title.casefold() or wanted in one.id.casefold()
    ]
    pages = pages_for(len(found))
    page = min(max(1, page), pages)
    return Found(found[(page - 1) * AT_ONCE : page * AT_ONCE], len(found), page, pages)


def page_of(task: Task, page: int = 1) -> list[Question]:
    """The questions of one page of a task, the first being 1; a conversation is whole on the page it begins on. Raises
    UserError for a page that there is not."""
    pages = pages_of(task)
    if not task.questions:
        raise UserError(f"The task {task.name} has no questions of its own: type one.")
    if not 1 <= page <= pages:
        raise UserError(f"The task {task.name} has {pages} pages of {AT_ONCE} questions: choose one of them.")
    return list(task.questions[begin_of(task, page) : begin_of(task, page + 1)])


def begin_of(task: Task, page: int) -> int:
    """The place of a page's first question, which is how many stand before it; all of them behind the last page."""
    return turn_from(task, min((page - 1) * AT_ONCE, len(task.questions)))


def turn_from(task: Task, place: int) -> int:
    """The first place from ``place`` on at which no conversation is under way."""
    while place < len(task.questions) and task.questions[place].after:
        place += 1
    return place
