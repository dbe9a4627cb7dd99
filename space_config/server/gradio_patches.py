"""Every change to gradio from outside, in one place: why, what has to be there for it, and how it is made.

Each patch is a function that first looks whether what it changes is still what it was written for, and says so at the
start of the app if not. For each there is a test that fails once gradio has mended the fault, so that the patch can go.
"""

from __future__ import annotations

import inspect
import logging
from functools import partial
from typing import Any

import gradio as gr
import gradio.routes
import gradio.utils
from gradio.utils import LRUCache

from space_config.server import gradio_import, roles
from space_config.server.calls import FAULT
from tuning.upstream import expected
from tuning.upstream.expected import parameters

Edit = list[Any]
SESSIONS = 128
"""How many visitors' sessions gradio keeps: some 80 KB each, and nothing in them that it cannot make again."""
SESSIONS_WITH_CALLS = 2000
"""For how many sessions gradio keeps the calls that are not over: as many as those whose messages it keeps."""
QUEUE_SECONDS = 0.01
"""How often gradio's queue is looked at: who calls does not notice it, and a server that nobody calls sleeps."""
PROGRESS_SECONDS = 0.1
MALFORMED = "The call failed: check the number and the kinds of its values."

log = logging.getLogger(__name__)
gradios_own_diff = gradio.utils.diff


expect = partial(expected.expect, package="gradio")


def apply(page: gr.Blocks) -> None:
    """All patches that a finished page needs. Raises UserError for a gradio that they do not know."""
    gradio_import.check()
    send_shorter_lists_whole()
    keep_few_sessions(page)
    forget_the_calls_of_old_sessions(page)
    look_at_the_queue_less_often(page)


def send_shorter_lists_whole() -> None:
    """Gradio's edits of a stream are wrong where a list within a list gets shorter: 6.31 lowers the places of such
    deletions once more for every list around them, which breaks a client or leaves it with another object."""
    expect(parameters(gradios_own_diff) == ["old", "new"], what="gradio.utils.diff")
    expect(getattr(gradio.routes, "utils", None) is gradio.utils, what="gradio.routes.utils")
    gradio.utils.diff = diff


def keep_few_sessions(page: gr.Blocks) -> None:
    """Gradio keeps the state of 10,000 sessions unless told otherwise, and has no argument for it."""
    expect(isinstance(getattr(page, "state_session_capacity", None), int), what="Blocks.state_session_capacity")
    page.state_session_capacity = SESSIONS


def forget_the_calls_of_old_sessions(page: gr.Blocks) -> None:
    """Gradio's queue keeps an entry for every session that ever called, for ever (a dict that only grows)."""
    held = getattr(getattr(page, "_queue", None), "pending_event_ids_session", None)
    expect(isinstance(held, dict) and not held, what="Queue.pending_event_ids_session")
    page._queue.pending_event_ids_session = LRUCache(SESSIONS_WITH_CALLS)


def look_at_the_queue_less_often(page: gr.Blocks) -> None:
    """Gradio looks whether its queue holds a call a thousand times a second, which takes a sixteenth of a core from
    whatever else the machine does, as training, while nobody asks anything; and a hundred times for a kind of progress
    that this page does not show."""
    queue = getattr(page, "_queue", None)
    for name, seconds in (("sleep_when_free", QUEUE_SECONDS), ("progress_update_sleep_when_free", PROGRESS_SECONDS)):
        now = getattr(queue, name, None)
        expect(isinstance(now, float), what=f"Queue.{name}")
        setattr(queue, name, max(now or 0.0, seconds))


