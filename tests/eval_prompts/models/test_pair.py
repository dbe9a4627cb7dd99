"""The pair: merged as peft merges, shared where the adapter touches nothing, and the base left alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from eval_prompts.models.lora_linear import AdaptedLinear
from eval_prompts.models.pair import fingerprint_logits, load_pair, with_adapter
from eval_prompts.models.strength import Strength, scaled
from tests.eval_prompts.decoding.tiny_families import ONE_BY_ONE, write_model
from tests.eval_prompts.models.random_adapter import peft_merged, random_adapter
from tuning.errors import UserError
from tuning.models.weights import resolve

# The 8-bit product also rounds its inputs to 8 bits, which decoding the weight does not.
TOLERANCE = {"4bit": 1e-5, "8bit": 5e-3}
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


@pytest.mark.parametrize(
    ("targets", "options"),
    [
        (ATTENTION, {}),
        (("q_proj", "v_proj"), {}),
        (("gate_proj", "up_proj", "down_proj"), {}),
        (("down_proj",), {"use_rslora": True}),
        (ATTENTION, {"use_dora": True}),
        (("q_proj", "down_proj"), {"rank_pattern": {"down_proj": 2}}),
        (("q_proj", "down_proj"), {"alpha_pattern": {"q_proj": 1.0}}),
    ],
)
def test_the_tuned_side_is_pefts_merge_and_the_rest_is_one_tensor(
    tmp_path, tiny_model_path, tiny_weights, cpu, targets, options
):
    adapter = random_adapter(tiny_model_path, tmp_path / "adapter", targets, **options)
    pair = load_pair(tiny_weights, cpu, str(adapter))
    reference = peft_merged(tiny_model_path, adapter)
    ids = torch.arange(4, 60)[None]
    with torch.inference_mode():
        torch.testing.assert_close(pair.tuned(ids).logits, reference(ids).logits)
    base, expected = dict(pair.base.named_parameters()), dict(reference.named_parameters())
    plain = not set(options) - {"use_rslora"}
    for name, parameter in pair.tuned.named_parameters():
        touched = any(target in name for target in targets)
        module = pair.tuned.get_submodule(name.rpartition(".")[0])
        assert isinstance(module, AdaptedLinear) is (touched and plain), name
        effective = module.merged_weight if isinstance(module, AdaptedLinear) else parameter
        torch.testing.assert_close(effective, expected[name])
        assert (parameter.data_ptr() == base[name].data_ptr()) is (plain or not touched), name


def test_plain_lora_is_loaded_without_pefts_imports(tiny_model_path, tiny_adapter_path):
    """They take a good second of every start, bitsandbytes' most of it."""
    program = f"""
import sys
from pathlib import Path
from eval_prompts.models.pair import load_pair
from tuning.models.device import pick_device
from tuning.models.weights import resolve
assert load_pair(resolve({str(tiny_model_path)!r}), pick_device("cpu"), {str(tiny_adapter_path)!r}).tuned
print(sorted({{"peft", "bitsandbytes"}} & set(sys.modules)))
"""
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_base_side_is_the_untouched_model(tiny_pair, tiny_model_path):
    untouched = AutoModelForCausalLM.from_pretrained(tiny_model_path, dtype=torch.float32).eval()
    expected = fingerprint_logits(untouched, tiny_pair.tokenizer)
    assert tiny_pair.base_is_base
    assert torch.equal(fingerprint_logits(tiny_pair.base, tiny_pair.tokenizer), expected)
    assert not torch.allclose(fingerprint_logits(tiny_pair.tuned, tiny_pair.tokenizer), expected)


def test_a_base_that_changes_is_noticed(tiny_weights, tiny_adapter_path, cpu, monkeypatch):
    """The check can fail: a merge that writes into the base is told."""
    import eval_prompts.models.pair as pair_module

    real_merge = pair_module.merge

    def leaking_merge(base, adapter, modules):
        merged = real_merge(base, adapter, modules)
        with torch.no_grad():
            base.model.layers[0].self_attn.q_proj.weight += 0.1
        return merged

    monkeypatch.setattr(pair_module, "merge", leaking_merge)
    assert not load_pair(tiny_weights, cpu, str(tiny_adapter_path)).base_is_base


