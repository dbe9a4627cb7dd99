"""The packed pass against the model's own forward: same loss, same gradients, no row sees another."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tuning.rows import gradients, make_examples, peft_model
from tuning.kernels.dropout import Noise
from tuning.kernels.packed import pack, room_for, step_up
from tuning.presets import Config
from tuning.training.forward import PackedForward, PaddedForward, choose_forward, reference_loss


@pytest.fixture
def tuned(tiny_model_path):
    noise = Noise()
    return peft_model(tiny_model_path, Config(dropout=0.0, rank=4), noise), noise


def test_loss_and_gradients_equal_the_plain_peft_models(tuned, tiny_tokenizer):
    model, noise = tuned
    model.eval()
    examples = make_examples(tiny_tokenizer, 5, seed=1)
    expected = reference_loss(model, examples)
    losses, found = [], []
    for forward in (PackedForward(model, noise, 0), PackedForward(model, noise, 30), PaddedForward(model, noise, 0)):
        loss, gradient = gradients(model, lambda f=forward: f.loss(examples, range(5), key=3))
        losses.append(loss)
        found.append(gradient)
    assert losses == pytest.approx([expected] * 3, rel=1e-5)
    logits_gradient = gradients(model, lambda: plain_loss(model, examples))[1]
    assert logits_gradient.norm() > 1
    for gradient in found:
        assert distance(gradient, logits_gradient) < 1e-5


def test_the_grid_pass_of_other_devices_gives_the_same_gradient(tuned, tiny_tokenizer, monkeypatch):
    model, noise = tuned
    model.double().eval()
    examples = make_examples(tiny_tokenizer, 4, seed=7)
    forward = PackedForward(model, noise, 20)
    rows = gradients(model, lambda: forward.loss(examples, range(4), key=0))
    monkeypatch.setattr("tuning.kernels.attention.runs_by_rows", lambda query: False)
    grid = gradients(model, lambda: forward.loss(examples, range(4), key=0))
    assert rows[0] == pytest.approx(grid[0], rel=1e-6)
    torch.testing.assert_close(rows[1], grid[1], rtol=1e-5, atol=1e-5)


@settings(max_examples=15)
@given(
    lengths=st.lists(st.tuples(st.integers(2, 40), st.integers(1, 60)), min_size=1, max_size=9),
    prefix=st.integers(0, 40),
)
def test_padding_to_a_size_changes_neither_loss_nor_gradient(tiny_model_path, tiny_tokenizer, lengths, prefix):
    model = peft_model(tiny_model_path, Config(dropout=0.2, rank=4), Noise()).double().train()
    examples = make_examples(tiny_tokenizer, len(lengths), seed=7, lengths=lengths)
    forward = PackedForward(model, Noise(), prefix)
    room = room_for(examples, prefix)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tuning.kernels.attention.runs_by_rows", lambda query: False)
        plain, padded = (
            gradients(model, lambda r=r: forward._compute(pack(examples, range(len(examples)), prefix, 5, room=r)))
            for r in (None, room)
        )
    assert padded[0] == pytest.approx(plain[0], rel=1e-6)
    torch.testing.assert_close(padded[1], plain[1], rtol=1e-5, atol=1e-6)


@given(st.integers(0, 100_000))
def test_sizes_are_few_and_waste_little(count):
    size = step_up(count)
    assert size >= max(count, 64)
    assert size == 64 or size < 1.5 * count
    assert size & (size - 1) == 0 or (size // 3) & (size // 3 - 1) == 0


def test_probabilities_kept_and_computed_again_give_the_same_gradient(tuned, tiny_tokenizer, monkeypatch):
    model, noise = tuned
    model.eval()
    examples = make_examples(tiny_tokenizer, 5, seed=1)
    forward = PackedForward(model, noise, 20)
    found = {}
    for limit in (0, 60, 10_000):
        monkeypatch.setattr("tuning.kernels.attention.KEPT_KEYS", limit)
        found[limit] = gradients(model, lambda: forward.loss(examples, range(5), key=0))[1]
    assert all(torch.equal(gradient, found[0]) for gradient in found.values())


def distance(found, expected):
    """Relative to the expected vector's length."""
    return ((found - expected).norm() / expected.norm()).item()


