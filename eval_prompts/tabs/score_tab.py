"""The Score tab: the owner starts a scoring, everybody who may see results watches it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.utils import get_upload_folder as gradio_uploads

from eval_prompts.scoring.in_app import suites
from eval_prompts.tabs.results_tab import VOTING_IS_OPEN
from tuning.errors import UserError
from tuning.shared_tab import Answer, IsOwner, answered, head_of, mount, text

if TYPE_CHECKING:
    from eval_prompts.scoring.in_app.scorings import Scorings

PAGE_FOLDER = Path(__file__).parents[1] / "page"
SCRIPTS = ("score_items.js", "score_form.js", "score_judge.js", "score.js")
STYLES = ("score.css",)


def head() -> str:
    """The tab's styles and scripts for the document's head; they need the Compare tab's before them."""
    return head_of(PAGE_FOLDER, STYLES, SCRIPTS)


def build(
    scorings: Scorings,
    is_owner: IsOwner,
    for_all: bool = True,
    train: Callable[[str], str] | None = None,
) -> None:
    """The Score tab inside the current layout. ``is_owner`` tells of a request whether it is the owner's, who alone
    starts and ends scorings and, unless they are ``for_all``, sees them; ``train`` starts a run that learns from what
    passes a scoring's task, and returns its name."""

    def reading(work: Callable[[Answer, bool], Answer]) -> Callable[[Any, gr.Request], Answer]:
        def answer(asked: Answer, request: gr.Request) -> Answer:
            owner = is_owner(request)
            return work(asked, owner) if for_all or owner else {"problem": VOTING_IS_OPEN}

        answer.__name__ = work.__name__
        return answered(answer)

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

    def train_on_passing(asked: Answer) -> Answer:
        if train is None:
            raise UserError("Nothing can be trained here.")
        return {"run": train(text(asked, "scoring"))}

    def extend(asked: Answer) -> Answer:
        return {"scoring": scorings.extend(text(asked, "scoring"))}

    def judge(asked: Answer) -> Answer:
        return {"scoring": scorings.judge(text(asked, "scoring"), asked)}

    def stop_judge(_: Answer) -> Answer:
        scorings.judging.stop()
        return {}

    def take_suite(asked: Answer) -> Answer:
        name, count = suites.keep(Path(text(asked, "path")), Path(gradio_uploads()))
        return {"suite": name, "questions": count}

    def delete(asked: Answer) -> Answer:
        scorings.delete(text(asked, "scoring"))
        return {}

    functions = [reading(work) for work in (look, pair, history, against, take)]
    owners = (form, start, stop, resume, extend, train_on_passing, judge, stop_judge, take_suite, delete)
    functions += [answered(work) for work in owners]
    mount("LoraLens.mountScore(element, server)", "ll-score", functions)
