"""The page's header and its Compare tab: questions in, two answers side by side out, as they are written."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from eval_prompts.showing.ask_pages import Asker, ask_pages, follow_up
from eval_prompts.showing.asked import AskedBefore
from eval_prompts.showing.compare_view import BUSY_POLL_SECONDS, settings_from, status_view
from eval_prompts.showing.visitors import Visitors
from eval_prompts.tabs import task_tab
from eval_prompts.tasks.choice import TaskChoice, begin_of, pages_of
from eval_prompts.votes.records import REASONS
from tuning.errors import UserError
from tuning.shared_tab import SERVER_FAULT, Answer, IsOwner, answered, head_of, mount

if TYPE_CHECKING:
    from eval_prompts.answers import Settings
    from eval_prompts.serving.lens import Lens
    from eval_prompts.showing.shown_pairs import ShownPairs
    from eval_prompts.tasks.task import Task

PAGE_FOLDER = Path(__file__).parents[1] / "page"
SCRIPTS = (
    "dom.js", "highlight.js", "markdown.js", "history.js", "verdicts.js", "votes.js", "lens.js", "sure.js", "follow.js",
    "strengths.js", "surveys.js", "row.js", "empty.js", "board_parts.js", "board.js", "results_learn.js", "results.js",
    "adapter.js", "header.js", "open.js", "keys.js", "tasks.js", "task_shots.js", "task_form.js", "task_questions.js",
    "task_scorers.js", "reference.js", "asked.js",
)  # fmt: skip
STYLES = (
    "page.css", "parts.css", "board.css", "row.css", "answer.css", "votes.css", "results.css", "lens.css", "sure.css",
    "tasks.css", "follow.css", "open.css", "surveys.css",
)  # fmt: skip
EXAMPLES = (
    "Reverse a string without using slicing.",
    "Count how often each word occurs in a text.",
    "Write a function that checks whether a number is prime.",
    "Sort a list of dictionaries by the key 'age'.",
)
NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine", 10: "ten"}
MOST_PAGES = 1_000_000
SETTINGS = ("max_new_tokens", "temperature", "top_p", "seed")
ASKING_AT_ONCE = 72
"""More than may wait for answers, so that who is one too many is told so at once and by us."""

log = logging.getLogger(__name__)


def head() -> str:
    """The page's own styles and scripts for the document's head."""
    return head_of(PAGE_FOLDER, STYLES, SCRIPTS)


def build_header(
    lens: Lens,
    training: Callable[[], str],
    is_owner: IsOwner,
    tasks: TaskChoice,
    functions: Sequence[Callable[..., Any]] = (),
) -> None:
    """The line with the name, the two models and the live status; ``training`` says in words what trains, or '',
    ``is_owner`` whether a request is the owner's, and ``tasks`` in which prompt questions are put. The panel behind the
    adapter's name calls ``functions``."""

    def training_now() -> str:
        try:
            return training()
        except Exception:  # what trains is no reason to tell nothing of what answers
            log.exception("what trains could not be told")
            return "training: see the server's log"

    def status(_: Any, request: gr.Request) -> dict[str, Any]:
        view = status_view(tasks.noted(lens.status())) | {"training": training_now(), "owner": is_owner(request)}
        return view | {"poll_seconds": BUSY_POLL_SECONDS} if view["training"] else view

    mount("LoraLens.mountHeader(element, server)", "ll-header", [status, *functions])


def address_of(request: gr.Request) -> str:
    """The network address that a request comes from."""
    return getattr(request.client, "host", "") or ""


def notice(text: str, level: str = "error") -> dict[str, Any]:
    """One line above the answers. The time makes the same line twice a change, so that it is shown again."""
    return {"notice": {"level": level, "text": text, "at": time.time()}}


