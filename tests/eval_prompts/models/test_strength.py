"""Strengths against peft with a scaled alpha, on pairs that keep factors and on pairs that are merged."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from eval_prompts.answers import Settings
from eval_prompts.decoding.layers.families import NotUnderstood
from eval_prompts.models.pair import load_pair, with_adapter
from eval_prompts.models.strength import Strength, layer_groups, scaled
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.local import LocalLoader
from eval_prompts.stream import Stream
from tests.eval_prompts.models.random_adapter import random_adapter
from tuning.errors import UserError
from tuning.exports.strength import export_at_strength
from tuning.models.weights import resolve

IDS = torch.tensor([[5, 9, 77, 130, 41, 8]])


def logits(model):
    with torch.inference_mode():
        return model(input_ids=IDS).logits.float()


def peft_at(model_path, adapter_path, strength, tmp_path, dtype=torch.float32):
    """peft's own merge of the adapter with its alpha scaled."""
    folder = tmp_path / f"peft-{strength}"
    shutil.copytree(adapter_path, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["lora_alpha"] = config["lora_alpha"] * strength
    (folder / "adapter_config.json").write_text(json.dumps(config))
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model_path), folder).merge_and_unload()
    return model.to(dtype).eval()


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.5, 2.0])
def test_a_strength_is_pefts_merge_with_alpha_scaled(tiny_pair, tiny_model_path, tiny_adapter_path, tmp_path, strength):
    ours = scaled(tiny_pair, Strength(strength))
    theirs = peft_at(tiny_model_path, tiny_adapter_path, strength, tmp_path)
    torch.testing.assert_close(logits(ours.tuned), logits(theirs), rtol=1e-4, atol=1e-4)


def test_strength_0_is_the_base_and_1_the_very_pair(tiny_pair):
    none = scaled(tiny_pair, Strength(0.0))
    assert logits(none.tuned).equal(logits(tiny_pair.base))
    assert scaled(tiny_pair, Strength(1.0)) is tiny_pair
    half = scaled(tiny_pair, Strength(0.5))
    assert logits(tiny_pair.tuned).equal(logits(with_strength_untouched(tiny_pair)))
    assert (
        half.adapter.fingerprint != tiny_pair.adapter.fingerprint
    )  # its votes are not those of the adapter as trained
    assert half.adapter.name.endswith("at strength 0.5")


def with_strength_untouched(pair):
    scaled(pair, Strength(1.7))
    return pair.tuned


def test_switches_leave_out_layers_and_kinds(tiny_pair):
    every = frozenset({"q_proj", "k_proj", "v_proj", "o_proj"})
    off = scaled(tiny_pair, Strength(1.0, kinds_off=every))
    assert logits(off.tuned).equal(logits(tiny_pair.base))
    one = scaled(tiny_pair, Strength(1.0, layers_off=frozenset({0})))
    other = scaled(tiny_pair, Strength(1.0, layers_off=frozenset({1})))
    assert not logits(one.tuned).equal(logits(other.tuned))
    assert len({one.adapter.fingerprint, other.adapter.fingerprint, tiny_pair.adapter.fingerprint}) == 3
    assert layer_groups([f"model.layers.{number}.mlp" for number in range(30)]) == [(0, 7), (8, 15), (16, 23), (24, 29)]


def test_merged_weights_in_bf16_are_pefts_before_they_are_rounded(
    tiny_pair, tiny_weights, tiny_model_path, tiny_adapter_path, tmp_path
):
    base = AutoModelForCausalLM.from_pretrained(tiny_model_path).to(torch.bfloat16).eval().requires_grad_(False)
    pair = with_adapter(replace(tiny_pair.alone, base=base), tiny_weights, str(tiny_adapter_path))
    theirs = peft_at(tiny_model_path, tiny_adapter_path, 1.5, tmp_path)  # fp32, of weights that bf16 has rounded below
    ours = scaled(pair, Strength(1.5))
    name = "model.layers.0.self_attn.q_proj"
    start = base.get_submodule(name).weight.float()
    change = tiny_pair.tuned.get_submodule(name).change
    expected = (start + 1.5 * (change.up @ change.down)).to(torch.bfloat16)
    assert ours.tuned.get_submodule(name).weight.equal(expected)
    assert (logits(ours.tuned) - logits(theirs)).abs().mean() < 0.1
    none = scaled(pair, Strength(0.0))
    assert none.tuned.get_submodule(name).weight is base.get_submodule(name).weight


