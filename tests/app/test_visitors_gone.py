"""Visitors come and go for months: what is kept of those who have gone is bounded."""

import pytest
from gradio.state_holder import StateHolder
from gradio_client.utils import apply_diff

import app
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.local import LocalLoader
from eval_prompts.showing.shown_pairs import ShownPairs


@pytest.fixture(scope="module")
def page():
    pairs = ShownPairs("sqlite://")
    yield app.build_page(Lens(LocalLoader()), pairs)
    pairs.close()


def test_gradio_keeps_the_newest_sessions_and_no_more(page):
    holder = StateHolder()
    holder.set_blocks(page)
    for number in range(200):
        assert holder[f"session {number}"] is not None
    assert len(holder.session_data) <= 130
    assert "session 199" in holder
    assert "session 100" in holder
    assert "session 0" not in holder


def test_the_queue_forgets_the_calls_of_sessions_that_are_gone(page):
    queue = page._queue
    for number in range(2500):
        queue.pending_event_ids_session[f"session {number}"] = set()
    assert len(queue.pending_event_ids_session) <= 2000
    assert "session 2499" in queue.pending_event_ids_session


def test_the_queue_keeps_no_record_of_each_call(page):
    assert page._queue.ANALYTICS_MAX_EVENTS <= 10


def test_the_page_streams_edits_that_clients_can_apply(page):
    old, new = [{"badges": [1, 2]}, {"badges": [3]}], [{"badges": []}, {"badges": []}]
    run = {"session_hash": "visitor", "run": "1", "final": False}
    api = next(function for function in page.fns.values() if function.api_name == "ask_probes")
    assert page.handle_streaming_diffs(api, [old], **run) == [old]
    [edits] = page.handle_streaming_diffs(api, [new], **run)
    assert apply_diff(old, edits) == new
