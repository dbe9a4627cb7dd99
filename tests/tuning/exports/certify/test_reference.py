"""Answers of both sides that are written many at a time are those written one by one."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from tests.tuning.exports.gguf_models import make_subject
from tuning.data.template import chat_template
from tuning.exports.certify import reference
from tuning.exports.certify.reference import greedy, load_reference

MOST = 12
TEXT = "Write a function that returns the sum of two numbers and the longer of two words"


@pytest.fixture(scope="module")
def unmerged(tmp_path_factory):
    return load_reference(make_subject(tmp_path_factory.mktemp("reference")))


@pytest.mark.parametrize("side", ["tuned", "base"])
def test_answers_of_a_batch_are_those_of_one_prompt_at_a_time(unmerged, monkeypatch, side):
    monkeypatch.setattr(reference, "BATCH", 3)
    tokenizer = unmerged.tokenizer
    prompts = [tokenizer(TEXT[:length], add_special_tokens=False).input_ids for length in (50, 7, 80, 25, 5)]
    heard = []
    found = unmerged.answers(side, prompts, MOST, heard.append)
    with unmerged.model.disable_adapter() if side == "base" else nullcontext():
        alone = alone_of(unmerged, prompts)
    assert found == alone
    assert heard == [0, 3]
    assert len({tuple(tokens) for tokens in found}) > 1  # prompts of which all are answered alike would prove nothing
    assert max(map(len, found)) == MOST


def alone_of(unmerged, prompts):
    ends = chat_template(unmerged.tokenizer).end_ids()
    return [[token for token, _ in greedy(unmerged.model, ends, prompt, MOST)] for prompt in prompts]


def test_an_answer_ends_with_its_end_token_whatever_the_others_do(unmerged):
    tokenizer = unmerged.tokenizer
    prompts = [tokenizer(TEXT[:length], add_special_tokens=False).input_ids for length in (16, 44)]
    alone = alone_of(unmerged, prompts)
    tokenizer.eos_token_id, before = alone[0][4], tokenizer.eos_token_id
    try:
        found = unmerged.answers("tuned", prompts, MOST, lambda done: None)
        again = alone_of(unmerged, prompts)
    finally:
        tokenizer.eos_token_id = before
    assert found == again
    assert found[0] == alone[0][: alone[0].index(alone[0][4]) + 1]
