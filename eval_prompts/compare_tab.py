"""The page's header and its Compare tab: questions in, two answers side by side out, as they are written."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from eval_prompts.showing.compare_view import BUSY_POLL_SECONDS, settings_from, status_view
from eval_prompts.tasks.choice import AT_ONCE, TaskChoice, page_of
from eval_prompts.votes.store import REASONS
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.answers import Settings, Stream
    from eval_prompts.serving.lens import Lens
    from eval_prompts.showing.shown_pairs import ShownPairs
    from eval_prompts.tasks.task import Task

PAGE_FOLDER = Path(__file__).parent / "page"
SCRIPTS = (
    "dom.js", "highlight.js", "markdown.js", "history.js", "verdicts.js", "votes.js", "lens.js", "row.js", "board.js",
    "results_learn.js", "results.js", "adapter.js", "header.js", "keys.js",
)  # fmt: skip
STYLES = ("page.css", "board.css", "row.css", "answer.css", "votes.css", "results.css", "lens.css")
EXAMPLES = (
    "Reverse a string without using slicing.",
    "Count how often each word occurs in a text.",
    "Write a function that checks whether a number is prime.",
    "Sort a list of dictionaries by the key 'age'.",
)
NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six", 7: "seven", 8: "eight", 9: "nine", 10: "ten"}
ASKING_AT_ONCE = 72
"""More than may wait for answers, so that who is one too many is told so at once and by us."""
VERDICT_SECONDS = 0.6
"""How long complete answers wait for their verdicts; those that take longer are asked for by the page."""
SERVER_FAULT = "Something went wrong on the server, and its log says what. Ask again."

log = logging.getLogger(__name__)


def head() -> str:
    """The page's own styles and scripts for the document's head; nothing is loaded from elsewhere.

    They go here because ``launch(css=...)`` rewrites style sheets, and breaks selectors such as ``:is(a, b)``.
    """

    def joined(names: tuple[str, ...]) -> str:
        return "\n".join((PAGE_FOLDER / name).read_text(encoding="utf-8") for name in names)

    return f"<style>{joined(STYLES)}</style><script>{joined(SCRIPTS)}</script>"


def build_header(
    lens: Lens,
    training: Callable[[], str],
    is_owner: Callable[[gr.Request], bool],
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

    gr.HTML(
        html_template="",
        js_on_load="LoraLens.mountHeader(element, server)",
        server_functions=[status, *functions],
        elem_id="ll-header",
        apply_default_css=False,
    )


class Visitors:
    """Which answers are being written for whom, so that Stop and a closed tab end exactly those."""

    def __init__(self) -> None:
        self._streams: dict[str, Stream] = {}

    def stop(self, session: str | None) -> None:
        """Ends what is being written for a session, if anything is."""
        stream = self._streams.get(session or "")
        if stream is not None:
            stream.cancel()

    def forget(self, request: gr.Request) -> None:
        """What happens when a tab is closed or reloaded: nobody reads those answers any more."""
        self.stop(request.session_hash)

    def follow(self, stream: Stream, session: str) -> Iterator[list[Any]]:
        """A stream's snapshots; the stream ends with its reader, whichever way that one leaves."""
        self._streams[session] = stream
        try:
            yield from stream.snapshots()
        finally:
            stream.cancel()
            if self._streams.get(session) is stream:
                del self._streams[session]


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
    functions: Sequence[Callable[..., Any]] = (),
) -> None:
    """The Compare tab inside the current layout of ``page``; the lens of a row calls ``functions``."""
    task = tasks.task
    with gr.Column(elem_id="ll-ask-bar"):
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
            for example in EXAMPLES if task.judges_python else ():
                chip = gr.Button(example, size="sm", elem_classes="ll-example", scale=0, min_width=40)
                chip.click(None, js=f"() => LoraLens.askOwn({json.dumps(example)})", api_visibility="private")
        with gr.Row(elem_id="ll-options"):
            settings = _settings(task.settings)
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
    board = gr.HTML(
        html_template="",
        js_on_load="LoraLens.mountBoard(element, props, watch, server)",
        server_functions=[*voting(pairs), *functions],
        elem_id="ll-board",
        apply_default_css=False,
        probes=[
            {"id": question.id, "title": question.title or question.id, "question": question.text}
            for question in task.questions[:AT_ONCE]
        ],
        reasons=[{"id": reason, "label": label} for reason, label in REASONS.items()],
    )

    asking = {
        "outputs": board,
        "show_progress": "hidden",
        "api_visibility": "private",
        "concurrency_limit": ASKING_AT_ONCE,
        "concurrency_id": "asking",
    }
    asker = _asker(lens, visitors, pairs, tasks)
    all_five = ask_all.click(asker, [gr.State(None), *settings, blind], **asking)
    own = gr.on([ask_own.click, question.submit], asker, [question, *settings, blind], **asking)
    for event in (all_five, own):
        event.then(None, js="() => LoraLens.setBusy(false)", api_visibility="private")

    def stop_mine(request: gr.Request) -> None:
        visitors.stop(request.session_hash)

    def task_in_use() -> Any:
        """The button's words and the settings of a task that was chosen after the page was built."""
        if tasks.task is task:
            return [gr.skip()] * (1 + len(settings))
        start = tasks.task.settings
        longest = gr.Slider(value=start.max_new_tokens, minimum=min(16, start.max_new_tokens), maximum=4096)
        return [gr.Button(ask_all_words(tasks.task)), longest, start.temperature, start.top_p, start.seed]

    page.load(task_in_use, None, [ask_all, *settings], show_progress="hidden", api_visibility="private")
    stop.click(stop_mine, queue=False, show_progress="hidden", api_visibility="private")


