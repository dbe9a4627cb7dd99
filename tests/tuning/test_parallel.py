"""Two processes train one run: the same losses as one process, and stopping and resuming together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tuning import run, worker
from tuning.parallel import Ranks, from_environment
from tuning.presets import configure

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(tiny_model_path, tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path / "home"))
    data = tmp_path / "rows.csv"
    rows = [f'"question {"x" * (index % 7)} {index}","answer {"y" * (index % 11)}"' for index in range(60)]
    data.write_text("prompt,completion\n" + "\n".join(rows) + "\n")
    return {"model": str(tiny_model_path), "data": str(data), "max_steps": 5, "batch_size": 5, "threads": 1}


def torchrun(*arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, "-m", "tuning", *arguments], cwd=ROOT, capture_output=True, text=True, env=environment, timeout=120
    )


def figures(found):
    return [(event["loss"], event["grad_norm"]) for event in found.history() if event["event"] == "step"]


def test_two_processes_give_the_losses_of_one(settings):
    alone = run.create("smoke", configure("smoke", settings))
    worker.work(alone, Ranks(), quiet=True)
    options = [part for name, value in settings.items() for part in ("--" + name.replace("_", "-"), str(value))]
    folder = run.runs_root() / "both"
    done = torchrun("train", "--preset", "smoke", "--run-dir", str(folder), *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("run /") == 1, "one process talks"
    both = run.find("both")
    for one, two in zip(figures(alone), figures(both), strict=True):
        assert two == pytest.approx(one, rel=1e-4)
    for kind in ("validation_loss", "test_loss_after"):
        expected = [event[kind] for event in alone.history() if kind in event]
        assert [event[kind] for event in both.history() if kind in event] == pytest.approx(expected, rel=1e-4)
    start = next(event for event in both.history() if event["event"] == "start")
    assert start["processes"] == 2
    assert start["device"].endswith("x 2")


def test_without_a_launcher_there_is_one_process(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert from_environment() == Ranks(0, 1, 0)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert from_environment() == Ranks(3, 4, 1)
    assert not from_environment().first
