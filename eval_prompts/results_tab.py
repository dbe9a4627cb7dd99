"""The Results tab: what people and the machine found, and the votes to take away."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr

from eval_prompts.compare_tab import SERVER_FAULT
from eval_prompts.showing.shown_pairs import anonymous
from eval_prompts.votes.export import export, left_out
from eval_prompts.votes.formats import TYPES
from eval_prompts.votes.lesson import Lesson, lesson
from eval_prompts.votes.results import results_view
from eval_prompts.votes.whole import export_whole
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.showing.shown_pairs import ShownPairs

VOTING_IS_OPEN = "Results are shown once voting is over: they are the owner's until then."

log = logging.getLogger(__name__)


def build(
    pairs: ShownPairs,
    is_owner: Callable[[gr.Request], bool],
    for_all: bool = True,
    train: Callable[[Lesson], str] | None = None,
    card: Callable[[str, str], dict[str, Any] | None] = lambda tuned, base: None,
) -> None:
    """The Results tab inside the current layout; ``is_owner`` tells of a request whether it is the owner's, who alone
    sees what others asked and said, and, unless it is ``for_all``, anything at all. ``train`` starts a run that learns
    from votes and returns its name; ``card`` is what scorings of two sides came to, by their fingerprints, or of those
    that are loaded."""

    def results(sent: Any, request: gr.Request) -> dict[str, Any]:
        owner = is_owner(request)
        if not (for_all or owner):
            return {"problem": VOTING_IS_OPEN, "waits": True}
        try:
            own = None if owner else anonymous(text(sent, "visitor") or "nobody")
            view = results_view(pairs.ratings, text(sent, "adapter") or None, own)
            sides = view["contest"] or ["", ""]
            return view | {"exportable": view["exportable"] and owner, "card": card(*sides)}
        except UserError as error:
            return {"problem": str(error)}
        except Exception:
            log.exception("the results could not be told")
            return {"problem": SERVER_FAULT}

    def export_votes(sent: Any) -> dict[str, Any]:
        form, as_pairs = text(sent, "format"), text(sent, "what") == "pairs"
        try:
            votes = pairs.ratings.votes()
            content, rows = (export if as_pairs else export_whole)(votes, form)
        except UserError as error:
            return {"error": str(error)}
        except Exception:
            log.exception("the votes could not be exported")
            return {"error": SERVER_FAULT}
        return {
            "name": f"lora-lens-{'preferences' if as_pairs else 'votes'}.{form}",
            "type": TYPES[form],
            "rows": rows,
            "left_out": left_out(votes) if as_pairs else "",
            "content": base64.b64encode(content).decode("ascii"),
        }

    def votes_lesson(sent: Any) -> dict[str, Any]:
        try:
            return lesson(pairs.ratings, text(sent, "adapter") or None, text(sent, "votes") != "all").to_dict()
        except UserError as error:
            return {"error": str(error)}
        except Exception:
            log.exception("what the votes teach could not be told")
            return {"error": SERVER_FAULT}

    def train_on_votes(sent: Any) -> dict[str, Any]:
        try:
            if train is None:
                raise UserError("Nothing can be trained here.")
            found = lesson(pairs.ratings, text(sent, "adapter") or None, text(sent, "votes") != "all")
            return {"run": train(found)}
        except UserError as error:
            return {"error": str(error)}
        except Exception:
            log.exception("training on votes could not be started")
            return {"error": SERVER_FAULT}

    gr.HTML(
        html_template="",
        js_on_load="LoraLens.mountResults(element, server)",
        server_functions=[results, export_votes, votes_lesson, train_on_votes],
        elem_id="ll-results",
        apply_default_css=False,
    )


def text(sent: Any, key: str) -> str:
    """A text that the page's script sent, or ''."""
    value = sent.get(key) if isinstance(sent, dict) else None
    return value if isinstance(value, str) else ""
