"""Judging happens in processes of its own: nothing that code gives back can hold the process that serves pages."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path

import pytest

from eval_prompts.judging import process
from eval_prompts.judging.assignment import PROBES, Assignment
from eval_prompts.judging.judge import judge
from eval_prompts.judging.probes.checks import CHECKERS
from eval_prompts.judging.verdict import Verdict
from tests.eval_prompts.judging.hostile_results import CHANNELS, RESULTS

TEST = "assert f(5) == 120"
RIGHT = "def f(n):\n    return 120"


def _alive(group):
    """The processes of a group that still live (the dead may wait for whoever inherited them)."""
    states = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = entry.read_text().rpartition(")")[2].split()
            states += [entry] if int(fields[2]) == group and fields[0] not in "ZX" else []
    return states


def fenced(source):
    return f"```python\n{source}\n```"


@pytest.fixture(autouse=True)
def fresh():
    process.close()
    yield
    process.close()


@pytest.mark.parametrize("name", RESULTS)
def test_no_hostile_result_passes_or_stops_the_judging(name):
    verdict = judge(fenced(f"def f(n):\n    {RESULTS[name]}"), tests=[TEST])
    assert verdict.task in ("fails", "not run")
    assert not verdict.judging_failed
    assert verdict.task_reason
    assert len(json.dumps(verdict.to_dict())) < 1_000_000
    assert judge(fenced(RIGHT), tests=[TEST]).task == "passes"


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("name", ["a set of integers that collide", "a long string", "a deep list", "shared parts"])
def test_no_other_way_out_of_a_program_holds_the_judging(channel, name):
    source = CHANNELS[channel].format(body=RESULTS[name])
    verdict = judge(fenced(source), probe_id="average")
    assert verdict.task in ("fails", "not run")
    assert not verdict.judging_failed
    assert len(json.dumps(verdict.to_dict())) < 1_000_000
    assert judge(fenced(RIGHT), tests=[TEST]).task == "passes"


def test_whoever_asks_for_the_status_meanwhile_is_answered():
    """The judging process is stopped in the midst of it, so the judging certainly lasts, and this process goes on."""
    judge(fenced(RIGHT), tests=[TEST])
    worker = process._idle[0]
    os.kill(worker.pid, signal.SIGSTOP)
    verdicts: list[Verdict] = []
    source = fenced(f"def f(n):\n    {RESULTS['a set of integers that collide']}")
    thread = threading.Thread(target=lambda: verdicts.append(judge(source, tests=[TEST])))
    thread.start()
    answered = 0
    while not process._turn.acquire(blocking=False) or answered < 1000:
        answered += 1
        if answered > 1000:
            break
    assert answered >= 1000
    assert not verdicts
    os.kill(worker.pid, signal.SIGCONT)
    thread.join()
    assert verdicts[0].task == "fails"


def test_the_process_that_serves_pages_never_loads_the_sandbox_nor_its_values():
    answer = fenced(f"def f(n):\n    {RESULTS['a dictionary of them']}")
    program = (
        "import sys\nfrom eval_prompts.judging.judge import judge\n"
        f"verdict = judge({answer!r}, tests=[{TEST!r}])\n"
        "print(verdict.task, 'pydantic_monty' in sys.modules, 'torch' in sys.modules)\n"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed == "fails False False\n"


def test_a_judging_process_sees_no_secrets(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_hidden")
    judge(fenced(RIGHT), tests=[TEST])
    environment = Path(f"/proc/{process._idle[0].pid}/environ")
    if not environment.exists():
        pytest.skip("needs /proc")
    assert b"hidden" not in environment.read_bytes()


def test_a_judging_process_that_dies_is_loud_and_the_next_answer_is_judged(monkeypatch, caplog):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    verdict = judge(fenced(RIGHT), tests=[TEST], stopped=True)
    assert verdict.judging_failed
    assert [badge.label for badge in verdict.badges] == ["failed to judge", "ended by itself"]
    assert verdict.task == "not run"
    assert "could not be judged" in caplog.text
    assert "Traceback" in caplog.text
    monkeypatch.undo()
    assert judge(fenced(RIGHT), tests=[TEST]).task == "passes"


def test_one_that_was_killed_while_idle_is_replaced():
    judge(fenced(RIGHT), tests=[TEST])
    worker = process._idle[0]
    os.killpg(worker.pid, signal.SIGKILL)
    worker._process.wait()
    assert judge(fenced(RIGHT), tests=[TEST]).task == "passes"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_no_process_is_left_after_a_hostile_result():
    judge(fenced(RIGHT), tests=[TEST])
    group = process._idle[0].pid
    judge(fenced(f"def f(n):\n    {RESULTS['a set of integers that collide']}"), tests=[TEST])
    process.close()
    while left := _alive(group):
        os.sched_yield()
    assert not left


def test_one_that_does_not_answer_in_time_is_ended():
    worker = process.JudgingProcess()
    worker._allowance = 0.0
    os.kill(worker.pid, signal.SIGSTOP)
    question = {"text": fenced(RIGHT), "task": Assignment().to_dict(), "stopped": None, "jail": False}
    with pytest.raises(process.JudgingError, match="in time"):
        worker.judge(question, 0.01)
    assert not worker.usable


def test_a_verdict_survives_the_way_between_the_processes():
    verdict = judge(
        fenced("import os\nos.nothing()\nprint(1)\ndef f(n):\n    return 3"), tests=[TEST, "assert f(1) == 3"]
    )

    assert Verdict.from_dict(json.loads(json.dumps(asdict(verdict)))) == verdict
    assert verdict.missing
    assert verdict.checks


def test_the_probes_with_checks_are_those_of_the_checkers():
    assert set(CHECKERS) == PROBES
