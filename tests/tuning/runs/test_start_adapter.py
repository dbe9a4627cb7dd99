"""The adapter that a run goes on from: what it may be, and how it was asked."""

from __future__ import annotations

import json

import pytest

from tuning.errors import UserError
from tuning.presets import configure
from tuning.runs import run
from tuning.runs.start_adapter import called, in_vain
from tuning.training.checkpoint import check_identity, identity

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


@pytest.fixture
def adapter(tmp_path, monkeypatch):
    """A folder as peft writes it, of which nobody reads the weights here."""
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path / "home"))
    folder = tmp_path / "before" / "adapter"
    folder.mkdir(parents=True)
    config = {
        "peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"], "bias": "none", "use_dora": False,
        "init_lora_weights": True, "megatron_core": "megatron.core", "qalora_group_size": 16, "loftq_config": {},
        "fan_in_fan_out": True, "alpha_pattern": {}, "modules_to_save": None, "peft_version": "0.21",
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "adapter_model.safetensors").write_bytes(b"factors")
    return folder


def changed(folder, **settings):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def begun(folder, **settings):
    return run.create("smoke", configure("smoke", {"from_adapter": str(folder), **settings})).config()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"init_lora_weights": "pissa"}, "init_lora_weights pissa"),
        ({"init_lora_weights": "pissa_niter_16"}, "init_lora_weights pissa_niter_16"),
        ({"init_lora_weights": "olora"}, "init_lora_weights olora"),
        ({"init_lora_weights": "loftq"}, "init_lora_weights loftq"),
        ({"alora_invocation_tokens": [3, 4]}, "alora_invocation_tokens"),
        ({"use_qalora": True}, "use_qalora"),
        ({"a_setting_of_tomorrow": {"x": 1}}, "a_setting_of_tomorrow"),
        ({"bias": "all"}, "bias"),
    ],
)
def test_factors_that_mean_something_else_on_the_plain_base_are_refused_by_name(adapter, changes, told):
    changed(adapter, **changes)
    with pytest.raises(UserError, match=f"has {told}, which cannot be trained on"):
        begun(adapter)


def test_plain_factors_are_taken_however_they_began(adapter):
    for how in (False, None, "gaussian", "eva", "orthogonal"):
        changed(adapter, init_lora_weights=how)
        assert begun(adapter).rank == 8


def test_a_run_goes_on_in_the_template_and_thinking_of_its_adapter(adapter):
    assert (begun(adapter).chat_template, begun(adapter).thinking) == (None, "template")
    (adapter / "chat_template.jinja").write_text(TEMPLATE)
    (adapter / "run_record.json").write_text(json.dumps({"config": {"thinking": "off"}}))
    made = run.create("smoke", configure("smoke", {"from_adapter": str(adapter)}))
    own = made.path / "start" / "chat_template.jinja"
    assert (made.config().chat_template, made.config().thinking) == (str(own), "off")
    (adapter / "chat_template.jinja").unlink()
    assert own.read_text() == TEMPLATE
    (adapter / "chat_template.jinja").write_text("another")
    chosen = begun(adapter, chat_template="plain", thinking="on")
    assert (chosen.chat_template, chosen.thinking) == ("plain", "on")


def test_settings_that_the_adapter_has_are_said_to_be_in_vain():
    asked = configure("smoke", {"rank": 16, "alpha": 16, "target_modules": "v_proj,q_proj", "dropout": 0.2})
    taken = configure("smoke", {"rank": 8, "alpha": 16, "target_modules": "q_proj,v_proj"})
    told = in_vain(asked, taken, {"rank": 16, "alpha": 16, "target_modules": "", "dropout": 0.2})
    assert told == "Not used, as a run has them from the adapter that it goes on from: --rank."
    assert in_vain(asked, taken, {"from_adapter": "x"}) == ""


def test_files_are_found_again_from_any_folder_and_names_stay_names(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name in ("own.jinja", "task.yaml", "plain", "python"):
        (tmp_path / name).write_text("x")
    files = {"chat_template": "own.jinja", "score_on": "./task.yaml", "checked_by": "python"}
    config = run.create("smoke", configure("smoke", files)).config()
    assert (config.chat_template, config.score_on) == (str(tmp_path / "own.jinja"), str(tmp_path / "task.yaml"))
    assert config.checked_by == "python"
    named = run.create("smoke", configure("smoke", {"chat_template": "plain"}), tmp_path / "r").config()
    assert named.chat_template == "plain"


def test_a_template_that_changed_ends_a_resume_as_other_data_does(tmp_path):
    class Known:
        fingerprint = "f"

    file = tmp_path / "own.jinja"
    file.write_text(TEMPLATE)
    config = configure("smoke", {"chat_template": str(file)})
    before = identity(config, Known, Known)
    check_identity(before, identity(config, Known, Known))
    file.write_text(TEMPLATE + " ")
    with pytest.raises(UserError, match="its chat template was"):
        check_identity(before, identity(config, Known, Known))
    older = {name: value for name, value in before.items() if name != "chat template"}
    check_identity(older, identity(config, Known, Known))


@pytest.mark.parametrize(
    ("folder", "record", "name"),
    [
        ("my-run/adapter", {"name": "other"}, "my-run"),
        ("downloaded", {"name": "python-qa"}, "python-qa"),
        ("downloaded", {"name": None}, "downloaded"),
        ("downloaded", None, "downloaded"),
    ],
)
def test_it_is_called_by_its_run_its_record_or_its_folder(tmp_path, folder, record, name):
    holder = tmp_path / folder
    holder.mkdir(parents=True)
    if record is not None:
        (holder / "run_record.json").write_text(json.dumps(record), encoding="utf-8")
    assert called(str(holder)) == name
