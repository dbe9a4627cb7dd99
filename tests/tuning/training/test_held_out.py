"""Held-out rows: chosen by their ids, capped apart, and never read with another row's prompt."""

from __future__ import annotations

import pytest
import torch

from tests.tuning.rows import gradients, make_examples, peft_model
from tuning.data.chat import Example
from tuning.data.cleaning import Row, row_id
from tuning.data.dataset import DataSet
from tuning.kernels.dropout import Noise
from tuning.kernels.packed import pack
from tuning.presets import Config
from tuning.training.forward import PackedForward, PaddedForward, reference_loss
from tuning.training.step import measured, open_session
from tuning.training.used_rows import held_out, held_out_words


def with_another_start(example):
    """The same example behind another prompt."""
    return Example([token + 1 if token > 10 else token for token in example.prompt_ids], example.answer_ids)


def test_a_held_out_row_is_read_with_its_own_prompt(tiny_model_path, tiny_tokenizer):
    from transformers import AutoModelForCausalLM

    train = make_examples(tiny_tokenizer, 4)
    held = [with_another_start(example) for example in make_examples(tiny_tokenizer, 5, seed=7)]
    config = Config(model=str(tiny_model_path), rank=4, dropout=0.0)
    session = open_session(AutoModelForCausalLM.from_pretrained(tiny_model_path), config, train)
    assert session.forward.name == "packed"
    expected = reference_loss(session.model, held) / sum(example.label_count for example in held)
    assert measured(session, held)["loss"] == pytest.approx(expected, rel=1e-4)


def test_rows_that_do_not_share_a_prefix_are_never_packed_with_it(tiny_tokenizer):
    first, second = make_examples(tiny_tokenizer, 2)
    with pytest.raises(ValueError, match="do not share their first 30 tokens"):
        pack([first, with_another_start(second)], range(2), 30, key=0)


def test_labels_of_several_turns_give_the_model_s_own_loss_in_both_passes(tiny_model_path, tiny_tokenizer):
    examples = []
    for example in make_examples(tiny_tokenizer, 4, seed=3):
        more = [7, 8, 9, 10]
        examples.append(example.followed_by(more, [11, 12, tiny_tokenizer.eos_token_id]))
    config = Config(rank=4, dropout=0.0)
    noise = Noise()
    model = peft_model(tiny_model_path, config, noise)
    expected = reference_loss(model, examples)
    forwards = [kind(model, noise, 20) for kind in (PackedForward, PaddedForward)]
    results = [
        gradients(model, lambda forward=forward: forward.loss(examples, range(4), key=1)) for forward in forwards
    ]
    for loss, _ in results:
        assert loss == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-3, atol=1e-4)


def data_of(rows):
    return DataSet("mine.jsonl", "", "", rows[:1], rows, rows[:3])


def test_held_out_rows_are_chosen_by_their_ids_and_capped_apart(tiny_tokenizer):
    rows = [Row(row_id(f"question {n}", ""), f"question {n}", "", "answer") for n in range(40)]
    config = Config(validation_rows=10, test_rows=2)
    chosen = held_out(tiny_tokenizer, data_of(rows), "validation", 10, config)
    turned = held_out(tiny_tokenizer, data_of(rows[::-1]), "validation", 10, config)
    assert set(chosen.ids) == set(turned.ids)
    assert set(chosen.ids) != {row.id for row in rows[:10]}
    again = held_out(tiny_tokenizer, data_of(rows), "validation", 3, config, before=chosen.ids)
    assert set(again.ids) == set(chosen.ids)
    words = held_out_words(data_of(rows), chosen, held_out(tiny_tokenizer, data_of(rows), "test", 2, config))
    assert "10 of 40 validation rows" in words
    assert "2 of 3 test rows" in words
