"""The changes to gradio: each is needed still, does what it is for, and is refused where gradio is another."""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys

import gradio as gr
import pytest
from gradio import component_meta
from gradio_client.utils import apply_diff
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from space_config.server import gradio_import, gradio_patches, roles
from space_config.server.gradio_patches import (
    PROGRESS_SECONDS,
    QUEUE_SECONDS,
    SESSIONS,
    SESSIONS_WITH_CALLS,
    diff,
    gradios_own_diff,
    with_defaults,
)
from tuning.errors import UserError

LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, "", "a", "ab", "abc", "b"])
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)


@given(VALUES, VALUES)
def test_a_client_that_applies_the_edits_has_the_new_value(old, new):
    edits = json.loads(json.dumps(diff(old, new)))
    assert json.dumps(apply_diff(old, edits), sort_keys=True) == json.dumps(new, sort_keys=True)


def test_true_is_not_one():
    assert diff([1, {"a": [False]}], [True, {"a": [0]}]) == [["replace", [0], True], ["replace", [1, "a", 0], 0]]


def test_lists_within_lists_may_get_shorter_at_once():
    old = [{"badges": ["parses so far", "repeats itself"]}, {"badges": ["parses so far"]}]
    new = [{"badges": []}, {"badges": []}]
    assert apply_diff(old, diff(old, new)) == new


def test_text_that_grows_is_sent_as_what_is_new():
    old, new = [{"text": "def a", "tokens": 2}], [{"text": "def average", "tokens": 3}]
    assert diff(old, new) == [["append", [0, "text"], "verage"], ["replace", [0, "tokens"], 3]]


NEEDED = "gradio has mended it: the patch can go"


def page():
    with gr.Blocks() as blocks:
        gr.Markdown("x")
    blocks.queue()
    return blocks


def test_gradios_own_edits_are_wrong_still():
    old, new = [{"badges": ["parses so far", "repeats itself"]}, {"badges": ["parses so far"]}], [{"badges": []}] * 2
    try:
        right = apply_diff(json.loads(json.dumps(old)), gradios_own_diff(old, new)) == new
    except (IndexError, KeyError):
        right = False
    assert not right, NEEDED


def test_gradio_keeps_the_calls_of_every_session_still():
    assert type(page()._queue.pending_event_ids_session) is dict, NEEDED


@pytest.mark.skipif(sys.platform == "win32", reason="gradio looks less often on Windows itself")
def test_gradio_looks_at_its_queue_a_thousand_times_a_second_still():
    assert page()._queue.sleep_when_free < QUEUE_SECONDS, NEEDED
    assert page()._queue.progress_update_sleep_when_free < PROGRESS_SECONDS, NEEDED


def test_gradio_takes_no_number_of_sessions_still():
    assert "state_session_capacity" not in gradio_patches.parameters(gr.Blocks.__init__), NEEDED
    assert page().state_session_capacity > SESSIONS, NEEDED


def test_a_page_is_patched(monkeypatch):
    monkeypatch.setattr(gr.utils, "diff", gradios_own_diff)
    patched = page()
    gradio_patches.apply(patched)
    assert gr.utils.diff is diff
    assert patched.state_session_capacity == SESSIONS
    assert patched._queue.sleep_when_free >= QUEUE_SECONDS
    assert patched._queue.progress_update_sleep_when_free >= PROGRESS_SECONDS
    held = patched._queue.pending_event_ids_session
    for number in range(SESSIONS_WITH_CALLS + 5):
        held[str(number)] = set()
    assert len(held) == SESSIONS_WITH_CALLS


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda page: delattr(page._queue, "pending_event_ids_session"), "pending_event_ids_session"),
        (lambda page: setattr(page, "state_session_capacity", None), "state_session_capacity"),
        (lambda page: delattr(page._queue, "sleep_when_free"), "sleep_when_free"),
    ],
)
def test_another_gradio_is_refused_in_one_line(change, what):
    patched = page()
    change(patched)
    with pytest.raises(UserError, match=f"does not know gradio .*{what} is not what it was") as refused:
        gradio_patches.apply(patched)
    assert "\n" not in str(refused.value)


def test_another_diff_is_refused(monkeypatch):
    monkeypatch.setattr(gradio_patches, "gradios_own_diff", lambda old, new, path: [])
    with pytest.raises(UserError, match=r"gradio\.utils\.diff"):
        gradio_patches.send_shorter_lists_whole()


def test_a_call_with_fewer_values_gets_the_defaults_of_the_rest():
    """Scripts that call an endpoint by HTTP go on working when it gains a parameter with a default."""

    def ask(request: gr.Request, question: str, tokens: int = 300, task: str = "") -> str:
        return f"{question} {tokens} {task!r} {request}"

    with gr.Blocks() as page:
        gr.api(ask)
    (call,) = page.fns.values()
    assert with_defaults(call, ["Why?"]) == ["Why?", 300, ""]
    assert with_defaults(call, ["Why?", 5]) == ["Why?", 5, ""]
    assert with_defaults(call, ["Why?", 5, "sql"]) == ["Why?", 5, "sql"]
    assert with_defaults(call, []) == []


def test_gradio_refuses_a_call_without_its_defaults_still():
    def ask(question: str, task: str = "") -> str:
        return question + task

    with gr.Blocks() as page:
        gr.api(ask)
    (call,) = page.fns.values()
    with pytest.raises(ValueError, match="didn't receive enough input values"):
        page.validate_inputs(call, ["Why?"])


def test_the_role_of_a_request_is_found_inside_gradios_own():
    """Gradio copies what its request is asked for through JSON, and a scope holds bytes."""
    scope = {"type": "http", "headers": [(b"host", b"here")], "client": ("1.2.3.4", 5)}
    for role in roles.Role:
        inside = Request(scope | {"lora_lens_role": role})
        for request in (inside, gr.Request(inside)):
            assert gradio_patches.role_of(request) is role
            assert gradio_patches.owns(request) is (role is roles.Role.OWNER)
    assert not gradio_patches.owns(gr.Request(Request(scope)))


def test_gradio_still_writes_stubs_when_it_is_imported():
    """Fails once gradio does not, or does it otherwise: then ``gradio_import`` can go or has to change."""
    assert "create_or_modify_pyi(" in inspect.getsource(component_meta.ComponentMeta.__new__)


def test_what_writes_stubs_is_taken_out_as_its_module_is_loaded(monkeypatch, tmp_path):
    (tmp_path / "component_meta.py").write_text("def create_or_modify_pyi(*_):\n    raise OSError\n")
    spec = gradio_import.Finder().find_spec(gradio_import.MODULE, [str(tmp_path)])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.create_or_modify_pyi(object, "Button", [])
    assert gradio_import.Finder().find_spec("gradio.blocks", [str(tmp_path)]) is None
    monkeypatch.setitem(sys.modules, gradio_import.MODULE, object())
    with pytest.raises(UserError, match="create_or_modify_pyi"):
        gradio_import.check()