class GuardedBlocks(gr.Blocks):
    """A page whose functions check the caller's role themselves too, whichever way gradio was reached, and whose
    failures are one line for the caller and one record in our own log: gradio would print them past it, and runs any
    function for anyone who names it (``api_visibility="private"`` hides a function, and does not close it)."""

    expect(parameters(gr.Blocks.process_api)[:2] == ["self", "block_fn"], what="Blocks.process_api")
    expect("request" in parameters(gr.Blocks.process_api), what="Blocks.process_api")
    expect(parameters(gr.Blocks.call_function)[:2] == ["self", "block_fn"], what="Blocks.call_function")

    async def process_api(self, block_fn: Any, *inputs: Any, **named: Any) -> dict[str, Any]:
        """Gradio's own, for those who may. Raises gr.Error for the others, and in place of every other exception."""
        if role_of(getattr(named.get("request"), "request", None)) < roles.rule(str(block_fn.api_name))[0]:
            raise gr.Error("Only the owner may do that.", print_exception=False)
        if isinstance(named.get("inputs"), list):
            named["inputs"] = with_defaults(block_fn, named["inputs"])
        try:
            output: dict[str, Any] = await super().process_api(block_fn, *inputs, **named)
            return output
        except gr.Error as error:
            error.print_exception = False
            raise
        except Exception as error:
            log.info("the call of %s is malformed: %s", block_fn.api_name, error)
            raise gr.Error(MALFORMED, print_exception=False) from None

    async def call_function(self, block_fn: Any, *inputs: Any, **named: Any) -> dict[str, Any]:
        """Gradio's own; a function of ours that fails unforeseen is an error of the log and one line for the caller."""
        try:
            output: dict[str, Any] = await super().call_function(block_fn, *inputs, **named)
            return output
        except (gr.Error, StopAsyncIteration):
            raise
        except Exception:
            log.exception("%s failed", getattr(block_fn, "api_name", block_fn))
            raise gr.Error(FAULT, print_exception=False) from None


def with_defaults(block_fn: Any, values: list[Any]) -> list[Any]:
    """The values of a call, and the defaults of the parameters behind them that it leaves out.

    Gradio refuses a call by plain HTTP that has fewer values than the function has parameters, defaults or not: each
    parameter that an endpoint gains would break the scripts that were written before.
    """
    sent = [
        parameter
        for parameter in inspect.signature(block_fn.fn).parameters.values()
        if str(getattr(parameter.annotation, "__name__", parameter.annotation)).rpartition(".")[2] != "Request"
    ]
    optional = [parameter.default for parameter in sent[len(values) : len(block_fn.inputs)]]
    return values if inspect.Parameter.empty in optional else [*values, *optional]


def role_of(request: Any) -> roles.Role:
    """The role that the guard has found for a request; a visitor's where no guard has seen it.

    Gradio's own request copies what is asked of it through JSON, which a scope with bytes in it is not: the request
    inside is asked.
    """
    inside = getattr(request, "request", None) or request
    role: roles.Role = getattr(inside, "scope", {}).get("lora_lens_role", roles.Role.VISITOR)
    return role


def owns(request: gr.Request) -> bool:
    """Whether a request comes from the owner; the guard has found out."""
    inner = request.__dict__.get("request")  # gradio's wrapper would make JSON of the scope, which holds bytes
    return role_of(request if inner is None else inner) >= roles.Role.OWNER


def diff(old: Any, new: Any, path: tuple[str | int, ...] = ()) -> list[Edit]:
    """The edits, ``[action, path, value]``, that make the JSON value ``new`` out of ``old``, which lies at ``path``:
    ``replace``, ``append`` (to a string), ``add`` and ``delete``, as gradio's clients apply them. A list that gets
    shorter is sent whole."""
    if old is new:
        return []
    shorter = isinstance(old, list) and isinstance(new, list) and len(new) < len(old)
    if type(old) is not type(new) or shorter:
        return [["replace", list(path), new]]
    if isinstance(new, list):
        changes = [edit for place, value in enumerate(old) for edit in diff(value, new[place], (*path, place))]
        return changes + [["add", [*path, place], new[place]] for place in range(len(old), len(new))]
    if isinstance(new, dict):
        gone = [["delete", [*path, key], None] for key in old if key not in new]
        changes = [edit for key in new if key in old for edit in diff(old[key], new[key], (*path, key))]
        return gone + changes + [["add", [*path, key], new[key]] for key in new if key not in old]
    if old == new:
        return []
    if isinstance(new, str) and new.startswith(old):
        return [["append", list(path), new[len(old) :]]]
    return [["replace", list(path), new]]