def test_what_is_no_pair_of_factors_is_interpolated_and_that_is_said(tiny_weights, tiny_model_path, cpu, tmp_path):
    torch.manual_seed(3)
    config = LoraConfig(
        r=2, target_modules=["q_proj"], modules_to_save=["lm_head"], use_dora=True, task_type="CAUSAL_LM"
    )
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model_path), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path / "whole")
    pair = load_pair(tiny_weights, cpu, str(tmp_path / "whole"))
    half = scaled(pair, Strength(0.5))
    weights = [model.get_submodule("lm_head").weight for model in (pair.base, half.tuned, pair.tuned)]
    torch.testing.assert_close(weights[1], (weights[0] + weights[2]) / 2)
    told = " ".join(half.adapter.notes)
    assert "DoRA" in told
    assert "lm_head" in told
    assert logits(scaled(pair, Strength(0.0)).tuned).equal(logits(pair.base))
    with pytest.raises(UserError, match="does not scale"):
        export_at_strength(tmp_path / "whole", tmp_path / "kept", 0.5)


@pytest.mark.parametrize("wrong", [-0.1, 2.1, "1", None, True, float("nan")])
def test_a_strength_out_of_range_is_refused(wrong):
    with pytest.raises(UserError, match="from 0"):
        Strength.of(wrong)


def test_the_next_answer_uses_it_and_it_is_kept_in_alpha(tiny_model_path, tiny_adapter_path, tmp_path):
    with Lens(LocalLoader(str(tiny_model_path), str(tiny_adapter_path), device="cpu")) as lens:
        lens.start()
        lens.wait_ready()
        trained = [answer.text for answer in lens.ask(["Why?"], Settings(12)).result()]
        lens.set_strength(Strength(0.0))
        base, tuned = (answer.text for answer in lens.ask(["Why?"], Settings(12)).result())
        assert base == tuned == trained[0]
        lens.set_strength(Strength.of(1.5, [1]))
        strong = [answer.text for answer in lens.ask(["Why?"], Settings(12)).result()]
        kept = export_at_strength(tiny_adapter_path, tmp_path / "kept", 1.5, lambda module: ".layers.1." in module)
        lens.reload(str(kept))
        assert [answer.text for answer in lens.ask(["Why?"], Settings(12)).result()] == strong
        lens.reload(str(tiny_adapter_path))
        assert [answer.text for answer in lens.ask(["Why?"], Settings(12)).result()] == trained
    assert json.loads((kept / "adapter_config.json").read_text())["lora_alpha"] == 12
    with pytest.raises(UserError, match="exists already"):
        export_at_strength(tiny_adapter_path, kept, 1.5)
    with pytest.raises(UserError, match="nothing to keep"):
        export_at_strength(tiny_adapter_path, tmp_path / "none", 0)


DIALS = (0.0, 0.5, 1.0, 1.5)


