"""PiSSA, NEFTune and all-linear against the definitions of the libraries that others use."""

from __future__ import annotations

import json
import math

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.tuning.rows import gradients, make_examples
from tests.tuning.tiny_runs import interrupted, losses, new_run, of_kind, outcome
from tuning.errors import UserError
from tuning.kernels.dropout import Noise
from tuning.kernels.embedding_noise import uniform
from tuning.presets import Config
from tuning.training import worker
from tuning.training.adapter import pissa
from tuning.training.adapter.lora import attach, trainable
from tuning.training.parallel import Ranks
from tuning.training.step import accumulate, open_session


def loaded(path):
    return AutoModelForCausalLM.from_pretrained(path)


@pytest.mark.parametrize("rslora", [False, True])
def test_pissa_begins_as_pefts(tiny_model_path, rslora):
    from peft import LoraConfig, get_peft_model

    config = Config(rank=4, alpha=8.0, rslora=rslora, init="pissa")
    ours = attach(loaded(tiny_model_path), config, Noise())
    settings = LoraConfig(
        r=4, lora_alpha=8, use_rslora=rslora, init_lora_weights="pissa", target_modules=list(config.target_modules)
    )
    theirs = get_peft_model(loaded(tiny_model_path), settings)
    ids = torch.arange(20).unsqueeze(0)
    for (name, one), (other_name, other) in zip(pissa.layers(ours), pissa.layers(theirs), strict=True):
        assert name == other_name
        assert torch.allclose(one.get_base_layer().weight, other.get_base_layer().weight, atol=1e-5), name
        products = [layer.lora_B["default"].weight @ layer.lora_A["default"].weight for layer in (one, other)]
        assert torch.allclose(*products, atol=1e-5), name
    with torch.no_grad():
        assert torch.allclose(ours.eval()(ids).logits, loaded(tiny_model_path)(ids).logits, atol=1e-4)


@pytest.mark.parametrize("rslora", [False, True])
def test_a_pissa_run_writes_an_ordinary_adapter_and_goes_on_exactly(settings, monkeypatch, tiny_model_path, rslora):
    from peft import PeftModel

    chosen = settings | {"init": "pissa", "alpha": 8.0, "rslora": rslora, "max_steps": 4, "learning_rate": 1e-2}
    whole = new_run(chosen)
    assert worker.work(whole, Ranks(), quiet=True) == "finished"
    result = of_kind(whole.history(), "result")[0]
    assert result["test_loss_before"] != result["test_loss_after"]
    plain = new_run(settings | {"max_steps": 1})
    worker.work(plain, Ranks(), quiet=True)
    before = of_kind(plain.history(), "result")[0]["test_loss_before"]
    assert result["test_loss_before"] == pytest.approx(before, rel=1e-4)  # it began as the base

    killed = interrupted(chosen, 3, monkeypatch)
    monkeypatch.setattr(pissa, "main_part", lambda *_: pytest.fail("what it began with is kept"))
    assert worker.work(killed, Ranks(), quiet=True) == "finished"
    assert losses(killed.history()) == losses(whole.history())
    assert outcome(killed) == outcome(whole)

    described = json.loads((whole.adapter / "adapter_config.json").read_text())
    assert (described["r"], described["init_lora_weights"]) == (8, True)
    told = of_kind(whole.history(), "validation")
    best = min(event["validation_loss"] for event in told)
    tuned = PeftModel.from_pretrained(loaded(tiny_model_path), whole.adapter).eval()
    assert next(iter(tuned.peft_config.values())).r == 8
    again = new_run(settings | {"from_adapter": str(whole.adapter), "max_steps": 1})
    worker.work(again, Ranks(), quiet=True)
    begun = of_kind(again.history(), "validation")[0]["validation_loss"]
    assert begun == pytest.approx(best, rel=1e-4)


def test_pissa_of_more_directions_than_a_weight_has_is_refused(tiny_model_path):
    with pytest.raises(UserError, match="16 directions, fewer than rank 20"):
        attach(loaded(tiny_model_path), Config(rank=20, init="pissa"), Noise())


@pytest.mark.parametrize("other", [{"dora": True}, {"quantize": "4bit"}, {"from_adapter": "mine"}])
def test_pissa_refuses_what_it_cannot_begin_in(other):
    with pytest.raises(UserError, match="does not go with --"):
        Config(init="pissa", **other)


def noised(path, examples, forward, monkeypatch, **settings):
    if forward == "padded":
        monkeypatch.setattr("tuning.kernels.llama.supported", lambda model: False)
    config = Config(rank=4, neftune=5.0, batch_size=6, dropout=0.0, **settings)
    session = open_session(loaded(path), config, examples, say=[].append)
    assert session.forward.name == forward
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, factor in trainable(session.model).items():
            if "lora_B" in name:
                factor.copy_(torch.randn(factor.shape, generator=generator) * 0.3)
    session.model.train()
    sums, _ = accumulate(session, examples, range(len(examples)), key=5)
    gradient = torch.cat([factor.grad.flatten() for factor in trainable(session.model).values()])
    return session, sums[0], gradient


def test_noise_is_the_same_however_a_step_is_cut(tiny_model_path, tiny_tokenizer, monkeypatch):
    examples = make_examples(tiny_tokenizer, 6)
    found = [
        noised(tiny_model_path, examples, forward, monkeypatch, micro_batch_rows=rows)
        for forward, rows in (("packed", 6), ("packed", 2), ("padded", 3))
    ]
    for _, loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][1], rel=1e-5)
        assert (gradient - found[0][2]).norm() < 1e-5 * found[0][2].norm()
    session = found[0][0]
    session.model.eval()
    still = gradients(session.model, lambda: session.forward.loss(examples, range(6), 5))
    assert abs(still[0] - found[0][1]) > 1e-3  # none of it while measuring


def test_noise_has_the_size_and_the_shape_of_the_paper(tiny_model_path, tiny_tokenizer, monkeypatch):
    """Uniform in [-1, 1] times alpha / sqrt(L d), as in transformers' own hook on a batch of one length."""
    (example,) = make_examples(tiny_tokenizer, 1, lengths=[(20, 30)])
    session, *_ = noised(tiny_model_path, [example] * 2, "packed", monkeypatch)
    embeddings = session.model.get_input_embeddings()
    ids = torch.tensor(example.prompt_ids + example.answer_ids)
    session.forward.loss([example] * 2, range(2), key=9)
    twice = torch.cat([ids, ids])
    noise = (embeddings.train()(twice) - embeddings.eval()(twice)) / (5.0 / math.sqrt(len(example) * 32))
    assert noise.abs().max() <= 1 + 1e-4
    assert noise.mean().abs() < 0.05
    assert noise.std() == pytest.approx(1 / math.sqrt(3), rel=0.05)
    assert not torch.allclose(*noise.split(len(example)))  # each example has its own


def test_uniform_numbers_fill_their_range():
    found = uniform(torch.arange(2000), 50).flatten()
    assert found.min() >= -1
    assert found.max() <= 1
    counts = torch.histc(found, 20, -1, 1)
    assert ((counts - 5000).abs() < 400).all()


def test_all_linear_is_what_peft_takes(tiny_model_path):
    from peft import LoraConfig, get_peft_model

    theirs = get_peft_model(loaded(tiny_model_path), LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"))
    ours = attach(loaded(tiny_model_path), Config(target_modules=("all-linear",)), Noise())
    assert {name for name, _ in pissa.layers(ours)} == {name for name, _ in pissa.layers(theirs)}
    assert any(name.endswith("down_proj") for name, _ in pissa.layers(ours))
