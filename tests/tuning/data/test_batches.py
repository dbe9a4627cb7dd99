"""Which rows a step trains, and how they are cut into passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuning.data.batches import common_prefix, encode_rows, micro_batches, pass_tokens, share, step_rows
from tuning.data.chat import Example
from tuning.data.cleaning import Row
from tuning.errors import UserError

lengths = st.lists(st.integers(1, 300), min_size=1, max_size=24)


@given(lengths, st.integers(1, 1000), st.one_of(st.none(), st.integers(1, 5)), st.booleans())
def test_passes_hold_every_row_once_under_the_budget(lengths, budget, max_rows, padded):
    prefix = 0 if padded else min(lengths) - 1
    groups = micro_batches(lengths, budget, max_rows, prefix=prefix, padded=padded)
    assert sorted(place for group in groups for place in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) <= (max_rows or len(lengths))
        if len(group) > 1:
            assert pass_tokens([lengths[place] for place in group], prefix, padded) <= budget
    heads = [lengths[group[0]] for group in groups]
    assert heads == sorted(heads, reverse=True)
    assert heads[0] == max(lengths)


def test_neighbours_in_length_share_a_padded_pass():
    groups = micro_batches([10, 200, 12, 190, 11, 195], 600, padded=True)
    assert [sorted(group) for group in groups] == [[1, 3, 5], [0, 2, 4]]


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 50), st.integers(0, 3))
def test_steps_visit_every_row_once_per_epoch(rows, batch_size, first, seed):
    stream = [row for step in range(first + 2 * rows) for row in step_rows(step, batch_size, rows, seed)]
    for epoch in range(len(stream) // rows):
        assert sorted(stream[epoch * rows : (epoch + 1) * rows]) == list(range(rows))


@given(lengths, st.integers(1, 6))
def test_devices_share_a_step_without_overlap_and_evenly(lengths, ranks):
    rows = list(range(len(lengths)))
    shares = [share(rows, lengths, rank, ranks) for rank in range(ranks)]
    assert sorted(place for mine in shares for place in mine) == rows
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@given(st.lists(st.integers(0, 2), max_size=8), st.lists(st.lists(st.integers(0, 2), min_size=1), min_size=1))
def test_the_common_prefix_is_common_and_leaves_every_prompt_a_token(head, tails):
    examples = [Example(head + tail, [1]) for tail in tails]
    prefix = common_prefix(examples)
    assert prefix >= len(head)
    assert len({tuple(example.prompt_ids[:prefix]) for example in examples}) == 1
    assert all(len(example.prompt_ids) > prefix for example in examples)


def rows_of(answers):
    return [Row(str(index), f"question {index}", "", answer, "") for index, answer in enumerate(answers)]


def test_rows_without_a_label_are_counted(tiny_tokenizer):
    encoded = encode_rows(tiny_tokenizer, rows_of(["fine"] * 19 + [" "]), 512, "training")
    assert len(encoded.examples) == 19
    assert encoded.unlabelled == 1


def test_too_many_rows_without_a_label_are_refused(tiny_tokenizer):
    with pytest.raises(UserError, match="3 of 20 training rows have no answer token"):
        encode_rows(tiny_tokenizer, rows_of(["fine"] * 17 + [""] * 3), 512, "training")


def test_a_prompt_longer_than_the_limit_is_refused(tiny_tokenizer):
    with pytest.raises(UserError, match="--max-tokens"):
        encode_rows(tiny_tokenizer, rows_of(["fine"] * 4), 50, "training")