def build(
    page: gr.Blocks,
    lens: Lens,
    visitors: Visitors,
    pairs: ShownPairs,
    tasks: TaskChoice,
    is_owner: IsOwner,
    functions: Sequence[Callable[..., Any]] = (),
) -> None:
    """The Compare tab inside the current layout of ``page``; the lens of a row calls ``functions``."""
    task, before = tasks.task, AskedBefore()
    with gr.Column(elem_id="ll-ask-bar"):
        task_tab.build(lens, tasks, is_owner)
        with gr.Row(elem_id="ll-ask-row"):
            ask_all = gr.Button(ask_all_words(task), variant="primary", elem_id="ll-ask-all", scale=0, min_width=140)
            question = gr.Textbox(
                placeholder="or your own question…",
                label="Your own question",
                show_label=False,
                container=False,
                lines=1,
                max_lines=8,
                elem_id="ll-question",
                scale=1,
                min_width=200,
            )
            ask_own = gr.Button("Ask", elem_id="ll-ask", scale=0, min_width=88)
            stop = gr.Button("Stop", variant="stop", elem_id="ll-stop", scale=0, min_width=88)
        with gr.Row(elem_id="ll-examples"):
            for example in EXAMPLES:
                chip = gr.Button(example, size="sm", elem_classes="ll-example", scale=0, min_width=40)
                chip.click(None, js=f"() => LoraLens.askOwn({json.dumps(example)})", api_visibility="private")
        with gr.Row(elem_id="ll-options"):
            *settings, confidence = _settings(task.settings)
            blind = gr.Checkbox(
                value=pairs.always_blind,
                interactive=not pairs.always_blind,
                label="Blind: names are hidden until you vote",
                container=False,
                elem_id="ll-blind",
                scale=0,
                min_width=200,
            )
    if not pairs.always_blind:
        blind.change(None, blind, js="(on) => LoraLens.preference('blind', on)", api_visibility="private")
        page.load(None, None, blind, js="() => LoraLens.preference('blind')", api_visibility="private")
    board = mount(
        "LoraLens.mountBoard(element, props, watch, server)",
        "ll-board",
        [*voting(pairs), *task_tab.looking_back(before, pairs, is_owner), *functions],
        reasons=[{"id": reason, "label": label} for reason, label in REASONS.items()],
    )

    asking: dict[str, Any] = {
        "outputs": board,
        "show_progress": "hidden",
        "api_visibility": "private",
        "concurrency_limit": ASKING_AT_ONCE,
        "concurrency_id": "asking",
    }
    asker = _asker(lens, visitors, pairs, tasks, before, is_owner)
    # The task, its page and what a follow-up goes on from are put in by the page's script.
    which = [gr.Textbox(visible=False), gr.Number(visible=False), gr.JSON(visible=False)]
    fill = "(...values) => [...values.slice(0, -3), LoraLens.task.name, LoraLens.task.page, null]"
    put = "(...values) => [LoraLens.further.question, ...values.slice(1, -3), ...LoraLens.further.which]"
    ways = [*settings, confidence, blind, *which]
    all_five = ask_all.click(asker, [gr.State(None), *ways], js=fill, **asking)
    own = gr.on([ask_own.click, question.submit], asker, [question, *ways], js=fill, **asking)
    further = gr.Button("Ask further", elem_id="ll-further")  # the script presses it; nobody sees it
    below = further.click(asker, [gr.Textbox(visible=False), *ways], js=put, **asking)
    for event in (all_five, own, below):
        event.then(None, js="() => LoraLens.setBusy(false)", api_visibility="private")

    def stop_mine(request: gr.Request) -> None:
        visitors.stop(request.session_hash)

    def task_in_use(name: str | None, page: float | None, request: gr.Request) -> Any:
        """The button's words for the task that the visitor has chosen."""
        try:
            task, owner = tasks.named(name or "", is_owner(request)), is_owner(request)
        except UserError:  # it has been removed, and the script goes back to the one in use
            return gr.skip()
        return gr.Button(ask_all_words(task, page_number(page), owner), interactive=bool(task.questions))

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    told = "() => [LoraLens.task.name, LoraLens.task.page]"
    chosen = gr.Button("The task has changed", elem_id="ll-task-changed")  # the script presses it; nobody sees it
    chosen.click(task_in_use, which[:2], ask_all, js=told, **quiet)
    # The script knows the task's settings, and what the visitor has typed: nothing that comes late overwrites that.
    chosen.click(None, None, settings, js="() => LoraLens.taskSettings()", **quiet)
    stop.click(stop_mine, queue=False, show_progress="hidden", api_visibility="private")


