"""The end of the app: a training run saves itself, and can go on later."""

from __future__ import annotations

from space_config.shutdown import save_training
from tuning import run


def test_a_run_saves_itself_before_everything_ends(monkeypatch, tmp_path):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path))
    assert save_training(0)
    started = run.start("smoke", {"max_steps": 100_000})
    assert save_training(60)
    assert started.state().state == "stopped", started.log_tail()
    assert list((started.path / "checkpoints").iterdir())
