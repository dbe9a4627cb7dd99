"""A task asked on the page: one page of questions after the other, each streamed to the board."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from eval_prompts.showing.asked import Asked, AskedBefore, Page
from eval_prompts.tasks.choice import AT_ONCE, TaskChoice, page_of, pages_of

if TYPE_CHECKING:
    from eval_prompts.answers import Answer, Settings, Stream
    from eval_prompts.serving.lens import Lens
    from eval_prompts.showing.shown_pairs import ShownPairs
    from eval_prompts.showing.views import BoardView
    from eval_prompts.tasks.task import Question, Task

VERDICT_SECONDS = 0.6
"""How long complete answers wait for their verdicts; those that take longer are asked for by the page."""


@dataclass(frozen=True)
class Asker:
    """Who asks: the session, its network address, the name of the task, if one was chosen, and whether answers are
    blind; ``follow`` gives a stream's snapshots and ends it with its reader, ``stopped`` tells whether the visitor has
    had enough."""

    session: str
    address: str
    named: str
    follow: Callable[[Stream, str], Iterator[list[Answer]]]
    blind: bool = False
    stopped: Callable[[], bool] = lambda: False


def ask_both(
    lens: Lens, tasks: TaskChoice, who: Asker, task: Task, questions: Sequence[Question], settings: Settings
) -> Stream:
    """The request of both sides for ``questions``, in the task's prompt or that of the adapter that will answer, and
    with the task's stop texts. Raises UserError if something cannot be asked."""
    return lens.ask(
        [task.put(question) for question in questions],
        replace(settings, stop=task.settings.stop),
        visitor=who.session,
        address=who.address,
        prompts_for=tasks.prompts_for(task, questions, who.named),
    )


def ask_pages(
    lens: Lens,
    pairs: ShownPairs,
    tasks: TaskChoice,
    before: AskedBefore,
    who: Asker,
    task: Task,
    settings: Settings,
    question: str | None,
    first: int,
    through: bool,
) -> Iterator[BoardView]:
    """Ask ``question``, or the task's questions from page ``first`` on, with ``through`` to the last, else that page.

    Yields what the board shows, again and again; the whole is remembered in ``before``. Raises UserError if something
    cannot be asked.
    """
    settings = replace(settings, stop=task.settings.stop)
    if question is None:
        page_of(task, first)
        asked = Asked(task, settings, len(task.questions), first, pages_of(task) if through else first, AT_ONCE)
    else:
        asked = Asked(task, settings, 1)
    before.add(asked)
    for number in range(asked.first, asked.last + 1):
        questions = page_of(task, number) if question is None else [task.own_question(question)]
        for view in one_page(lens, pairs, tasks, who, asked, number, questions):
            yield {**view, "running": view["running"] or (number < asked.last and not who.stopped())}
        if who.stopped():
            return


def one_page(
    lens: Lens,
    pairs: ShownPairs,
    tasks: TaskChoice,
    who: Asker,
    asked: Asked,
    number: int,
    questions: Sequence[Question],
) -> Iterator[BoardView]:
    """Ask one page and yield what the board shows of it; at last its verdicts too, as far as they are quickly known."""
    stream = ask_both(lens, tasks, who, asked.task, questions, asked.settings)
    showing = pairs.show(stream, lens.status, who.session, who.blind, asked.task, questions)
    asked.add(Page(number, questions, showing))
    snapshots = who.follow(stream, who.session)
    for answers in showing.follow(snapshots, pairs.keep, lambda verdicts: verdicts.wait(VERDICT_SECONDS)):
        yield asked.of_all(showing.view(answers), number)
