"""The end of the app: answers end first, then a training run saves itself and can go on later."""

from __future__ import annotations

import os
import signal
import threading
from types import SimpleNamespace

import pytest

from space_config.server import shutdown
from space_config.server.shutdown import Signals, end_work, save_training
from tuning.runs import run


def test_a_run_saves_itself_before_everything_ends(monkeypatch, tmp_path):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path))
    assert save_training(0)
    started = run.start("smoke", {"max_steps": 100_000})
    assert save_training(60)
    assert started.state().state == "stopped", started.log_tail()
    assert list((started.path / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("number", "state", "stops", "done"),
    [
        (signal.SIGTERM, "ready", True, ["drain", "close", "save"]),
        (signal.SIGTERM, "ready", False, ["drain", "close"]),
        (signal.SIGTERM, "failed", True, ["drain", "close", "save"]),
        (signal.SIGTERM, "loading", True, ["save"]),
        (signal.SIGINT, "ready", True, ["close"]),
        (signal.SIGINT, "loading", True, []),
    ],
)
def test_answers_end_before_a_run_saves(monkeypatch, number, state, stops, done):
    found = []
    monkeypatch.setattr(shutdown, "drain", lambda *_: found.append("drain"))
    monkeypatch.setattr(shutdown, "save_training", lambda: found.append("save"))
    lens = SimpleNamespace(status=lambda: SimpleNamespace(state=state), close=lambda: found.append("close"))
    end_work(number, lens, None, 8, stops)
    assert found == done


def test_a_signal_is_kept_until_somebody_waits():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        signals = Signals()
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.wait() == signal.SIGTERM
        threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT)).start()
        assert signals.wait() == signal.SIGINT
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
