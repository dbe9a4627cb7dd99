"""What all tabs share: their scripts and styles, and calls from the page and from other scripts, of which a failure
becomes one sentence for whoever calls, and a line in the log where nobody expected it."""

from __future__ import annotations

import inspect
import logging
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from tuning.errors import UserError

SERVER_FAULT = "Something went wrong on the server, and its log says what. Try again."
Answer = dict[str, Any]
IsOwner = Callable[[gr.Request], bool]
"""Tells of a request whether it is the owner's."""

log = logging.getLogger(__name__)


def head_of(folder: Path, styles: Sequence[str], scripts: Sequence[str]) -> str:
    """Styles and scripts of a folder for the document's head; nothing is loaded from elsewhere.

    They go there because ``launch(css=...)`` rewrites style sheets, and breaks selectors such as ``:is(a, b)``.
    """

    def joined(names: Sequence[str]) -> str:
        return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)

    return f"<style>{joined(styles)}</style><script>{joined(scripts)}</script>"


def mount(call: str, ident: str, functions: Sequence[Callable[..., Any]], **props: Any) -> gr.HTML:
    """A part of the page that its script draws: ``call`` is what the script is called with, ``functions`` what it may
    call on the server, ``props`` what it is given at the start."""
    return gr.HTML(
        html_template="",
        js_on_load=call,
        server_functions=list(functions),
        elem_id=ident,
        apply_default_css=False,
        **props,
    )


def answered(work: Callable[..., Answer], under: str = "error") -> Callable[[Any, gr.Request], Answer]:
    """``work`` for the page's script: it gets what was sent, and the request if it takes two arguments. What it raises
    becomes a line ``under`` that name."""
    takes_request = len(inspect.signature(work).parameters) > 1

    def answer(sent: Any, request: gr.Request) -> Answer:
        given = sent if isinstance(sent, dict) else {}
        try:
            return work(given, request) if takes_request else work(given)
        except UserError as error:
            return {under: str(error)}
        except Exception:
            log.exception("%s failed", work.__name__)
            return {under: SERVER_FAULT}

    answer.__name__ = work.__name__
    return answer


def text(sent: Answer, key: str) -> str:
    """A text that the page's script sent, or ''."""
    value = sent.get(key)
    return value if isinstance(value, str) else ""


def add_endpoint(function: Callable[..., Any], **options: Any) -> None:
    """Adds an endpoint for scripts to the current ``gr.Blocks``, named after ``function``, which answers once or
    streams. ``options`` are those of ``gr.api``, which takes the return annotation for that of one step."""
    types = typing.get_type_hints(function)
    streams = inspect.isgeneratorfunction(function)

    def answer(*values: Any, **named: Any) -> Any:
        try:
            return function(*values, **named)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from None

    def stream(*values: Any, **named: Any) -> Iterator[Any]:
        try:
            yield from function(*values, **named)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from None

    endpoint: Any = stream if streams else answer
    step = typing.get_args(types["return"])[0] if streams else types["return"]
    endpoint.__name__, endpoint.__doc__ = function.__name__, inspect.getdoc(function)
    endpoint.__annotations__ = types | {"return": step}
    endpoint.__signature__ = inspect.signature(function, eval_str=True).replace(return_annotation=step)
    gr.api(endpoint, api_name=function.__name__, **options)  # type: ignore[attr-defined]  # it is, lazily
