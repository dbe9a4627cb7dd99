"""A task asked on the page: one page of questions after the other, each streamed to the board."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from eval_prompts.showing.asked import Asked, AskedBefore, Page
from eval_prompts.showing.follow_ups import prompt_after, turn_before
from eval_prompts.tasks.choice import AT_ONCE, TaskChoice, page_of, pages_of
from eval_prompts.tasks.history import conversation_of
from eval_prompts.tasks.of_adapter import default_task

if TYPE_CHECKING:
    from eval_prompts.answers import Answer, Settings
    from eval_prompts.rows import Prompt
    from eval_prompts.serving.lens import Lens
    from eval_prompts.showing.follow_ups import Before
    from eval_prompts.showing.showing import Showing
    from eval_prompts.showing.shown_pairs import ShownPairs
    from eval_prompts.showing.views import BoardView
    from eval_prompts.stream import Stream
    from eval_prompts.tasks.task import Question, Task
    from tuning.data.chat import Message

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
    lens: Lens,
    tasks: TaskChoice,
    who: Asker,
    task: Task,
    questions: Sequence[Question],
    settings: Settings,
    history: Sequence[Message] = (),
) -> Stream:
    """The request of both sides for ``questions``, in the task's prompt or that of the adapter that will answer, and
    with the task's stop texts; behind the turns of ``history``, questions are put as they are. Raises UserError if
    something cannot be asked."""
    in_its_own = tasks.prompts_for(task, questions, who.named)

    def said_after(other: Task) -> list[Prompt]:
        return [prompt for one in questions for prompt in conversation_of(other, one.text, history=history)]

    if history and in_its_own is not None:
        in_its_own = lambda card: said_after(default_task(card)[0])  # noqa: E731
    return lens.ask(
        said_after(task) if history else task.prompts(questions),
        replace(settings, stop=task.settings.stop),
        visitor=who.session,
        address=who.address,
        prompts_for=in_its_own,
    )


def ask_further(
    lens: Lens, pairs: ShownPairs, who: Asker, task: Task, turn: Before, prompt: Prompt, settings: Settings
) -> tuple[Stream, Showing]:
    """The request of both sides that goes on from a ``turn``, and what is shown of it. Raises UserError if it cannot be
    asked."""
    settings = replace(settings, stop=task.settings.stop)
    stream = lens.ask([prompt], settings, visitor=who.session, address=who.address, prompts_for=None)
    further = task.own_question(prompt.text)
    return stream, pairs.show(stream, lens.status, who.session, False, task, [further], turn)


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
        last = pages_of(task) if through else first
        asking = sum(len(page_of(task, number)) for number in range(first, last + 1))
        asked = Asked(task, settings, len(task.questions), first, last, AT_ONCE, asking)
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


def follow_up(
    lens: Lens,
    pairs: ShownPairs,
    tasks: TaskChoice,
    before: AskedBefore,
    who: Asker,
    settings: Settings,
    question: str | None,
    sent: Mapping[str, Any],
    owner: bool,
) -> Iterator[BoardView]:
    """Ask further below a pair of answers: ``sent`` has its ``pair``, the ``id`` of what was asked, its ``page``, and
    in ``basis`` what both sides go on from. Yields the whole page again and again.

    What is no longer remembered goes on by itself, from what the database keeps. Raises UserError if it cannot.
    """
    turn = turn_before(pairs, sent.get("pair"), sent.get("basis", "own"))
    prompt = prompt_after(turn, question or "")
    asked = before.known(sent.get("id"))
    task = asked.task if asked is not None else tasks.remembered(turn.task, owner)
    # The page is found first: where there is none, nothing has been asked that nobody would end.
    page = asked.page_with(turn.thread.id, sent.get("page")) if asked is not None else None
    stream, showing = ask_further(lens, pairs, who, task, turn, prompt, settings)
    if asked is None or page is None:
        asked = Asked(task, stream.settings, 1)
        before.add(asked)
        page = Page(1, showing.questions, showing)
        asked.add(page)
    else:
        asked.follow_up(page, showing)
    snapshots, shown = who.follow(stream, who.session), asked.shown_on(page, showing)
    for answers in showing.follow(snapshots, pairs.keep, lambda verdicts: verdicts.wait(VERDICT_SECONDS)):
        yield shown(showing.view(answers))
