"""Runs from outside: the command line, worker processes, the lock, and what a dead worker looks like."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tuning import files, presets
from tuning.__main__ import main
from tuning.errors import UserError
from tuning.runs import events, lock, process, run
from tuning.runs.folder import newest_first

ROOT = Path(__file__).parents[3]


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def data_file(tmp_path):
    path = tmp_path / "rows.csv"
    rows = [f'"question {word} {index}","answer {index}"' for index in range(12) for word in ("one", "two", "three")]
    path.write_text("prompt,completion\n" + "\n".join(rows) + "\n")
    return path


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def small(tiny_model_path, data_file, **changes):
    return {
        "model": str(tiny_model_path),
        "data": str(data_file),
        "max_steps": 100_000,
        "save_every": 5,
        "validate_every": 5,
        "sample_every": 0,
        "threads": 1,
    } | changes


def test_a_worker_is_started_found_refused_a_second_stopped_resumed_and_deleted(home, tiny_model_path, data_file):
    started = run.start("smoke", small(tiny_model_path, data_file))
    assert started.working()
    with pytest.raises(UserError, match=f"Run {started.name} is training on this machine"):
        run.start("smoke", small(tiny_model_path, data_file))
    assert [found.name for found in run.all_runs()] == [started.name], "the refused run leaves nothing behind"
    with pytest.raises(UserError, match="is running: stop it first"):
        started.delete()
    offset = 0
    steps = []

    def three_steps():
        nonlocal offset
        news, offset = started.follow(offset)
        steps.extend(event["step"] for event in news if event["event"] == "step")
        return len(steps) >= 3

    wait_for(three_steps)
    assert steps[:3] == [1, 2, 3]
    assert started.state().state == "running"
    assert lock.current() == started.path
    assert os.getpgid(started.worker()["pid"]) != os.getpgid(0)
    started.stop()
    wait_for(lambda: not started.working())
    assert started.state().state == "stopped"
    at = started.state().step

    started.resume()
    wait_for(lambda: started.state().step > at)
    os.kill(started.worker()["pid"], signal.SIGKILL)
    wait_for(lambda: not started.working())
    dead = started.state()
    assert dead.state == "failed"
    assert "killed, most likely because the machine ran out of memory" in dead.message
    assert dead.last_lines
    assert lock.current() is None
    started.delete()
    assert run.all_runs() == []


def test_a_worker_that_cannot_go_on_says_why(home, tiny_model_path, tmp_path):
    started = run.start("smoke", small(tiny_model_path, tmp_path / "nothing.jsonl"))
    wait_for(lambda: not started.working())
    state = started.state()
    assert state.state == "failed"
    assert "nothing.jsonl" in state.message
    assert "Traceback" not in started.log_path.read_text()


def fake_run(home, preset="smoke", **changes):
    return run.create(preset, presets.configure(preset, changes))


def test_an_orphan_is_known_dead_although_its_number_lives_again(home):
    orphan = fake_run(home)
    me = process.identity(os.getpid())
    files.write_json(orphan.path / "worker.json", me)
    assert orphan.state().state == "running"
    files.write_json(orphan.path / "worker.json", me | {"started": me["started"] - 1})
    assert orphan.state().state == "failed"
    assert "Resume continues" in orphan.state().message
    files.write_json(orphan.path / "worker.json", me | {"boot": "another"})
    assert "the machine was restarted" in orphan.state().message


def test_a_zombie_is_dead():
    child = subprocess.Popen([sys.executable, "-c", ""])
    wait_for(lambda: process.identity(child.pid) is None)
    assert child.wait() == 0


def test_a_log_that_says_the_disk_was_full_gives_the_cause(home):
    full = fake_run(home)
    files.write_json(full.path / "worker.json", {"pid": 2**22 + 1, "started": 1, "boot": process.boot()})
    full.log_path.write_text("OSError: [Errno 28] No space left on device\n")
    assert "the disk is full" in full.state().message


def test_two_workers_never_train_at_once(home):
    first, second = fake_run(home), fake_run(home)
    with (
        lock.working_on(first.path),
        pytest.raises(UserError, match=f"Run {first.name} is training"),
        lock.working_on(second.path),
    ):
        pass
    with lock.working_on(second.path):
        assert lock.current() == second.path
    assert lock.current() is None


def test_a_new_run_has_nothing_to_say(home):
    state = fake_run(home).state()
    assert (state.state, state.step, state.loss) == ("new", 0, None)


def test_state_of_a_day_long_run_reads_its_tail_only(home, monkeypatch):
    long = fake_run(home)
    with long.events_path.open("w") as file:
        for step in range(100_000):
            file.write(json.dumps({"event": "step", "time": 1.0, "step": step, "loss": 1.0}) + "\n")
    monkeypatch.setattr(events, "read", lambda *arguments: pytest.fail("the whole file was read"))
    assert long.state().step == 99_999


def test_history_counts_what_a_resume_repeats_once():
    def at(kind, step):
        return {"event": kind, "step": step, "time": 0.0}

    told = [at("step", 1), at("step", 2), at("step", 3), at("failed", 3), at("resumed", 1), at("step", 2)]
    assert [(event["event"], event["step"]) for event in events.history(told)] == [
        ("step", 1),
        ("resumed", 1),
        ("step", 2),
    ]


def test_what_is_asked_behind_a_checkpoint_counts_once_after_a_resume():
    told = [{"event": kind, "step": step} for kind, step in (("step", 2), ("score", 2), ("resumed", 2), ("score", 2))]
    assert [event["event"] for event in events.history(told)] == ["step", "resumed", "score"]


def error_of(capsys, *arguments):
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    return shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-steps", "0"], "--max-steps is 0, but must be 1 or more"),
        (["--max-steps", "many"], "--max-steps is 'many', but must be a whole number"),
        (["--learning-rate", "nan"], "--learning-rate is nan, but must be a number above 0"),
        (["--learning-rate", "-1"], "--learning-rate is -1.0"),
        (["--dropout", "1"], "--dropout is 1.0"),
        (["--schedule", "cosin"], "--schedule is 'cosin': choose one of cosine, linear, constant"),
        (["--preset", "quik"], "There is no preset 'quik': did you mean 'quick'"),
        (["--learning-rat"], "--learning-rat"),
        (["--target-modules", ","], "--target-modules"),
    ],
)
def test_bad_settings_get_one_line_and_leave_nothing(home, capsys, arguments, message):
    assert message in error_of(capsys, "train", *arguments)
    assert not run.runs_root().exists()


def test_a_run_folder_that_exists_is_refused_and_untouched(home, capsys, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("precious")
    assert "exists already" in error_of(capsys, "train", "--preset", "smoke", "--run-dir", str(tmp_path / "mine"))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["file"]


def test_an_unreadable_run_cannot_be_resumed(home, capsys, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    assert "not a readable run folder" in error_of(capsys, "resume", str(tmp_path / "broken"))
    assert "There is no run 'nothing'" in error_of(capsys, "resume", "nothing")


def test_train_watch_list_and_export_from_the_command_line(home, tiny_model_path, data_file, tmp_path, capsys):
    folder = run.runs_root() / "mine"
    options = ["--model", str(tiny_model_path), "--data", str(data_file), "--max-steps", "3", "--sample-every", "0"]
    assert main(["train", "--preset", "smoke", "--run-dir", str(folder), *options]) == 0
    assert sys.float_info.min / 2 > 0, "the process computes with tiny floats again"
    printed = capsys.readouterr().out
    assert printed.startswith(f"run {folder}\n")
    assert "step 3/3" in printed
    assert main(["watch", "mine"]) == 0
    assert "mine: finished" in capsys.readouterr().out
    assert main(["list"]) == 0
    assert "3/3" in capsys.readouterr().out
    assert "has finished already" in error_of(capsys, "resume", "mine")

    assert main(["export", "mine", str(tmp_path / "adapter.zip")]) == 0
    with zipfile.ZipFile(tmp_path / "adapter.zip") as archive:
        assert "adapter/adapter_model.safetensors" in archive.namelist()
    assert "exists already" in error_of(capsys, "export", "mine", str(tmp_path / "adapter.zip"))
    assert main(["export", "mine", str(tmp_path / "merged"), "--merged"]) == 0
    same_logits(tiny_model_path, folder / "adapter", tmp_path / "merged")


def same_logits(base, adapter, merged):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    ids = torch.tensor([[1, 20, 30, 40]])
    with torch.no_grad():
        tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).eval()
        whole = AutoModelForCausalLM.from_pretrained(merged).eval()
        torch.testing.assert_close(whole(ids).logits, tuned(ids).logits, rtol=1e-4, atol=1e-5)
        untuned = AutoModelForCausalLM.from_pretrained(base).eval()
        assert not torch.allclose(untuned(ids).logits, whole(ids).logits)


def test_the_page_side_imports_no_torch():
    code = "import sys, tuning.runs.run, tuning.presets, tuning.__main__; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_what_a_resume_does_again_counts_once():
    from tuning.runs.events import history

    def event(kind, **fields):
        return {"event": kind, **fields}

    first = [event("validation", step=0), event("step", step=1), event("step", step=2), event("step", step=3)]
    from_two = [*first, event("failed"), event("resumed", step=2), event("step", step=3)]
    assert [e.get("step") for e in history(from_two) if e["event"] != "resumed"] == [0, 1, 2, 3]
    from_scratch = [*first, event("resumed", step=0), *first]
    assert [e for e in history(from_scratch) if e["event"] != "resumed"] == first


def test_runs_are_listed_by_when_they_were_made_whatever_they_are_called(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path))
    for created, name in ((3.0, "20260101-000000-smoke"), (1.0, "zebra"), (2.0, "mine"), ("once", "damaged")):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        content = {"preset": "smoke", "created": created, "config": {}}
        (folder / "config.json").write_text(json.dumps(content))
    assert [found.name for found in run.all_runs()] == ["20260101-000000-smoke", "mine", "zebra"]


def test_a_list_of_runs_reads_each_that_has_changed_and_no_other(tmp_path):
    def made(folder):
        asked.append(folder.name)
        return (folder / "file").read_text()

    asked = []
    for name, at in (("a", "1"), ("b", "2"), ("c", "3")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(at)
    assert [each.name for each in newest_first(tmp_path, "file", made)] == ["c", "b", "a"]
    asked.clear()
    (tmp_path / "a" / "file").write_text("40")
    (tmp_path / "b" / "file").unlink()
    assert [each.name for each in newest_first(tmp_path, "file", made)] == ["a", "c"]
    assert asked == ["a"]


def test_a_run_can_be_named(home):
    folder = run.named_folder("pirates  2")
    assert folder == run.runs_root() / "pirates-2"
    made = run.create("smoke", presets.preset("smoke"), folder)
    assert run.find("pirates-2") == made
    with pytest.raises(UserError, match="There is a run 'pirates-2' already"):
        run.named_folder("pirates 2")
    assert run.named_folder("Übung_3").name == "Übung_3"


@pytest.mark.parametrize("name", ["", " ", "../up", ".hidden", "a/b", "-x", "_x", "n" * 61, "a\\b", "a\0b", "what?"])
def test_a_name_that_no_folder_can_have_is_refused(home, name):
    with pytest.raises(UserError, match="A run's name is at most 60 letters"):
        run.named_folder(name)