@pytest.mark.parametrize("kind", ["factors", "merged", "general", "dialled"])
def test_strengths_of_one_batch_answer_as_each_does_alone(
    kind, tiny_model_path, tiny_adapter_path, tmp_path, monkeypatch
):
    adapter = tiny_adapter_path
    if kind == "merged":
        adapter = random_adapter(tiny_model_path, tmp_path / "dora", ["q_proj", "v_proj"], use_dora=True)
    if kind == "general":
        monkeypatch.setattr("eval_prompts.decoding.choice.shared_plan", refuse)
    loader = LocalLoader(str(tiny_model_path), str(adapter), device="cpu", precision="fp32")
    with Lens(loader) as lens:
        lens.start()
        lens.wait_ready()
        if kind == "dialled":  # strengths are those of the adapter as trained, whatever it is dialled to
            lens.set_strength(Strength(0.3))
        assert lens.served.engine.backend.scales == (kind == "factors")
        beside = lens.ask(["Who else asks?"], Settings(24))
        stream = lens.ask(["Why?", "How so?"], Settings(12), strengths=DIALS)
        together = stream.result()
        usual = [answer.text for answer in beside.result()]
        assert [(answer.index, answer.strength) for answer in together] == [(n, s) for n in (0, 1) for s in DIALS]
        for strength in DIALS:
            lens.set_strength(Strength(strength))
            alone = [answer.text for answer in lens.ask(["Why?", "How so?"], Settings(12), ("tuned",)).result()]
            assert [answer.text for answer in together if answer.strength == strength] == alone, strength
        lens.set_strength(Strength(0.3 if kind == "dialled" else 1.0))
        assert [answer.text for answer in lens.ask(["Who else asks?"], Settings(24)).result()] == usual
        assert len({answer.text for answer in together}) > 2
        assert stream.apart == (kind != "factors")
        assert stream.decoders == {}, "who remembers the answers holds models as well"


def refuse(pair):
    raise NotUnderstood("of the test")


def test_strengths_of_an_adapter_that_has_gone_are_not_answered_by_another(tiny_model_path, tiny_adapter_path):
    with Lens(LocalLoader(str(tiny_model_path), str(tiny_adapter_path), device="cpu")) as lens:
        lens.start()
        lens.wait_ready()
        stream = Stream(["Why?"], ("tuned",), Settings(4), strengths=(0.5,))
        lens.set_strength(Strength(0.3))  # the decoder in use takes no strengths any more
        lens.served.submit(stream)
        with pytest.raises(UserError, match="Another adapter"):
            stream.result()
        stopped = lens.ask(["Why?", "How so?"], Settings(400), strengths=(0.5, 1))
        assert stopped.apart
        stopped.cancel()
        stopped.result()
        lens.ask(["Who else?"], Settings(4)).result()
        assert stopped.decoders == {}
        lens.reload(None)
        with pytest.raises(UserError, match="No adapter is loaded"):
            lens.ask(["Why?"], Settings(4), strengths=(0.5,))


@pytest.mark.parametrize(("quantize", "tolerance"), [("4bit", 1e-5), ("8bit", 5e-3)])
def test_strengths_of_an_adapter_on_a_quantised_base(wide_model_path, tmp_path, cpu, quantize, tolerance):
    """The decoded base plus the scaled change; what is switched off is the base's very layer, in its bits."""
    adapter = random_adapter(wide_model_path, tmp_path / "adapter", ["q_proj", "v_proj"])
    pair = load_pair(resolve(str(wide_model_path)), cpu, str(adapter), quantize)
    name = "model.layers.1.self_attn.q_proj"
    with torch.inference_mode():
        decoded = pair.base.get_submodule(name)(torch.eye(64)).T
    factors = load_file(adapter / "adapter_model.safetensors")
    up, down = (factors[f"base_model.model.{name}.lora_{factor}.weight"] for factor in "BA")
    for strength in (0.5, 1.5):
        weight = scaled(pair, Strength(strength)).tuned.get_submodule(name).weight
        torch.testing.assert_close(weight, decoded + strength * 2.0 * up @ down, atol=tolerance, rtol=0)
    assert logits(scaled(pair, Strength(0.0)).tuned).equal(logits(pair.base))
    switched = scaled(pair, Strength(1.0, kinds_off=frozenset({"q_proj"}))).tuned
    assert switched.get_submodule(name) is pair.base.get_submodule(name)
    value = "model.layers.1.self_attn.v_proj"
    assert switched.get_submodule(value).weight.equal(pair.tuned.get_submodule(value).weight)
