"""The draft of a thinking model, told apart from what it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuning.data.thinking import TAGS, opened_thinking, split_thinking, without_thinking


@pytest.mark.parametrize(("start", "end"), TAGS)
def test_a_leading_draft_is_told_apart(start, end):
    thought = split_thinking(f"\n{start}\nfirst {start} second\n{end}\n\nSaid.")
    assert thought == (f"first {start} second", "Said.", True)
    assert split_thinking(f"{start}going on") == ("going on", "", False)
    assert without_thinking(f"{start}{end}") == ""


@given(st.text().filter(lambda text: not any(text.lstrip().startswith(start) for start, _ in TAGS)))
def test_any_other_answer_stays_as_it_is(text):
    assert split_thinking(text) == ("", text, True)


def test_tags_within_an_answer_are_text():
    text = "Write <think> before </think>."
    assert without_thinking(text) == text


@pytest.mark.parametrize(
    ("prompt", "tag"),
    [
        ("<|assistant|>\n<think>\n", "<think>\n"),
        ("[THINK]", "[THINK]"),
        ("<|assistant|>\n<think>\n\n</think>\n\n", ""),
        ("what is <think>?\n<|assistant|>", ""),
    ],
)
def test_a_prompt_that_opens_the_draft_is_seen(prompt, tag):
    assert opened_thinking(prompt) == tag
