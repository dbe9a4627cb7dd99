"""Runs on the tiny model, and what is compared of them."""

from __future__ import annotations

import json

import pytest

from tuning.errors import UserError
from tuning.presets import configure
from tuning.runs import run
from tuning.training import loop, worker
from tuning.training.parallel import Ranks

FILES = {"README.md", "adapter_config.json", "adapter_model.safetensors", "run_record.json"}


def new_run(settings, **changes):
    return run.create("smoke", configure("smoke", settings | changes))


def of_kind(found, kind):
    return [event for event in found if event["event"] == kind]


def losses(found):
    shown = ("step", "loss", "grad_norm", "trained_tokens")
    return [tuple(event[name] for name in shown) for event in of_kind(found, "step")]


def outcome(finished):
    """What the run's record says of its adapter."""
    record = json.loads((finished.adapter / "run_record.json").read_text())
    return {name: value for name, value in record.items() if name == "steps" or "loss" in name}


def interrupted(settings, steps, monkeypatch):
    """A run that ended with an error before step ``steps`` + 1."""
    broken = new_run(settings)
    plain = loop.train_step

    def failing(session, step, stop=False):
        if step == steps:
            raise UserError("enough")
        return plain(session, step, stop)

    monkeypatch.setattr(loop, "train_step", failing)
    with pytest.raises(UserError, match="enough"):
        worker.work(broken, Ranks(), quiet=True)
    monkeypatch.setattr(loop, "train_step", plain)
    return broken