def plain_loss(model, examples):
    total = 0
    for example in examples:
        ids = torch.tensor([example.prompt_ids + example.answer_ids])
        labels = ids.clone()
        labels[0, : len(example.prompt_ids)] = -100
        total = total + model(input_ids=ids, labels=labels).loss * len(example.answer_ids)
    return total


@given(lengths=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=5), data=st.data())
@settings(max_examples=20)
def test_any_rows_packed_or_padded_give_the_same_loss(tiny_model_path, tiny_tokenizer, lengths, data):
    noise = Noise()
    model = peft_model(tiny_model_path, Config(dropout=0.4, rank=4), noise).train()
    examples = make_examples(tiny_tokenizer, len(lengths), seed=2, lengths=lengths)
    prefix = data.draw(st.integers(0, min(len(example.prompt_ids) for example in examples) - 1))
    prefix = min(prefix, 40)
    packed = PackedForward(model, noise, prefix).loss(examples, range(len(examples)), key=5)
    padded = PaddedForward(model, noise, prefix).loss(examples, range(len(examples)), key=5)
    assert packed.item() == pytest.approx(padded.item(), rel=1e-4)


def test_no_row_sees_another(tuned, tiny_tokenizer):
    model, noise = tuned
    examples = make_examples(tiny_tokenizer, 4, seed=3)
    forward = PackedForward(model, noise, 20)
    alone = [forward.loss([example], [0], key=0).item() for example in examples]
    changed = dataclasses.replace(examples[0], answer_ids=[9] * len(examples[0].answer_ids))
    together = forward.loss(examples, range(4), key=0).item()
    disturbed = forward.loss([changed, *examples[1:]], range(4), key=0).item()
    assert together == pytest.approx(sum(alone), rel=1e-5)
    assert disturbed - forward.loss([changed], [0], key=0).item() == pytest.approx(sum(alone[1:]), rel=1e-4)


def test_checkpointing_changes_no_gradient_even_with_dropout(tiny_model_path, tiny_tokenizer):
    noise = Noise()
    model = peft_model(tiny_model_path, Config(dropout=0.3, rank=4), noise).train()
    examples = make_examples(tiny_tokenizer, 3, seed=4)
    for kind in (PackedForward, PaddedForward):
        forward = kind(model, noise, 10)
        plain = gradients(model, lambda f=forward: f.loss(examples, range(3), key=7))
        forward.checkpointing = True
        again = gradients(model, lambda f=forward: f.loss(examples, range(3), key=7))
        forward.checkpointing = False
        assert plain[0] == again[0]
        torch.testing.assert_close(plain[1], again[1])


def test_llama_gets_the_packed_pass_and_another_family_the_padded_one(tuned, tiny_tokenizer, monkeypatch):
    model, noise = tuned
    examples = make_examples(tiny_tokenizer, 3, seed=5)
    assert choose_forward(model.eval(), noise, examples, 10).name == "packed"
    monkeypatch.setattr(model.get_base_model().config, "model_type", "unknown")
    assert choose_forward(model.eval(), noise, examples, 10).name == "padded"


def test_a_packed_pass_that_disagrees_is_not_used(tuned, tiny_tokenizer, monkeypatch):
    model, noise = tuned
    examples = make_examples(tiny_tokenizer, 3, seed=5)
    with torch.no_grad():
        model.get_base_model().model.layers[0].input_layernorm.variance_epsilon = 0.5
    monkeypatch.setattr("tuning.kernels.llama.rotate", lambda x, cosine, sine: x)
    assert choose_forward(model.eval(), noise, examples, 10).name == "padded"


@pytest.mark.real
def test_the_packed_pass_gives_the_real_models_loss_and_gradients(smollm_path):
    from tuning.data import dataset
    from tuning.data.batches import encode_rows
    from tuning.models.weights import load_tokenizer

    noise = Noise()
    model = peft_model(smollm_path, Config(dropout=0.0), noise).eval()
    examples = encode_rows(load_tokenizer(smollm_path), dataset.load().train[:3], 512, "training").examples
    forward = choose_forward(model, noise, examples, 40)
    assert forward.name == "packed"
    found = gradients(model, lambda: forward.loss(examples, range(3), key=0))
    expected = gradients(model, lambda: plain_loss(model, examples))
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert distance(found[1], expected[1]) < 1e-4
