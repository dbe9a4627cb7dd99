"""A run folder that the first version wrote, stopped in the middle, opens in this one and goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tuning.exports.export import best_adapter, export_adapter
from tuning.runs import run
from tuning.runs.run import Run
from tuning.training import worker
from tuning.training.parallel import Ranks
from tuning.views.run_view import Watcher

STORED = Path(__file__).parents[2] / "stored"


@pytest.fixture
def stored(tmp_path, monkeypatch, tiny_model_path):
    """A copy among the runs; the model and the rows, which it names as they lay beside it, lie there."""
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path / "home"))
    folder = Path(shutil.copytree(STORED / "stopped_run", tmp_path / "home/runs/stopped_run"))
    beside = tmp_path / "beside"
    beside.mkdir()
    shutil.copytree(tiny_model_path, beside / "tiny")
    shutil.copy(STORED / "rows.csv", beside)
    monkeypatch.chdir(beside)
    return Run(folder)


def test_it_is_listed_and_shown(stored):
    state = stored.state()
    assert (state.state, state.step, state.max_steps) == ("stopped", 13, 40)
    assert "can be resumed" in state.message
    assert [found.name for found in run.all_runs()] == ["stopped_run"]
    view = Watcher().look("stopped_run", {})
    assert view["can"] == {"stop": False, "resume": True, "delete": True, "use": True}
    assert view["charts"]
    assert len(view["log"]) > 13


def test_its_adapter_is_taken_away(stored, tmp_path):
    assert best_adapter(stored) == stored.adapter
    assert (export_adapter(stored, tmp_path / "taken") / "adapter_model.safetensors").is_file()


def test_it_goes_on_from_where_it_stopped(stored):
    before = len(stored.follow()[0])
    worker.work(stored, Ranks(), quiet=True)
    news = stored.follow()[0][before:]
    resumed = next(event for event in news if event["event"] == "resumed")
    steps = [event["step"] for event in news if event["event"] == "step"]
    assert resumed["step"] == 13
    assert steps == list(range(14, 41))
    assert stored.state().state == "finished"
    assert json.loads((stored.adapter / "run_record.json").read_text())["config"]["rank"] == 2
