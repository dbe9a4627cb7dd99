"""Training beyond Llama: loss and gradients of other families equal transformers' own, whatever they do to logits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.conftest import build_tokenizer
from tests.tuning.rows import encoded
from tuning.errors import UserError
from tuning.presets import Config
from tuning.training.adapter.lora import trainable
from tuning.training.step import open_session, run_steps

SIZES = {
    "vocab_size": 260,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "pad_token_id": 3,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = SIZES | {"num_key_value_heads": 2}
GPT = {"vocab_size": 260, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 1024}
FAMILIES = {
    "gemma2": ("Gemma2", GROUPED | {"head_dim": 8, "final_logit_softcapping": 0.5, "initializer_range": 0.3}),
    "gemma3_text": ("Gemma3", GROUPED | {"head_dim": 8}),
    "granite": ("Granite", GROUPED | {"logits_scaling": 4.0}),
    "cohere": ("Cohere", GROUPED | {"logit_scale": 0.25}),
    "phi": ("Phi", SIZES),
    "phi3": ("Phi3", GROUPED),
    "qwen3": ("Qwen3", GROUPED | {"head_dim": 8}),
    "gpt2": ("GPT2", GPT),
    "opt": ("OPT", SIZES | {"ffn_dim": 48, "word_embed_proj_dim": 16, "max_position_embeddings": 1024}),
    "bloom": ("Bloom", {"vocab_size": 260, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "mixtral": ("Mixtral", GROUPED | {"num_local_experts": 4}),
    "mamba": ("Mamba", {"vocab_size": 260, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}),
}
OWN_NAMES = {"phi3": ("o_proj", "qkv_proj"), "gpt2": ("c_attn", "c_proj"), "mamba": ("in_proj", "x_proj")}
SETTINGS = Config(model="x", max_steps=2, batch_size=4, dropout=0.0, rank=4, learning_rate=1e-2, warmup_steps=0)


@pytest.fixture(scope="module")
def examples():
    tokenizer = build_tokenizer(pad_is_end=False)
    return [encoded(tokenizer, f"q{n}", f"answer {n} " * (n + 1)) for n in range(4)]


def random_model(family: str):
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **FAMILIES[family][1])).eval()


def own_gradients(model, examples):
    """Summed loss and gradients by transformers' own labels, row by row."""
    total = 0.0
    for example in examples:
        ids = torch.tensor([example.prompt_ids + example.answer_ids])
        labels = ids.clone()
        labels[0, : len(example.prompt_ids)] = -100
        loss = model(input_ids=ids, labels=labels, use_cache=False).loss * len(example.answer_ids)
        loss.backward()
        total += loss.item()
    gradients = {name: factor.grad.clone() for name, factor in trainable(model).items()}
    model.zero_grad()
    return total, gradients


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_are_those_of_transformers(family, examples):
    said: list[str] = []
    session = open_session(random_model(family), SETTINGS, examples, say=said.append)
    with torch.no_grad():
        for name, factor in trainable(session.model).items():
            if "lora_B" in name:
                factor.normal_(std=0.05)
    session.model.train()
    expected, gradients = own_gradients(session.model, examples)
    loss = session.forward.loss(examples, range(len(examples)), key=0)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    for name, factor in trainable(session.model).items():
        assert torch.allclose(factor.grad, gradients[name], atol=1e-4 * gradients[name].abs().max().item()), name
        assert factor.grad.abs().max() > 0, name
    session.model.zero_grad()
    assert len(list(run_steps(session, 2))) == 2
    if family in OWN_NAMES:
        assert session.config.target_modules == OWN_NAMES[family]
        assert OWN_NAMES[family][0] in said[0]


def test_a_family_that_does_something_else_to_its_logits_trains_on_its_own_logits(examples, monkeypatch):
    monkeypatch.setattr("tuning.training.forward.CAPS", ())
    session = open_session(random_model("gemma2"), SETTINGS, examples)
    assert session.forward.name == "padded, own logits"
    expected, gradients = own_gradients(session.model, examples)
    loss = session.forward.loss(examples, range(len(examples)), key=0)
    loss.backward()
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    for name, factor in trainable(session.model).items():
        assert torch.allclose(factor.grad, gradients[name], atol=1e-5), name


def test_all_linear_takes_every_linear_layer_but_the_head(examples):
    session = open_session(random_model("gpt2"), replace(SETTINGS, target_modules=("all-linear",)), examples)
    assert session.config.target_modules == ("c_attn", "c_fc", "c_proj")


def test_a_layer_that_the_model_lacks_is_named(examples):
    with pytest.raises(UserError, match=r"c_atn.*did you mean 'c_attn'"):
        open_session(random_model("gpt2"), replace(SETTINGS, target_modules=("c_atn",)), examples)
