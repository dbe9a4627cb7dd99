"""Two processes train one run: the same losses as one process, and stopping and resuming together."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
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


def settings_in(folder, environment):
    """Of a run of the tiny model in an empty home, where the processes have to make that model first."""
    environment.setenv("LORA_LENS_DATA", str(folder / "home"))
    data = folder / "rows.csv"
    rows = [f'"question {"x" * (index % 7)} {index}","answer {"y" * (index % 11)}"' for index in range(60)]
    data.write_text("prompt,completion\n" + "\n".join(rows) + "\n")
    return {"data": str(data), "max_steps": 5, "batch_size": 5, "threads": 1, "device": "cpu", "sample_every": 0}


@pytest.fixture
def settings(tmp_path, monkeypatch):
    return settings_in(tmp_path, monkeypatch)


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


@dataclass(frozen=True)
class Pair:
    """A run of two processes that was stopped and went on, and the same run in one process; what the two processes
    printed up to the stop, and how that left the run."""

    both: run.Run
    one: run.Run
    printed: str
    stopped: run.RunState
    checkpoints: list[str]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Started by one launcher, and resumed by the other."""
    folder = tmp_path_factory.mktemp("parallel")
    with pytest.MonkeyPatch.context() as environment:
        settings = settings_in(folder, environment) | {"max_steps": 60, "validate_every": 20, "save_every": 0}
        place = run.runs_root() / "both"
        started = train(TORCHRUN, place, settings)
        told = []
        for line in started.stdout:
            told.append(line)
            if line.startswith("step 2/"):
                break
        else:
            pytest.fail(started.stderr.read())
        started.terminate()
        rest, _ = started.communicate(timeout=300)
        both = run.find("both")
        left = both.state(), [path.name for path in found(place / "checkpoints")]
        resumed = launch(ACCELERATE, "resume", place)
        _, complaints = resumed.communicate(timeout=300)
        assert resumed.returncode == 0, complaints
        yield Pair(both, alone(settings), "".join(told) + rest, *left)


def test_two_processes_give_the_losses_of_one(pair):
    assert pair.printed.count("run /") == 1, "one process talks"
    assert len(figures(pair.one)) == 60
    for two, expected in zip(figures(pair.both), figures(pair.one), strict=True):
        assert two == pytest.approx(expected, rel=1e-4)
    for kind in ("validation_loss", "test_loss_after"):
        expected = [event[kind] for event in pair.one.history() if kind in event]
        assert expected
        assert [event[kind] for event in pair.both.history() if kind in event] == pytest.approx(expected, rel=1e-4)
    start = next(event for event in pair.both.history() if event["event"] == "start")
    assert start["processes"] == 2
    assert start["device"].endswith("x 2")


def test_two_processes_stop_and_go_on_together(pair):
    assert pair.stopped.state == "stopped"
    assert pair.stopped.step < 60
    assert pair.checkpoints == [f"step-{pair.stopped.step:06d}"]
    assert pair.both.state().state == "finished"


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