def test_shared_tensors_are_counted_once(tiny_pair):
    base = sum(parameter.nbytes for parameter in tiny_pair.base.parameters())
    layers = [module for module in tiny_pair.tuned.modules() if isinstance(module, AdaptedLinear)]
    assert len(layers) == 2 * len(ATTENTION)
    own = sum(layer.up.nbytes + layer.down.nbytes for layer in layers)
    buffers = sum(buffer.untyped_storage().nbytes() for buffer in tiny_pair.base.buffers())
    assert tiny_pair.memory_bytes == base + own + buffers


def test_the_adapter_can_be_replaced_and_a_refusal_changes_nothing(tmp_path, tiny_pair, tiny_model_path, tiny_weights):
    other = random_adapter(tiny_model_path, tmp_path / "other", ("v_proj",))
    replaced = with_adapter(tiny_pair, tiny_weights, str(other))
    assert replaced.base is tiny_pair.base
    assert replaced.adapter.name == "other"
    before = fingerprint_logits(tiny_pair.tuned, tiny_pair.tokenizer)
    with pytest.raises(UserError):
        with_adapter(tiny_pair, tiny_weights, str(tmp_path / "nothing-here"))
    assert torch.equal(fingerprint_logits(tiny_pair.tuned, tiny_pair.tokenizer), before)


def test_two_adapters_answer_against_each_other_and_share_all_weights(
    tmp_path, tiny_pair, tiny_model_path, tiny_weights, tiny_adapter_path
):
    other = random_adapter(tiny_model_path, tmp_path / "other", ("v_proj", "down_proj"))
    untouched = fingerprint_logits(tiny_pair.base, tiny_pair.tokenizer)
    both = with_adapter(tiny_pair, tiny_weights, str(tiny_adapter_path), against=str(other))
    assert (both.adapter.path, both.against.name, both.base_is_base) == (tiny_adapter_path, "other", None)
    ids = torch.arange(4, 60)[None]
    for side, adapter in (("base", other), ("tuned", tiny_adapter_path)):
        with torch.inference_mode():
            expected = peft_merged(tiny_model_path, adapter)(ids).logits
            torch.testing.assert_close(both.model(side)(ids).logits, expected)
    base, left, right = (dict(model.named_parameters()) for model in (both.base, both.rival, both.tuned))
    for name in base:
        assert left[name].data_ptr() == right[name].data_ptr() == base[name].data_ptr(), name
    assert torch.equal(fingerprint_logits(both.base, both.tokenizer), untouched)
    again = with_adapter(both, tiny_weights, str(tiny_adapter_path))
    assert (again.against, again.model("base"), again.base_is_base) == (None, tiny_pair.base, True)


def test_a_bad_adapter_to_compare_against_is_refused(tmp_path, tiny_pair, tiny_weights, tiny_adapter_path):
    with pytest.raises(UserError, match="nothing-here"):
        with_adapter(tiny_pair, tiny_weights, str(tiny_adapter_path), against=str(tmp_path / "nothing-here"))


def test_without_an_adapter_there_is_no_tuned_side(tiny_weights, cpu):
    pair = load_pair(tiny_weights, cpu, None)
    assert pair.model("base") is pair.base
    with pytest.raises(UserError, match="No adapter"):
        pair.model("tuned")


@pytest.fixture
def adapter_copy(tmp_path, tiny_adapter_path):
    return shutil.copytree(tiny_adapter_path, tmp_path / "mine")


def edit_config(adapter, **changes):
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def pickle_only(adapter):
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")


def cut_short(adapter):
    path = adapter / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_config(adapter):
    (adapter / "adapter_config.json").unlink()


def broken_config(adapter):
    (adapter / "adapter_config.json").write_text("{")


def other_type(adapter):
    edit_config(adapter, peft_type="IA3")


def nan_weights(adapter):
    from safetensors.torch import load_file, save_file

    path = adapter / "adapter_model.safetensors"
    save_file({name: tensor * float("nan") for name, tensor in load_file(path).items()}, path)


def one_factor_only(adapter):
    from safetensors.torch import load_file, save_file

    path = adapter / "adapter_model.safetensors"
    save_file({name: tensor for name, tensor in load_file(path).items() if "lora_A" in name}, path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (pickle_only, "pickle"),
        (cut_short, "damaged"),
        (no_config, "no adapter_config.json"),
        (broken_config, "cannot be read"),
        (other_type, "for another base|fits no layer|lacks"),
        (nan_weights, "NaN|nan"),
        (one_factor_only, "lacks one of the two factors"),
    ],
)
def test_an_unusable_adapter_is_refused_with_its_reason(adapter_copy, tiny_pair, tiny_weights, spoil, message):
    spoil(adapter_copy)
    with pytest.raises(UserError, match=message) as refusal:
        with_adapter(tiny_pair, tiny_weights, str(adapter_copy))
    assert "\n" not in str(refusal.value)


