"""Adapters as people have them: what can be put right is, and said; the rest is refused with its remedy."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from eval_prompts.models.pair import NO_CHANGE, fingerprint_logits, with_adapter
from tests.eval_prompts.models.random_adapter import peft_merged
from tuning.errors import UserError

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


@pytest.fixture
def mine(tmp_path, tiny_adapter_path):
    return shutil.copytree(tiny_adapter_path, tmp_path / "mine")


def rename(folder, change):
    save_file({change(name): tensor for name, tensor in load_file(folder / WEIGHTS).items()}, folder / WEIGHTS)


def retensor(folder, change):
    save_file({name: change(name, tensor) for name, tensor in load_file(folder / WEIGHTS).items()}, folder / WEIGHTS)


def edit(folder, **changes):
    content = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(content | changes))


def to_zip(folder):
    deep = shutil.copytree(folder, folder.parent / "outer/some/where/further/in/mine")
    return shutil.make_archive(str(folder.parent / "packed"), "zip", deep.parents[4])


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: rename(folder, lambda name: "base_model.model." + name),
        lambda folder: rename(folder, lambda name: name.removeprefix("base_model.model.")),
        lambda folder: rename(folder, lambda name: name.replace(".weight", ".default.weight")),
        lambda folder: rename(folder, lambda name: "module." + name),
        lambda folder: rename(folder, lambda name: name.replace("model.model.layers", "model.layers")),
        lambda folder: (folder / CONFIG).write_bytes(b"\xef\xbb\xbf" + (folder / CONFIG).read_bytes()),
        lambda folder: edit(folder, peft_type="lora", task_type="causal_lm"),
        lambda folder: folder / WEIGHTS,
        lambda folder: folder.parent,
        to_zip,
    ],
)
def test_what_can_be_put_right_gives_the_same_model(
    mine, tiny_pair, tiny_weights, change, monkeypatch, tmp_path_factory
):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path_factory.mktemp("data")))
    place = change(mine)
    named = str(place) if place and not isinstance(place, int) else str(mine)
    pair = with_adapter(tiny_pair, tiny_weights, named)
    expected = fingerprint_logits(tiny_pair.tuned, tiny_pair.tokenizer)
    assert torch.equal(fingerprint_logits(pair.tuned, pair.tokenizer), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
        (lambda folder: edit(folder, r=8), "rank 4 in .*says 8"),
        (lambda folder: edit(folder, r=float("inf")), "'r': inf"),
        (lambda folder: edit(folder, lora_alpha=float("nan")), "'lora_alpha': nan"),
        (lambda folder: edit(folder, peft_type="PREFIX_TUNING"), "prefix tuning"),
        (lambda folder: edit(folder, peft_type="NONESUCH"), "does not know|fits no layer"),
        (lambda folder: edit(folder, init_lora_weights="pissa_niter_4"), "path_initial_model_for_weight_conversion"),
        (lambda folder: edit(folder, task_type="SEQ_CLS"), "SEQ_CLS"),
        (lambda folder: edit(folder, target_modules="("), "'target_modules' a pattern that is none"),
        (lambda folder: edit(folder, target_modules=5), "'target_modules': 5 is no list of names"),
        (lambda folder: edit(folder, exclude_modules=[7]), "'exclude_modules'"),
        (lambda folder: edit(folder, layers_to_transform="all"), "'all' is no list of numbers"),
        (lambda folder: edit(folder, layers_to_transform=[1], layers_pattern="("), "'layers_pattern' a pattern"),
        (lambda folder: edit(folder, modules_to_save="lm_head"), "'modules_to_save'"),
        (lambda folder: retensor(folder, lambda name, tensor: tensor[:0]), "ZeRO-3"),
        (lambda folder: rename(folder, lambda name: name.replace("q_proj", "query")), "for another base"),
    ],
)
def test_what_cannot_is_refused_in_one_sentence(mine, tiny_pair, tiny_weights, change, message):
    change(mine)
    with pytest.raises(UserError, match=message) as refusal:
        with_adapter(tiny_pair, tiny_weights, str(mine))
    assert "\n" not in str(refusal.value)


def test_a_half_missing_adapter_is_loaded_and_counted(mine, tiny_pair, tiny_weights):
    save_file({name: part for name, part in load_file(mine / WEIGHTS).items() if "layers.0" in name}, mine / WEIGHTS)
    notes = with_adapter(tiny_pair, tiny_weights, str(mine)).adapter.notes
    assert any("4 of the 8 layers" in note for note in notes)


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"target_modules": ["q_proj"]}, 6),
        ({"target_modules": r".*\.1\..*(q|v)_proj"}, 6),
        ({"layers_to_transform": 0}, 4),
        ({"layers_to_transform": [1], "layers_pattern": "layers"}, 4),
        ({"exclude_modules": ["model.layers.0.self_attn.v_proj"]}, 1),
        ({"target_modules": ["q_proj"], "alpha_pattern": {"q_proj": 3}}, 6),
    ],
)
def test_layers_that_its_settings_do_not_name_are_left_out_as_peft_does(
    mine, tiny_pair, tiny_weights, tiny_model_path, changes, left
):
    edit(mine, **changes)
    pair = with_adapter(tiny_pair, tiny_weights, str(mine))
    assert any(f"does not name {left} of the 8 layers" in note for note in pair.adapter.notes)
    expected = fingerprint_logits(peft_merged(tiny_model_path, mine), pair.tokenizer)
    torch.testing.assert_close(fingerprint_logits(pair.tuned, pair.tokenizer), expected, rtol=1e-4, atol=1e-4)


def test_names_of_another_model_as_a_whole_leave_nothing_out(mine, tiny_pair, tiny_weights):
    edit(mine, target_modules=r"language_model\..*_proj")
    pair = with_adapter(tiny_pair, tiny_weights, str(mine))
    expected = fingerprint_logits(tiny_pair.tuned, tiny_pair.tokenizer)
    assert torch.equal(fingerprint_logits(pair.tuned, pair.tokenizer), expected)


def test_what_dora_lacks_is_named_and_random_numbers_are_refused(mine, tiny_pair, tiny_weights):
    edit(mine, use_dora=True)
    notes = with_adapter(tiny_pair, tiny_weights, str(mine)).adapter.notes
    assert any("lacks a part (lora_magnitude_vector) of 8 layers" in note for note in notes)
    assert not any("stay the base's" in note for note in notes)
    edit(mine, use_dora=False, peft_type="LOHA", alpha=8)
    rename(mine, lambda name: name.replace("lora_A.weight", "hada_w1_b").replace("lora_B.weight", "hada_w1_a"))
    with pytest.raises(UserError, match=r"lacks 16 of its tensors, such as .*hada_w2"):
        with_adapter(tiny_pair, tiny_weights, str(mine))


def test_an_adapter_that_changes_nothing_is_said_to(mine, tiny_pair, tiny_weights):
    retensor(mine, lambda name, tensor: torch.zeros_like(tensor))
    assert NO_CHANGE in with_adapter(tiny_pair, tiny_weights, str(mine)).adapter.notes


def test_a_record_written_by_hand_is_not_believed(mine, tiny_pair, tiny_weights):
    facts = {"name": "by hand", "steps": "many", "loss_before": "x", "loss_after": [], "prompt_format": 5, "data": 3}
    (mine / "run_record.json").write_text(json.dumps(facts))
    card = with_adapter(tiny_pair, tiny_weights, str(mine)).adapter
    assert (card.steps, card.loss_before, card.loss_after, card.prompt_format, card.data) == (None,) * 5
    assert card.summary == "adapter by hand · r4"


def test_settings_that_peft_does_not_know_are_named(mine, tiny_pair, tiny_weights):
    edit(mine, use_time_travel=True)
    notes = with_adapter(tiny_pair, tiny_weights, str(mine)).adapter.notes
    assert any("use_time_travel" in note for note in notes)
