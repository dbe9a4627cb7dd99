"""The training form's values: what is wrong with them, and the run that they make."""

from __future__ import annotations

import json
import shlex

import pytest

from tuning import presets
from tuning.__main__ import build_parser
from tuning.training.optimizer import warm_up_warning
from tuning.views import form


@pytest.mark.parametrize(
    ("overrides", "wrong"),
    [
        ({"max_steps": "0"}, {"max_steps": "must be 1 or more"}),
        ({"max_steps": "9999999999"}, {"max_steps": "must be at most 1,000,000"}),
        ({"max_steps": "ten"}, {"max_steps": "must be a whole number"}),
        (
            {"learning_rate": "nan", "rank": "-2"},
            {"learning_rate": "must be a number above 0", "rank": "must be 1 or more"},
        ),
        ({"dropout": "1"}, {"dropout": "must be at least 0 and below 0.998"}),
        ({"schedule": "steep"}, {"schedule": "choose one of cosine, linear, constant"}),
        ({"target_modules": " , "}, {"target_modules": "must name at least one linear layer"}),
        ({"sample_question": "x" * 3000}, {"sample_question": "must be at most 2,000 characters long"}),
        ({"max_steps": "12"}, {}),
    ],
)
def test_each_field_says_what_is_wrong_with_it(overrides, wrong):
    assert form.problems("smoke", overrides) == wrong


def test_settings_at_odds_with_each_other_are_said_at_their_field():
    wrong = form.problems("quick", {"sample_question": " "})
    assert wrong == {"sample_question": "give a question, or set --sample-every 0"}


FIXED = {"data", "device", "micro_batch_rows", "keep_checkpoints", "trust_remote_code"}


def test_the_form_offers_every_setting_but_the_device():
    offered = {field.name for field in form.FIELDS}
    assert set(presets.field_types()) - offered == FIXED


@pytest.mark.parametrize("name", presets.PRESETS)
def test_an_untouched_form_overrides_nothing(name):
    values = form.shown_values(presets.preset(name))
    assert form.overrides_of(name, values) == {}
    assert form.command(name, {}) == f"python -m tuning train --preset {name}"


def test_the_command_line_makes_the_same_run():
    changes = {
        "max_steps": "7",
        "limit": "",
        "gradient_checkpointing": True,
        "target_modules": "q_proj,v_proj",
        "sample_question": "What's a 'list'?",
        "empty_input_only": False,
    }
    words = shlex.split(form.command("python-3000", changes))
    options = vars(build_parser().parse_args(words[3:]))
    told = {name: options[name] for name in presets.field_types() if options[name] is not None}
    assert presets.configure("python-3000", told) == presets.configure("original", changes)


@pytest.mark.parametrize(
    ("steps", "warmup", "said"),
    [
        (80, 8, ""),
        (80, 79, ""),
        (80, 80, "takes the whole run"),
        (40, 80, "learning rate ends at about 0.0005"),
        (5, 0, ""),
    ],
)
def test_a_warm_up_that_never_ends_is_said(steps, warmup, said):
    config = presets.configure("quick", {"max_steps": steps, "warmup_steps": warmup, "learning_rate": 1e-3})
    words = warm_up_warning(config)
    assert (said in words) if said else not words
    assert form.warning(config) == words.strip()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"learning_rate": 6e-3, "alpha": 16}, ""),
        ({"learning_rate": 6e-3, "alpha": 16, "rslora": True}, "very high for sft"),
        ({"learning_rate": 5e-3, "objective": "dpo"}, "very high for dpo"),
        ({"learning_rate": 1e-3, "lora_plus": 16}, "very high"),
        ({"learning_rate": 1e-6}, "very low for sft"),
    ],
)
def test_a_rate_far_off_is_said_with_the_adapters_scale_counted_in(changes, said):
    words = form.rate_warning(presets.configure("quick", changes))
    assert (said in words) if said else not words


def test_the_form_goes_by_the_adapter_that_a_run_goes_on_from(tmp_path):
    missing = form.problems("quick", {"from_adapter": "nowhere"})
    assert missing == {"from_adapter": "there is no adapter folder and no run of that name"}
    told = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["v_proj"]}
    (tmp_path / "adapter_config.json").write_text(json.dumps(told))
    assert form.problems("quick", {"from_adapter": str(tmp_path)}) == {
        "from_adapter": f"{tmp_path.name} holds no adapter_model.safetensors, the adapter's weights"
    }
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    changes = {"from_adapter": str(tmp_path)}
    assert form.problems("quick", changes) == {}
    words = form.summary(form.goes_on(presets.configure("quick", changes)))
    assert f"LoRA rank 4 on v_proj of smollm2-135m, going on from {tmp_path.name};" in words
    assert form.problems("quick", changes | {"dora": True}).keys() == {"dora"}
