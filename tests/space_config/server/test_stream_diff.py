"""Edits of streamed JSON, as gradio's own client applies them."""

from __future__ import annotations

import json

from gradio_client.utils import apply_diff
from hypothesis import given
from hypothesis import strategies as st

from space_config.server.stream_diff import diff

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