def test_an_adapter_of_other_shapes_is_refused(tmp_path, tiny_pair, tiny_weights, tiny_tokenizer):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**(tiny_pair.base.config.to_dict() | {"hidden_size": 64, "head_dim": 16}))
    LlamaForCausalLM(config).save_pretrained(tmp_path / "wider")
    adapter = random_adapter(tmp_path / "wider", tmp_path / "adapter", ("q_proj",))
    with pytest.raises(UserError, match="does not fit"):
        with_adapter(tiny_pair, tiny_weights, str(adapter))


def test_an_adapter_on_a_tied_head_changes_the_head_alone(tmp_path, tiny_pair, tiny_weights, tiny_model_path):
    """As in training, and as peft does unmerged; its own merge writes into the embedding too."""
    from peft import PeftModel

    adapter = random_adapter(tiny_model_path, tmp_path / "adapter", ("lm_head", "q_proj"))
    pair = with_adapter(tiny_pair, tiny_weights, str(adapter))
    unmerged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model_path), adapter).eval()
    ids = torch.arange(4, 60)[None]
    with torch.inference_mode():
        torch.testing.assert_close(pair.tuned(ids).logits, unmerged(ids).logits)
    assert pair.tuned.model.embed_tokens.weight is pair.base.model.embed_tokens.weight
    assert pair.tuned.lm_head.weight is not pair.base.lm_head.weight


def test_an_adapter_made_for_another_named_base_is_taken_and_marked(adapter_copy, tiny_pair, tiny_weights):
    from dataclasses import replace

    edit_config(adapter_copy, base_model_name_or_path="someone/another-model")
    named = replace(tiny_weights, hub_id="owner/this-model")
    pair = with_adapter(tiny_pair, named, str(adapter_copy))
    assert any("someone/another-model, not on owner/this-model" in note for note in pair.adapter.notes)


@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_a_quantised_base_is_merged_in_high_precision(tmp_path, wide_model_path, cpu, quantize):
    """The tuned side is the decoded base plus the adapter, not rounded to 4 or 8 bits again."""
    from safetensors.torch import load_file

    adapter = random_adapter(wide_model_path, tmp_path / "adapter", ATTENTION)
    pair = load_pair(resolve(str(wide_model_path)), cpu, str(adapter), quantize)
    name = "model.layers.1.self_attn.q_proj"
    with torch.inference_mode():
        decoded = pair.base.get_submodule(name)(torch.eye(64)).T
    factors = load_file(adapter / "adapter_model.safetensors")
    up, down = (factors[f"base_model.model.{name}.lora_{factor}.weight"] for factor in "BA")
    expected = decoded + 2.0 * up @ down
    torch.testing.assert_close(pair.tuned.get_submodule(name).weight, expected, atol=TOLERANCE[quantize], rtol=0)
    mlp = "model.layers.1.mlp.down_proj.weight"
    assert pair.tuned.get_parameter(mlp).data_ptr() == pair.base.get_parameter(mlp).data_ptr()
    assert pair.base_is_base


def test_a_layer_whose_weight_the_model_reads_itself_is_merged(tmp_path, tiny_tokenizer, cpu):
    base = write_model(ONE_BY_ONE["mamba"], tmp_path / "mamba", tiny_tokenizer)
    random_adapter(base, tmp_path / "adapter", ["x_proj", "dt_proj"])
    pair = load_pair(resolve(str(base)), cpu, str(tmp_path / "adapter"))
    expected = fingerprint_logits(peft_merged(base, tmp_path / "adapter"), pair.tokenizer)
    torch.testing.assert_close(fingerprint_logits(pair.tuned, pair.tokenizer), expected, rtol=1e-4, atol=1e-4)
    without = fingerprint_logits(scaled(pair, Strength.of(0.0)).tuned, pair.tokenizer)
    torch.testing.assert_close(without, fingerprint_logits(pair.base, pair.tokenizer), rtol=1e-4, atol=1e-4)
