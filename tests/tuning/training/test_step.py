"""One step gives one gradient, however it is cut, recomputed, or repeated."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tests.tuning.rows import make_examples
from tuning.errors import UserError
from tuning.kernels.dropout import KeyedDropout, Noise, token_keys
from tuning.kernels.loss import label_loss
from tuning.presets import Config
from tuning.training import step as step_module
from tuning.training.adapter.lora import trainable
from tuning.training.optimizer import learning_rate
from tuning.training.step import accumulate, measured, open_session, run_steps, train_step, try_longest


def session_for(path, tokenizer, said=None, **settings):
    from transformers import AutoModelForCausalLM

    config = Config(**{"rank": 4, "batch_size": 16, "warmup_steps": 0, "dropout": 0.2, **settings})
    base = AutoModelForCausalLM.from_pretrained(path)
    session = open_session(
        base, config, make_examples(tokenizer, 40, seed=8), say=([] if said is None else said).append
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, factor in trainable(session.model).items():
            if "lora_B" in name:
                factor.copy_(torch.randn(factor.shape, generator=generator) * 0.1)
    return session


def gradient(session):
    return torch.cat([factor.grad.flatten() for factor in trainable(session.model).values()])


def summed(session, rows=16):
    session.model.train()
    (loss,), _ = accumulate(session, session.examples[:rows], range(rows), key=77)
    return loss, gradient(session)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("forward", ["packed", "padded"])
def test_one_pass_of_16_is_four_of_4_is_sixteen_of_1(tiny_model_path, tiny_tokenizer, dropout, forward, monkeypatch):
    if forward == "padded":
        monkeypatch.setattr("tuning.kernels.llama.supported", lambda model: False)
    found = []
    for rows in (16, 4, 1):
        session = session_for(tiny_model_path, tiny_tokenizer, micro_batch_rows=rows, dropout=dropout)
        assert session.forward.name == forward
        found.append((len(step_module.passes(session, [40] * 16)), *summed(session)))
    assert [passes for passes, *_ in found] == [1, 4, 16]
    for _, loss, vector in found[1:]:
        assert loss == pytest.approx(found[0][1], rel=1e-5)
        torch.testing.assert_close(vector, found[0][2], rtol=1e-4, atol=1e-4)


def test_the_update_sees_the_mean_over_all_trained_tokens_of_the_step(tiny_model_path, tiny_tokenizer):
    settings = {"batch_size": 7, "dropout": 0.0, "clip_norm": 0.0}
    session = session_for(tiny_model_path, tiny_tokenizer, micro_batch_rows=3, **settings)
    rows = [session.examples[row] for row in step_module.step_rows(0, 7, 40, session.config.seed)]
    trained = sum(len(example.answer_ids) for example in rows)
    session.model.train()
    (loss_sum,), _ = accumulate(session, rows, range(7), key=0)
    expected = gradient(session) / trained
    seen = []
    session.optimizer.step = lambda: seen.append(gradient(session))
    stats = train_step(session, 0)
    torch.testing.assert_close(seen[0], expected)
    assert stats.loss == pytest.approx(loss_sum / trained)
    assert stats.grad_norm == pytest.approx(expected.norm().item())
    assert (stats.trained_tokens, stats.tokens) == (trained, sum(map(len, rows)))
    assert stats.computed_tokens < stats.tokens, "the common prefix is computed once per pass"


class Scarce:
    """A memory that holds so many computed tokens, fewer without recomputation, and counts its refusals."""

    def __init__(self, forward, tokens, recomputed_tokens=0):
        self.forward, self.tokens, self.recomputed = forward, tokens, recomputed_tokens
        self.refused = 0
        self.plain = forward.loss
        forward.loss = self.loss

    def loss(self, examples, places, key):
        room = max(self.tokens, self.recomputed if self.forward.checkpointing else 0)
        if step_module.computed_tokens(self.forward, examples) > room:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self.plain(examples, places, key)


def test_out_of_memory_halves_the_passes_and_keeps_the_gradient(tiny_model_path, tiny_tokenizer):
    expected = summed(session_for(tiny_model_path, tiny_tokenizer))
    said = []
    session = session_for(tiny_model_path, tiny_tokenizer, said)
    memory = Scarce(session.forward, tokens=300)
    found = summed(session)
    assert memory.refused >= 1
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-4, atol=1e-4)
    assert "Out of memory with 16 examples" in said[0]
    before = memory.refused
    summed(session)
    assert memory.refused == before, "the budget that worked is remembered"


def test_out_of_memory_with_one_example_turns_checkpointing_on(tiny_model_path, tiny_tokenizer):
    expected = summed(session_for(tiny_model_path, tiny_tokenizer))
    said = []
    session = session_for(tiny_model_path, tiny_tokenizer, said)
    Scarce(session.forward, tokens=50, recomputed_tokens=400)
    found = summed(session)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-4, atol=1e-4)
    assert session.forward.checkpointing
    assert "gradient checkpointing" in said[-1]


def test_when_one_example_never_fits_the_message_names_three_settings(tiny_model_path, tiny_tokenizer):
    session = session_for(tiny_model_path, tiny_tokenizer)
    Scarce(session.forward, tokens=10)
    with pytest.raises(UserError, match=r"--max-tokens.*--quantize 4bit.*--model"):
        try_longest(session)


def test_out_of_memory_while_validating_changes_no_loss(tiny_model_path, tiny_tokenizer):
    session = session_for(tiny_model_path, tiny_tokenizer)
    expected = measured(session, session.examples)["loss"]
    Scarce(session.forward, tokens=200)
    assert measured(session, session.examples)["loss"] == pytest.approx(expected, rel=1e-5)


def test_other_errors_are_not_swallowed(tiny_model_path, tiny_tokenizer):
    session = session_for(tiny_model_path, tiny_tokenizer)

    def broken(*arguments):
        raise RuntimeError("shape mismatch")

    session.forward.loss = broken
    with pytest.raises(RuntimeError, match="shape mismatch"):
        train_step(session, 0)


def test_the_longest_rows_are_tried_first_and_leave_no_trace(tiny_model_path, tiny_tokenizer):
    session = session_for(tiny_model_path, tiny_tokenizer, micro_batch_rows=4)
    tried = []
    plain = session.forward.loss
    session.forward.loss = lambda examples, *rest: tried.extend(map(len, examples)) or plain(examples, *rest)
    before = {name: factor.clone() for name, factor in trainable(session.model).items()}
    try_longest(session)
    assert tried == sorted(session.lengths, reverse=True)[:4]
    for name, factor in trainable(session.model).items():
        assert factor.grad is None
        assert torch.equal(factor, before[name])


def test_a_loss_that_is_no_number_ends_the_run_before_the_update(tiny_model_path, tiny_tokenizer):
    session = session_for(tiny_model_path, tiny_tokenizer)
    plain = session.forward.loss
    session.forward.loss = lambda *arguments: plain(*arguments) * math.nan
    before = [factor.clone() for factor in trainable(session.model).values()]
    with pytest.raises(UserError, match="loss of step 1 is not a finite number: lower --learning-rate"):
        train_step(session, 0)
    assert all(map(torch.equal, before, trainable(session.model).values()))


def test_training_lowers_the_loss(tiny_model_path, tiny_tokenizer):
    session = session_for(tiny_model_path, tiny_tokenizer, learning_rate=1e-2, schedule="constant")
    before = measured(session, session.examples)["loss"]
    stats = list(run_steps(session, 6))
    assert measured(session, session.examples)["loss"] < before - 0.1
    assert [each.step for each in stats] == [1, 2, 3, 4, 5, 6]


def test_label_loss_is_cross_entropy_in_any_chunk_size(monkeypatch):
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(23, 8, generator=generator, requires_grad=True)
    head = torch.randn(50, 8, generator=generator)
    labels = torch.randint(50, (23,), generator=generator)
    expected = nn.functional.cross_entropy(hidden @ head.T, labels, reduction="sum")
    wanted = torch.autograd.grad(expected, hidden)[0]
    for rows in (1, 7, 100):
        monkeypatch.setattr("tuning.kernels.loss.CHUNK_BYTES", rows * 4 * 50)
        loss = label_loss(hidden, head, labels)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(torch.autograd.grad(loss, hidden)[0], wanted)


def test_dropout_drops_its_rate_keeps_the_mean_and_differs_by_token_and_layer():
    noise = Noise()
    rows, positions = torch.meshgrid(torch.arange(8), torch.arange(64), indexing="ij")
    noise.keys = token_keys(5, rows, positions)
    x = torch.ones(8, 64, 576)
    kept = KeyedDropout(0.25, 3, noise).train()(x)
    assert (kept == 0).float().mean().item() == pytest.approx(0.25, abs=0.005)
    assert kept.mean().item() == pytest.approx(1, abs=0.005)
    per_feature = (kept == 0).float().mean((0, 1))
    assert per_feature.std().item() == pytest.approx((0.25 * 0.75 / 512) ** 0.5, rel=0.15)
    other = KeyedDropout(0.25, 4, noise).train()(x)
    agreement = ((kept == 0) == (other == 0)).float().mean().item()
    assert agreement == pytest.approx(0.25**2 + 0.75**2, abs=0.01)
    assert torch.equal(kept, KeyedDropout(0.25, 3, noise).train()(x))
    assert torch.equal(KeyedDropout(0.25, 3, noise).eval()(x), x)


@pytest.mark.parametrize(("schedule", "halfway"), [("cosine", 0.5), ("linear", 0.5), ("constant", 1.0)])
def test_the_rate_warms_up_and_follows_its_schedule(schedule, halfway):
    config = Config(learning_rate=1.0, warmup_steps=4, max_steps=24, schedule=schedule)
    rates = [learning_rate(config, step) for step in range(24)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[14] == pytest.approx(halfway)
    assert rates[-1] > 0
    assert rates[4:] == sorted(rates[4:], reverse=True)
