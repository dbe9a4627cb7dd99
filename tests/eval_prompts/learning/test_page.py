"""What the page starts: a run goes on from the adapter that votes and scorings are about, and from no other."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from eval_prompts.learning.page import train_on_passing, train_on_votes
from eval_prompts.models.adapters import AdapterCard
from eval_prompts.votes.lesson import Lesson
from tuning.errors import UserError


def lens_with(path, fingerprint, **changes):
    """A lens on which an adapter answers."""
    card = AdapterCard("mine", path, "base", 8, 8.0, ("q_proj",), fingerprint=fingerprint, **changes)
    status = SimpleNamespace(adapter=card, against=None, model="smollm2-135m", fingerprint="f")
    return SimpleNamespace(status=lambda: status, loader=None)


class Started:
    """Takes what is started."""

    def start(self, preset, settings):
        self.settings = settings
        return SimpleNamespace(name="new-run")


def test_a_scoring_teaches_the_adapter_that_was_scored(tmp_path):
    (tmp_path / "run_record.json").write_text(json.dumps({"config": {"data": "python_qa"}}))
    plan = {
        "tasks": [{"source": {"task": "python"}}],
        "adapter": {"name": "mine"},
        "fingerprints": {"model": "f", "adapter": "a", "against": ""},
    }
    scorings, training = SimpleNamespace(board=lambda name: SimpleNamespace(plan=plan)), Started()
    with pytest.raises(UserError, match="This scoring is of mine, which does not answer now"):
        train_on_passing("s", lens_with(tmp_path, "another"), scorings, training)
    with pytest.raises(UserError, match="put the strength back to 1, and score that"):
        train_on_passing("s", lens_with(tmp_path, "a", strength={"strength": 2}), scorings, training)
    assert train_on_passing("s", lens_with(tmp_path, "a"), scorings, training) == "new-run"
    assert training.settings["from_adapter"] == str(tmp_path)


def test_votes_teach_the_adapter_that_they_are_about(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path))
    row = {"prompt": [{"role": "user", "content": "Q"}], "chosen": [], "rejected": []}
    found, training = Lesson("mine", "f+a", (row,), 1, 1, 1, {}, None, None), Started()
    with pytest.raises(UserError, match="These votes are about mine, which does not answer now"):
        train_on_votes(found, lens_with(tmp_path, "another"), training)
    assert train_on_votes(found, lens_with(tmp_path, "a"), training) == "new-run"
    assert training.settings["from_adapter"] == str(tmp_path)
