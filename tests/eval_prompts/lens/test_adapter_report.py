"""The adapter report: its figures on known adapters, its words, and what it refuses."""

import json
import math

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from eval_prompts.__main__ import main
from eval_prompts.lens import adapter_report, report_words
from eval_prompts.lens.adapter_report import report
from tests.eval_prompts.models.random_adapter import random_adapter
from tuning.errors import UserError


def saved(model_path, folder, size=0.05, **settings):
    """A LoRA adapter with random factors, and what peft makes of it: its folder, and the change of each layer."""
    torch.manual_seed(5)
    config = LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], **settings})
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(model_path), config)
    for name, parameter in model.named_parameters():
        if "lora_A" in name or "lora_B" in name or "lora_embedding" in name:
            torch.nn.init.normal_(parameter, std=size)
    changes = {
        name.removeprefix("base_model.model."): module.get_delta_weight("default").detach()
        for name, module in model.named_modules()
        if hasattr(module, "get_delta_weight")
    }
    model.save_pretrained(folder)
    return folder, changes


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 32}},
        {"target_modules": ["embed_tokens", "q_proj"]},
        {"target_modules": "all-linear"},
    ],
)
def test_norms_are_those_of_the_change_that_peft_merges(tiny_model_path, tmp_path, settings):
    folder, changes = saved(tiny_model_path, tmp_path / "adapter", **settings)
    found = report(folder, tiny_model_path)
    assert {change.module for change in found.modules} == set(changes)
    for change in found.modules:
        whole = changes[change.module]
        assert change.change_norm == pytest.approx(float(whole.norm()), rel=1e-4)
        assert change.relative is not None
        assert change.largest_value == pytest.approx(float(torch.linalg.matrix_norm(whole, 2)), rel=1e-4)
        assert 1 <= change.effective_rank <= change.rank
    assert not found.unmatched


def test_an_adapter_that_does_nothing_is_called_that(tiny_model_path, tmp_path):
    folder, _ = saved(tiny_model_path, tmp_path / "adapter", size=0.0)
    assert report(folder, tiny_model_path).verdicts == [
        "This adapter does nothing: the product of the factors is zero in all 4 layers."
    ]


def rewritten(folder, change):
    """Replace the adapter's tensors by ``change(tensors)``."""
    file = folder / "adapter_model.safetensors"
    save_file(change(load_file(file)), file)


def test_an_adapter_for_other_layers_does_nothing_here(tiny_model_path, tmp_path):
    folder, _ = saved(tiny_model_path, tmp_path / "adapter")
    rewritten(folder, lambda tensors: {name.replace("layers", "blocks"): tensors[name] for name in tensors})
    found = report(folder, tiny_model_path)
    assert len(found.unmatched) == 4
    assert "none of its 4 layers" in found.verdicts[0]


def test_a_change_in_one_layer_and_one_direction_is_counted(tiny_model_path, tmp_path):
    folder, _ = saved(tiny_model_path, tmp_path / "adapter")

    def only_one(tensors):
        for name, tensor in tensors.items():
            if ".layers.0." in name:
                tensor.zero_()
            elif "lora_A" in name:
                tensor[1:] = 0
        return tensors

    rewritten(folder, only_one)
    text = " ".join(report(folder, tiny_model_path).verdicts)
    assert "2 of 4 layers are not changed at all" in text
    assert "Rank 4 used as 1.0 in the median layer" in text


def layer_change(layer, norm):
    """What a report says of one layer whose change has this norm."""
    return adapter_report.ModuleChange(f"m.layers.{layer}.q", layer, "q", 4, 1.0, norm, 1.0, norm, 2.0, norm)


def test_where_the_change_sits_is_said_in_layers():
    late = [layer_change(layer, 1.0 if layer >= 20 else 0.01) for layer in range(30)]
    assert report_words.place_words(late) == "90% of the change sits in layers 20 to 29 of 0 to 29."
    assert report_words.place_words([layer_change(n, float(n == 3)) for n in range(9)]) == (
        "90% of the change sits in layer 3."
    )
    assert "spread over" in report_words.place_words([layer_change(layer, 1.0) for layer in range(30)])


def test_an_update_larger_than_the_weights_is_warned_of(tiny_model_path, tmp_path):
    folder, _ = saved(tiny_model_path, tmp_path / "adapter", size=5.0)
    found = report(folder, tiny_model_path, directions=True)
    text = " ".join(found.verdicts)
    assert "The update is larger than the weights" in text
    assert "intruder dimensions" in text
    assert all(change.intruders is not None and change.alignment is not None for change in found.modules)


def test_what_is_not_a_factor_is_named(tiny_model_path, tmp_path):
    folder, _ = saved(tiny_model_path, tmp_path / "adapter", modules_to_save=["lm_head"], use_dora=True)
    found = report(folder, tiny_model_path)
    assert any("lm_head" in name for name in found.left_out)
    assert any("DoRA" in reason for reason in found.left_out.values())
    assert "left out: " in report_words.table(found)


def test_without_a_base_there_are_no_shares(tiny_model_path, tmp_path):
    folder, _ = saved(tiny_model_path, tmp_path / "adapter")
    found = report(folder, None)
    assert all(change.relative is None for change in found.modules)
    assert not found.unmatched
    assert "|change|/|weight|" not in report_words.table(found)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"peft_type": "IA3"}, "is of type 'IA3'"),
        ({"lora_alpha": math.nan}, "must be a number"),
        ({"lora_alpha": "much"}, "must be a number"),
    ],
)
def test_a_configuration_that_cannot_be_described_is_refused(tiny_model_path, tmp_path, settings, reason):
    folder, _ = saved(tiny_model_path, tmp_path / "adapter")
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    with pytest.raises(UserError, match=reason):
        report(folder, tiny_model_path)


@pytest.mark.parametrize(
    ("damage", "reason"), [("cut", "cannot be read"), ("half", "lacks one of the two"), ("nan", "not finite")]
)
def test_damaged_factors_are_refused_by_name(tiny_model_path, tmp_path, damage, reason):
    folder, _ = saved(tiny_model_path, tmp_path / "adapter")
    file = folder / "adapter_model.safetensors"
    first, *others = load_file(file)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:100])
    elif damage == "half":
        rewritten(folder, lambda tensors: {name: tensors[name] for name in others})
    else:
        rewritten(folder, lambda tensors: tensors | {first: tensors[first] * math.nan})
    with pytest.raises(UserError, match=reason):
        report(folder, tiny_model_path)


def test_the_command_prints_a_table_and_writes_json(tiny_model_path, tmp_path, capsys):
    adapter = random_adapter(tiny_model_path, tmp_path / "adapter", ["q_proj"])
    file = tmp_path / "report.json"
    assert main(["adapter", str(adapter), "--model", str(tiny_model_path), "--json", str(file)]) == 0
    text = capsys.readouterr().out
    assert "|change|/|weight|" in text
    assert "Not looked at: alignment" in text
    assert "adapter with --directions" in text
    modules = json.loads(file.read_text())["modules"]
    assert len(modules) == 2
    assert modules[0].keys() >= {"module", "relative", "effective_rank", "intruders"}
    assert main(["adapter", str(tmp_path / "nowhere")]) == 2