def _settings(start: Settings) -> list[gr.components.Component]:
    with gr.Accordion("Settings", open=False, elem_id="ll-settings"), gr.Row():
        longest, warmth = start.max_new_tokens, min(start.temperature, 2)
        ids: list[dict[str, Any]] = [{"elem_id": f"ll-setting-{name}"} for name in SETTINGS]
        return [
            gr.Slider(
                1,
                max(4096, longest),
                longest,
                step=1,
                label="Longest answer",
                info="in tokens, for each side",
                **ids[0],
            ),
            gr.Slider(
                0, 2, warmth, step=0.05, label="Temperature", info="0 always takes the likeliest token", **ids[1]
            ),
            gr.Slider(0.05, 1, start.top_p, step=0.05, label="Top-p", info="1 leaves every token in play", **ids[2]),
            gr.Number(start.seed, precision=0, label="Seed", info="the same seed gives the same text", **ids[3]),
            gr.Checkbox(
                label="Confidence",
                info="underlines each token by how unsure its model was of it",
                elem_id="ll-confidence",
            ),
        ]


def ask_all_words(task: Task, page: int = 1, through: bool = True) -> str:
    """What the button says that asks a task's questions, from ``page`` on or, unless ``through``, that page alone."""
    count = len(task.questions)
    first, last = begin_of(task, page) + 1, begin_of(task, page + 1)
    if count <= 1:
        return "Ask its question" if count else "No questions"
    if pages_of(task) == 1:
        return f"Ask all {NUMBERS.get(count, count)} questions"
    if through:
        return f"Ask all {count:,} questions" if page == 1 else f"Ask {first:,} to {count:,}"
    return f"Ask {first:,} to {last:,} of {count:,}"


def page_number(page: float | None) -> int:
    """A page's number as the script sent it; the first for what is none."""
    return int(page) if page and 1 <= page <= MOST_PAGES else 1


def _asker(
    lens: Lens,
    visitors: Visitors,
    pairs: ShownPairs,
    tasks: TaskChoice,
    before: AskedBefore,
    is_owner: IsOwner,
) -> Callable[..., Iterator[dict[str, Any]]]:
    """The handler that asks one question, or a task's where there is none, and streams the board's data. The owner
    asks a task to its end, a visitor one page at a time."""

    def answer_on_page(
        question: str | None,
        cap: float,
        temperature: float,
        top_p: float,
        seed: float | None,
        confidence: bool,
        blind: bool,
        chosen: str | None,
        page: float | None,
        further: dict[str, Any] | None,
        request: gr.Request,
    ) -> Iterator[dict[str, Any]]:
        session = request.session_hash or ""
        view: dict[str, Any] = {}
        try:
            owner, named = is_owner(request), chosen or ""
            task = tasks.named(named, owner)
            settings = settings_from(cap, temperature, top_p, seed, confidence)
            stopped = visitors.begin(session)
            who = Asker(session, address_of(request), named, visitors.follow, bool(blind), stopped)
            first = page_number(page)
            if isinstance(further, dict):
                boards = follow_up(lens, pairs, tasks, before, who, settings, question, further, owner)
            else:
                boards = ask_pages(lens, pairs, tasks, before, who, task, settings, question, first, owner)
            for board in boards:
                view = {**board}
                yield view
        except UserError as error:
            yield {**view, "running": False, **notice(str(error))}
        except Exception:
            log.exception("asking failed")
            yield {**view, "running": False, **notice(SERVER_FAULT)}

    return answer_on_page


def voting(pairs: ShownPairs) -> list[Callable[[Any, gr.Request], Answer]]:
    """What the page's script calls: a vote, its undoing, and verdicts that were not known in time."""

    def rate(vote: Answer, request: gr.Request) -> Answer:
        reasons, comment = vote.get("reasons") or (), vote.get("comment") or ""
        said = vote.get("pair"), vote.get("visitor"), vote.get("choice")
        return pairs.rate(*said, reasons, comment, address_of(request))

    def undo(vote: Answer) -> Answer:
        return {"undone": pairs.undo(vote.get("pair"), vote.get("visitor"))}

    def judged(asked: Answer) -> Answer:
        return pairs.judged(asked.get("pairs"))

    return [answered(rate), answered(undo), answered(judged)]