def _settings(start: Settings) -> list[gr.components.Component]:
    with gr.Accordion("Settings", open=False, elem_id="ll-settings"), gr.Row():
        longest, most = start.max_new_tokens, max(1000, start.max_new_tokens)
        warmth = min(start.temperature, 2)
        return [
            gr.Slider(min(16, longest), most, longest, step=1, label="Longest answer", info="in tokens, for each side"),
            gr.Slider(0, 2, warmth, step=0.05, label="Temperature", info="0 always takes the likeliest token"),
            gr.Slider(0.05, 1, start.top_p, step=0.05, label="Top-p", info="1 leaves every token in play"),
            gr.Number(start.seed, precision=0, label="Seed", info="the same seed gives the same text"),
        ]


def ask_all_words(task: Task) -> str:
    """What the button says that asks a task's questions."""
    count = len(task.questions)
    if count > AT_ONCE:
        return f"Ask the first {AT_ONCE} of {count:,}"
    return f"Ask all {NUMBERS.get(count, count)}"


def _asker(
    lens: Lens, visitors: Visitors, pairs: ShownPairs, tasks: TaskChoice
) -> Callable[..., Iterator[dict[str, Any]]]:
    """The handler that asks one question, or all five where there is none, and streams the board's data."""

    def answer_on_page(
        question: str | None,
        cap: float,
        temperature: float,
        top_p: float,
        seed: float | None,
        blind: bool,
        request: gr.Request,
    ) -> Iterator[dict[str, Any]]:
        session = request.session_hash or ""
        task = tasks.task
        view: dict[str, Any] = {}
        try:
            settings = replace(settings_from(cap, temperature, top_p, seed), stop=task.settings.stop)
            if question is None:
                asked = page_of(task)
                prompts = [task.prompt(one) for one in asked]
            else:
                prompts = [task.own_prompt(question)]
                asked = [task.own_question(question)]
            in_its_own = tasks.prompts_for(task, asked)
            stream = lens.ask(prompts, settings, visitor=session, address=address_of(request), prompts_for=in_its_own)
            showing = pairs.show(stream, lens.status, session, bool(blind), task, asked)
            snapshots = visitors.follow(stream, session)
            for answers in showing.follow(snapshots, pairs.keep, lambda verdicts: verdicts.wait(VERDICT_SECONDS)):
                view = {**showing.view(answers)}
                yield view
        except UserError as error:
            yield {**view, "running": False, **notice(str(error))}
        except Exception:
            log.exception("asking failed")
            yield {**view, "running": False, **notice(SERVER_FAULT)}

    return answer_on_page


def voting(pairs: ShownPairs) -> list[Callable[[Any], dict[str, Any]]]:
    """What the page's script calls: a vote, its undoing, and verdicts that were not known in time."""

    def answered(work: Callable[[dict[str, Any]], dict[str, Any]], sent: Any) -> dict[str, Any]:
        try:
            return work(sent if isinstance(sent, dict) else {})
        except UserError as error:
            return {"error": str(error)}
        except Exception:
            log.exception("voting failed")
            return {"error": SERVER_FAULT}

    def rate(sent: Any, request: gr.Request) -> dict[str, Any]:
        def work(vote: dict[str, Any]) -> dict[str, Any]:
            said = [vote.get(key) for key in ("pair", "visitor", "choice")]
            return pairs.rate(*said, vote.get("reasons") or (), vote.get("comment") or "", address_of(request))

        return answered(work, sent)

    def undo(sent: Any) -> dict[str, Any]:
        return answered(lambda vote: {"undone": pairs.undo(vote.get("pair"), vote.get("visitor"))}, sent)

    def judged(sent: Any) -> dict[str, Any]:
        return answered(lambda asked: pairs.judged(asked.get("pairs")), sent)

    return [rate, undo, judged]
