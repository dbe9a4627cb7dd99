"""Which decoder answers: never one that computes something else, and always with its reason."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from eval_prompts.decoding.choice import make_backend
from eval_prompts.decoding.general_decoder import GeneralDecoder
from eval_prompts.decoding.layers.families import NotUnderstood, plan_of
from eval_prompts.decoding.load_check import error, largest_error, reference_logits
from eval_prompts.decoding.pair_decoder import PairDecoder
from eval_prompts.models.pair import load_pair
from tests.eval_prompts.decoding.tiny_families import COMMON_STEP, write_model
from tuning.errors import UserError
from tuning.models.weights import resolve


@pytest.fixture
def own_pair(tmp_path, tiny_tokenizer, cpu):
    """A Llama of the test's own, to change."""
    path = write_model(COMMON_STEP["llama"], tmp_path, tiny_tokenizer)
    return load_pair(resolve(str(path)), cpu, None)


def test_a_fast_decoder_that_is_wrong_is_found_out_and_the_general_one_answers(own_pair, monkeypatch):
    monkeypatch.setattr(PairDecoder, "_angles", wrong_angles(PairDecoder._angles))
    backend = make_backend(own_pair)
    assert isinstance(backend, GeneralDecoder)
    assert any("does not compute what this model does" in note for note in backend.notes)


def wrong_angles(right):
    """Positions from one on: a slip that changes nothing at the first token and little later."""

    def angles(self, feed):
        feed.positions[:] = [position + (position > 3) for position in feed.positions]
        return right(self, feed)

    return angles


def test_a_model_whose_steps_differ_from_its_pass_is_refused_by_name(own_pair, monkeypatch):
    forward = type(own_pair.base).forward

    def forgetful(self, *args, past_key_values=None, cache=None, **kwargs):
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(own_pair.base), "forward", forgetful)
    monkeypatch.setattr("eval_prompts.decoding.layers.families.FAMILIES", {})
    with pytest.raises(UserError, match=r"LlamaForCausalLM cannot be asked here") as refusal:
        make_backend(own_pair)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("known", [True, False])
def test_weights_that_are_no_numbers_are_told_from_a_decoder_that_is_off(own_pair, monkeypatch, known):
    if not known:
        monkeypatch.setattr("eval_prompts.decoding.layers.families.FAMILIES", {})
    own_pair.base.model.norm.weight[3] = float("nan")
    with pytest.raises(UserError, match=r"the base model computes is not a number .*too large for float32"):
        make_backend(own_pair)


def test_a_part_that_is_not_understood_is_named(own_pair):
    own_pair.base.model.layers[0].self_attn.sinks = nn.Parameter(torch.zeros(4))
    with pytest.raises(NotUnderstood, match="sinks"):
        plan_of(own_pair.base)
    backend = make_backend(own_pair)
    assert isinstance(backend, GeneralDecoder)
    assert "sinks" in backend.notes[0]


def test_another_kind_of_norm_is_not_taken_for_an_rms_norm(own_pair):
    layer = nn.LayerNorm(32)
    own_pair.base.model.layers[1].input_layernorm = layer
    assert isinstance(make_backend(own_pair), GeneralDecoder)


def test_a_class_of_the_same_name_from_elsewhere_is_not_known(own_pair):
    stranger = type("LlamaForCausalLM", (type(own_pair.base),), {"__module__": "somewhere"})
    own_pair.base.__class__ = stranger
    with pytest.raises(NotUnderstood, match="LlamaForCausalLM"):
        plan_of(own_pair.base)


def test_sides_that_are_built_differently_are_answered_each_by_its_own_model(own_pair, tmp_path, tiny_tokenizer, cpu):
    kind, options = COMMON_STEP["llama"]
    path = write_model((kind, options | {"num_hidden_layers": 3}), tmp_path / "other", tiny_tokenizer)
    other = load_pair(resolve(str(path)), cpu, None).base
    pair = type(own_pair)(own_pair.base, other, own_pair.tokenizer, own_pair.device, None, base_is_base=True)
    backend = make_backend(pair)
    assert isinstance(backend, GeneralDecoder)
    assert "two sides are built differently" in backend.notes[0]


def test_sides_with_norms_embeddings_and_vocabularies_of_their_own_share_steps(own_pair, tmp_path, tiny_tokenizer, cpu):
    other = load_pair(resolve(str(own_pair.base.name_or_path)), cpu, None).base
    other.resize_token_embeddings(272)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    pair = type(own_pair)(own_pair.base, other, own_pair.tokenizer, own_pair.device, None, base_is_base=True)
    backend = make_backend(pair)
    assert isinstance(backend, PairDecoder), backend.notes
    assert largest_error(backend, reference_logits(pair)) < 1e-4
    assert largest_error(GeneralDecoder(pair), reference_logits(pair)) < 1e-4


def test_the_check_counts_what_changes_choices_and_leaves_nothing_behind(tiny_pair):
    logits = torch.randn(50)
    assert error(logits + 3, logits) < 1e-5
    assert error(logits.flip(0), logits) > 0.5
    assert error(torch.full((50,), torch.nan), logits) == float("inf")
    backend = PairDecoder(tiny_pair)
    assert largest_error(backend, reference_logits(tiny_pair)) < 1e-4
    assert not backend._lanes


def test_int8_is_refused_for_the_general_decoder_with_the_reason(own_pair, monkeypatch):
    monkeypatch.setattr("eval_prompts.decoding.layers.families.FAMILIES", {})
    with pytest.raises(UserError, match=r"does not know LlamaForCausalLM"):
        make_backend(own_pair, "int8")


def test_no_table_of_angles_is_kept_for_long_contexts(tmp_path, tiny_tokenizer, cpu):
    kind, options = COMMON_STEP["llama"]
    path = write_model((kind, options | {"max_position_embeddings": 131_072}), tmp_path, tiny_tokenizer)
    backend = PairDecoder(load_pair(resolve(str(path)), cpu, None))
    assert backend.context == 131_072
    held = [value for value in vars(backend).values() if isinstance(value, torch.Tensor)]
    assert all(tensor.numel() < 1000 for tensor in held)
    assert all(rotary.frequencies.numel() == 4 for rotary in backend._rotaries.values())
