"""Figures mirrored to trackers: which they are, a tracker that is not there, one that fails, and both real ones."""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec

import pytest

from tests.tuning.tiny_runs import interrupted, new_run, of_kind
from tuning.errors import UserError
from tuning.runs import trackers
from tuning.runs.run import Run
from tuning.training import worker
from tuning.training.parallel import Ranks

EVENTS = [
    ({"event": "step", "step": 3, "loss": 1.5, "seconds": 2, "time": 9, "right": 0.5}, {"loss": 1.5, "right": 0.5}),
    ({"event": "validation", "step": 3, "validation_loss": 2, "best": True}, {"validation/validation_loss": 2.0}),
    ({"event": "step", "step": 4, "loss": None}, {}),
    ({"event": "sample", "step": 3, "tokens": 5}, {}),
    ({"event": "log", "message": "x"}, {}),
]


@pytest.mark.parametrize(("event", "figures"), EVENTS)
def test_an_events_measurements_are_mirrored(event, figures):
    assert trackers.figures_of(event) == figures


@pytest.mark.parametrize("kind", ["trackio", "tensorboard"])
def test_a_tracker_that_is_not_there_is_named_with_its_extra(settings, kind, monkeypatch):
    monkeypatch.setitem(sys.modules, kind, None)
    run = new_run(settings | {"track": kind})
    with pytest.raises(UserError, match=rf"lora-lens\[{kind}\]"):
        worker.work(run, Ranks(), quiet=True)
    assert run.state().state == "failed"


def test_a_tracker_that_fails_is_said_once_and_training_goes_on(settings, monkeypatch):
    class Broken:
        def figures(self, step, values):
            raise OSError("disk gone")

        def close(self):
            raise OSError("disk gone")

    monkeypatch.setattr(worker, "tracker", lambda *_: Broken())
    run = new_run(settings | {"max_steps": 2})
    assert worker.work(run, Ranks(), quiet=True) == "finished"
    said = [event["message"] for event in of_kind(run.history(), "log") if "tracker" in event["message"]]
    assert len(said) == 1
    assert "disk gone" in said[0]


def test_a_tracker_that_fails_at_the_end_is_said_too(tmp_path):
    class Full:
        def close(self):
            raise OSError("disk gone")

    class Told(worker.Channel):
        def emit(self, kind, **fields):
            said.append(fields["message"])

    said = []
    (tmp_path / "config.json").write_text("{}")
    channel = Told(Run(tmp_path), quiet=True)
    channel.mirror = trackers.Mirror(Full())
    channel.close()
    assert "disk gone" in said[0]


def test_tensorboard_has_every_steps_loss_once(settings, monkeypatch):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = interrupted(settings | {"track": "tensorboard", "max_steps": 3, "save_every": 1}, 2, monkeypatch)
    shutil.rmtree(run.path / "checkpoints/step-000002")  # it was being written when the machine went down
    assert worker.work(run, Ranks(), quiet=True) == "finished"
    read = EventAccumulator(str(run.path / "tensorboard"))
    read.Reload()
    told = [(scalar.step, scalar.value) for scalar in read.Scalars("loss")]
    steps = of_kind(run.history(), "step")
    assert told == [(event["step"], pytest.approx(event["loss"])) for event in steps]


def test_trackio_has_every_steps_loss(settings, tmp_path, monkeypatch):
    if find_spec("trackio") is None:  # it reads its folder when it is imported
        pytest.skip("trackio is not installed")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    run = new_run(settings | {"track": "trackio", "max_steps": 3})
    assert worker.work(run, Ranks(), quiet=True) == "finished"
    from trackio.sqlite_storage import SQLiteStorage

    told = {row["step"]: row["loss"] for row in SQLiteStorage.get_logs("lora-lens", run.name) if "loss" in row}
    assert told == {event["step"]: pytest.approx(event["loss"]) for event in of_kind(run.history(), "step")}
