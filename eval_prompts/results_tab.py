"""The Results tab: what people and the machine found, and the votes to take away."""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr

from eval_prompts.compare_tab import SERVER_FAULT
from eval_prompts.votes.export import TYPES, export
from eval_prompts.votes.results import results_view
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.showing.shown_pairs import ShownPairs

log = logging.getLogger(__name__)


def build(pairs: ShownPairs, may_export: Callable[[gr.Request], bool]) -> None:
    """The Results tab inside the current layout; ``may_export`` tells of a request whether it is the owner's."""

    def results(sent: Any, request: gr.Request) -> dict[str, Any]:
        try:
            view = results_view(pairs.ratings, text(sent, "adapter") or None)
            return view | {"exportable": view["exportable"] and may_export(request)}
        except UserError as error:
            return {"problem": str(error)}
        except Exception:
            log.exception("the results could not be told")
            return {"problem": SERVER_FAULT}

    def export_votes(sent: Any) -> dict[str, Any]:
        form = text(sent, "format")
        try:
            content, rows = export(pairs.ratings.votes(), form)
        except UserError as error:
            return {"error": str(error)}
        except Exception:
            log.exception("the votes could not be exported")
            return {"error": SERVER_FAULT}
        encoded = base64.b64encode(content).decode("ascii")
        return {"name": f"lora-lens-votes.{form}", "type": TYPES[form], "rows": rows, "content": encoded}

    gr.HTML(
        html_template="",
        js_on_load="LoraLens.mountResults(element, server)",
        server_functions=[results, export_votes],
        elem_id="ll-results",
        apply_default_css=False,
    )


def text(sent: Any, key: str) -> str:
    """A text that the page's script sent, or ''."""
    value = sent.get(key) if isinstance(sent, dict) else None
    return value if isinstance(value, str) else ""
