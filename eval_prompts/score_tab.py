"""The Score tab: the owner starts a scoring, everybody who may see results watches it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from eval_prompts.compare_tab import SERVER_FAULT
from eval_prompts.results_tab import VOTING_IS_OPEN, text
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.scoring.scorings import Scorings

PAGE_FOLDER = Path(__file__).parent / "page"
SCRIPTS = ("score_items.js", "score_form.js", "score.js")
STYLES = ("score.css",)
Answer = dict[str, Any]
IsOwner = Callable[[gr.Request], bool]

log = logging.getLogger(__name__)


def head() -> str:
    """The tab's styles and scripts for the document's head; they need the Compare tab's before them."""

    def joined(names: tuple[str, ...]) -> str:
        return "\n".join((PAGE_FOLDER / name).read_text(encoding="utf-8") for name in names)

    return f"<style>{joined(STYLES)}</style><script>{joined(SCRIPTS)}</script>"


def build(scorings: Scorings, is_owner: IsOwner, for_all: bool = True) -> None:
    """The Score tab inside the current layout. ``is_owner`` tells of a request whether it is the owner's, who alone
    starts and ends scorings and, unless they are ``for_all``, sees them."""

    def reading(work: Callable[[Answer, bool], Answer]) -> Callable[[Any, gr.Request], Answer]:
        def answer(sent: Any, request: gr.Request) -> Answer:
            owner = is_owner(request)
            if not (for_all or owner):
                return {"problem": VOTING_IS_OPEN}
            return answered(lambda asked: work(asked, owner), sent)

        answer.__name__ = work.__name__
        return answer

    def doing(work: Callable[[Answer], Answer]) -> Callable[[Any], Answer]:
        def answer(sent: Any) -> Answer:
            return answered(work, sent)

        answer.__name__ = work.__name__
        return answer

    def look(asked: Answer, owner: bool) -> Answer:
        return scorings.look(asked, owner) | {"owner": owner}

    def pair(asked: Answer, owner: bool) -> Answer:
        number, sample = asked.get("number"), asked.get("sample")
        at = number if isinstance(number, int) else -1
        which = sample if isinstance(sample, int) else 0
        return scorings.board(text(asked, "scoring")).pair(text(asked, "task"), at, which, owner)

    def history(_: Answer, owner: bool) -> Answer:
        return {"scorings": scorings.history(), "owner": owner}

    def against(asked: Answer, owner: bool) -> Answer:
        return scorings.compare(text(asked, "one"), text(asked, "other"))

    def take(asked: Answer, owner: bool) -> Answer:
        return scorings.file(text(asked, "scoring"), text(asked, "file"), owner)

    def form(_: Answer) -> Answer:
        return scorings.form()

    def start(asked: Answer) -> Answer:
        return {"scoring": scorings.start(asked)}

    def stop(asked: Answer) -> Answer:
        return {"scoring": scorings.stop(text(asked, "scoring"))}

    def resume(asked: Answer) -> Answer:
        return {"scoring": scorings.resume(text(asked, "scoring"))}

    def delete(asked: Answer) -> Answer:
        scorings.delete(text(asked, "scoring"))
        return {}

    gr.HTML(
        html_template="",
        js_on_load="LoraLens.mountScore(element, server)",
        server_functions=[
            *map(reading, (look, pair, history, against, take)),
            *map(doing, (form, start, stop, resume, delete)),
        ],
        elem_id="ll-score",
        apply_default_css=False,
    )


def answered(work: Callable[[Answer], Answer], sent: Any) -> Answer:
    """``work`` for the page's script: what it raises becomes a line under 'error'."""
    try:
        return work(sent if isinstance(sent, dict) else {})
    except UserError as error:
        return {"error": str(error)}
    except Exception:
        log.exception("the Score tab failed")
        return {"error": SERVER_FAULT}
