"""Two processes train one run: the same losses as one process, and stopping and resuming together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tuning.__main__ import main
from tuning.errors import UserError
from tuning.presets import configure
from tuning.runs import run
from tuning.training import setup, worker
from tuning.training.checkpoint import found
from tuning.training.parallel import Ranks, from_environment

ROOT = Path(__file__).parents[3]


TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
ACCELERATE = (
    *("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no"),
)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Of a run of the tiny model in an empty home, where the processes have to make that model first."""
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path / "home"))
    data = tmp_path / "rows.csv"
    rows = [f'"question {"x" * (index % 7)} {index}","answer {"y" * (index % 11)}"' for index in range(60)]
    data.write_text("prompt,completion\n" + "\n".join(rows) + "\n")
    return {"data": str(data), "max_steps": 5, "batch_size": 5, "threads": 1, "device": "cpu", "sample_every": 0}


def launch(launcher, *arguments):
    """Two processes of ``python -m tuning`` under a launcher."""
    command = [sys.executable, "-m", *launcher, "-m", "tuning", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, env=environment)


def train(launcher, folder, settings):
    options = [part for name, value in settings.items() for part in ("--" + name.replace("_", "-"), value)]
    return launch(launcher, "train", "--preset", "smoke", "--run-dir", folder, *options)


def alone(settings):
    """The same run in one process."""
    one = run.create("smoke", configure("smoke", settings))
    worker.work(one, Ranks(), quiet=True)
    return one


def figures(found):
    return [(event["loss"], event["grad_norm"]) for event in found.history() if event["event"] == "step"]


def test_two_processes_give_the_losses_of_one(settings):
    started = train(ACCELERATE, run.runs_root() / "both", settings)
    printed, complaints = started.communicate(timeout=300)
    assert started.returncode == 0, complaints
    assert printed.count("run /") == 1, "one process talks"
    both, one = run.find("both"), alone(settings)
    for two, expected in zip(figures(both), figures(one), strict=True):
        assert two == pytest.approx(expected, rel=1e-4)
    for kind in ("validation_loss", "test_loss_after"):
        expected = [event[kind] for event in one.history() if kind in event]
        assert [event[kind] for event in both.history() if kind in event] == pytest.approx(expected, rel=1e-4)
    start = next(event for event in both.history() if event["event"] == "start")
    assert start["processes"] == 2
    assert start["device"].endswith("x 2")


def test_two_processes_stop_and_go_on_together(settings):
    settings |= {"max_steps": 60, "validate_every": 0, "save_every": 0}
    folder = run.runs_root() / "both"
    started = train(TORCHRUN, folder, settings)
    assert any(told.startswith("step 2/") for told in started.stdout), started.stderr.read()
    started.terminate()
    started.communicate(timeout=300)
    both = run.find("both")
    assert both.state().state == "stopped"
    assert [path.name for path in found(folder / "checkpoints")] == [f"step-{both.state().step:06d}"]
    resumed = launch(TORCHRUN, "resume", folder)
    _, complaints = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, complaints
    for two, expected in zip(figures(both), figures(alone(settings)), strict=True):
        assert two == pytest.approx(expected, rel=1e-3)


def test_the_weights_are_found_before_the_processes_meet(settings, monkeypatch, capsys):
    """Else whoever is not the first may leave a converted model without its weights."""
    order = []

    def meet(*_):
        order.append("met")
        raise UserError("enough")

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    for place in ("tuning.models.of_config", "tuning.training.setup"):
        monkeypatch.setattr(f"{place}.find_weights", lambda config: order.append("found"))
    for place in ("tuning.training.parallel", "tuning.training.setup"):
        monkeypatch.setattr(f"{place}.join", meet)
    assert main(["train", "--preset", "smoke", "--device", "cpu"]) == 2
    with pytest.raises(UserError, match="enough"):
        setup.setup(run.runs_root(), configure("smoke", settings), from_environment(), print)
    assert order == ["found", "met"] * 2


def test_without_a_launcher_there_is_one_process(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert from_environment() == Ranks(0, 1, 0)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert from_environment() == Ranks(3, 4, 1)
    assert not from_environment().first
