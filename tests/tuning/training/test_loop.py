"""Whole runs on the tiny model: their folder, their events, stopping, dying, and going on exactly."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.tuning.tiny_runs import FILES, interrupted, losses, new_run, of_kind, outcome
from tuning.errors import UserError
from tuning.exports.export import best_adapter
from tuning.runs import events, run
from tuning.training import checkpoint, loop, setup, worker
from tuning.training.parallel import Ranks

ROOT = Path(__file__).parents[3]


def test_a_run_leaves_all_its_parts(whole, capsys):
    assert {path.name for path in whole.adapter.iterdir()} == FILES
    assert [path.name for path in checkpoint.found(whole.path / "checkpoints")] == ["step-000009", "step-000008"]
    history = whole.history()
    steps = of_kind(history, "step")
    assert [event["step"] for event in steps] == list(range(1, 10))
    figures = {"epoch", "loss", "learning_rate", "grad_norm", "trained_tokens", "tokens_per_second", "memory_mb"}
    assert all(figures | {"eta_seconds", "tokens", "seconds"} <= event.keys() for event in steps)
    assert [event["step"] for event in of_kind(history, "validation")] == [0, 3, 6, 9]
    assert history[-1]["event"] == "finished"
    result = of_kind(history, "result")[0]
    assert result["test_loss_after"] < result["test_loss_before"]
    record = json.loads((whole.adapter / "run_record.json").read_text())
    assert record["loss_after"] == result["best_loss"] < record["loss_before"]
    card = (whole.adapter / "README.md").read_text()
    assert "| validation loss |" in card
    assert "None" not in card
    assert "step 9/9" in whole.log_path.read_text()
    state = whole.state()
    assert (state.state, state.step, state.best_loss) == ("finished", 9, result["best_loss"])


def test_the_saved_adapter_has_the_loss_that_its_record_says(whole):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from tuning.training.forward import reference_loss

    config = whole.config()
    tokenizer = setup.load_tokenizer(Path(config.model))
    rows = setup.dataset.load(config.data, limit=config.limit, tokenizer=tokenizer, max_tokens=config.max_tokens)
    examples = setup.held_out(tokenizer, rows, "validation", config.validation_rows, config).examples
    tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(config.model), whole.adapter)
    labels = sum(len(example.answer_ids) for example in examples)
    record = json.loads((whole.adapter / "run_record.json").read_text())
    assert reference_loss(tuned.eval(), examples) / labels == pytest.approx(record["loss_after"], rel=1e-4)


@pytest.mark.parametrize("kill_after", [1, 5])  # before the first checkpoint that is not step 0's, and between two
def test_a_run_killed_at_any_step_and_resumed_equals_one_that_was_not(whole, settings, kill_after):
    broken = new_run(settings)
    command = [sys.executable, "-m", "tuning", "resume", str(broken.path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        next(told for told in process.stdout if told.startswith(f"step {kill_after}/"))
        process.kill()
    dead = broken.state()
    assert dead.state == "failed"
    assert "Resume" in dead.message
    assert worker.work(broken, Ranks(), quiet=True) == "finished"
    assert losses(broken.history()) == losses(whole.history()), f"killed after step {kill_after}"
    factors = [(each.adapter / "adapter_model.safetensors").read_bytes() for each in (broken, whole)]
    assert factors[0] == factors[1]
    assert outcome(broken) == outcome(whole)
    validations = [event["validation_loss"] for event in of_kind(broken.history(), "validation")]
    assert validations == [event["validation_loss"] for event in of_kind(whole.history(), "validation")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_resume_goes_on(whole, settings, monkeypatch, number):
    stopped = new_run(settings)
    plain = loop.train_step

    def step_with_signal(session, step, stop=False):
        stats = plain(session, step, stop)
        if step == 4:
            signal.raise_signal(number)
        return stats

    monkeypatch.setattr(loop, "train_step", step_with_signal)
    assert worker.work(stopped, Ranks(), quiet=True) == "stopped"
    state = stopped.state()
    assert (state.state, state.step) == ("stopped", 5)
    assert worker.WHY_STOPPED[number.name] in state.message
    assert checkpoint.found(stopped.path / "checkpoints")[0].name == "step-000005"
    monkeypatch.setattr(loop, "train_step", plain)
    assert worker.work(stopped, Ranks(), quiet=True) == "finished"
    assert losses(stopped.history()) == losses(whole.history())
    assert outcome(stopped) == outcome(whole)


def test_a_stop_waits_for_the_step_under_way_and_no_other(settings, monkeypatch):
    asked = []
    plain = loop.train_step

    def step(*arguments):
        asked.append(True)
        return plain(*arguments)

    monkeypatch.setattr(loop, "train_step", step)
    monkeypatch.setattr(worker.StopRequest, "__call__", lambda _: bool(asked))
    stopped = new_run(settings)
    assert worker.work(stopped, Ranks(), quiet=True) == "stopped"
    assert stopped.state().step == 1
    assert not run.is_trained(stopped.adapter)
    with pytest.raises(UserError, match="no adapter better than the base model yet"):
        best_adapter(stopped)
    monkeypatch.undo()
    monkeypatch.setenv("LORA_LENS_DATA", str(stopped.path.parents[1]))
    assert worker.work(stopped, Ranks(), quiet=True) == "finished"
    assert best_adapter(stopped) == stopped.adapter


def test_examples_beyond_the_models_context_are_left_out_and_counted(settings, data_file, tmp_path):
    rows = data_file.read_text() + json.dumps({"instruction": "spell it", "input": "", "output": "x" * 600}) + "\n"
    (tmp_path / "long.jsonl").write_text(rows)
    roomy = new_run(settings, data=str(tmp_path / "long.jsonl"), max_tokens=4096, max_steps=1)
    worker.work(roomy, Ranks(), quiet=True)
    assert of_kind(roomy.history(), "start")[0]["dropped"]["over 512 tokens"] == 1


def test_early_stopping_keeps_the_best(settings, monkeypatch):
    found = iter([3.0, 2.0, 2.5, 2.6, 1.0, 1.0])
    monkeypatch.setattr(loop, "measured", lambda session, examples: {"loss": next(found)})
    stopped = new_run(settings, patience=2, validate_every=1)
    assert worker.work(stopped, Ranks(), quiet=True) == "finished"
    history = stopped.history()
    assert of_kind(history, "result")[0]["best_step"] == 1
    assert len(of_kind(history, "step")) == 3
    assert any("Stopped early" in event["message"] for event in of_kind(history, "log"))


def test_without_validation_rows_the_newest_adapter_is_kept(settings):
    blind = new_run(settings, validation_rows=0)
    assert worker.work(blind, Ranks(), quiet=True) == "finished"
    record = json.loads((blind.adapter / "run_record.json").read_text())
    assert record["steps"] == 9
    assert record["loss_after"] is None


def test_samples_show_the_answer_before_and_after(settings):
    shown = new_run(settings, sample_every=9, sample_tokens=5)
    worker.work(shown, Ranks(), quiet=True)
    samples = of_kind(shown.history(), "sample")
    assert [event["step"] for event in samples] == [0, 9]
    assert all(event["tokens"] <= 5 and event["question"].startswith("Write a function") for event in samples)


def test_sampling_and_saving_change_no_loss(whole, settings):
    other = new_run(settings, sample_every=2, sample_tokens=3, save_every=1)
    worker.work(other, Ranks(), quiet=True)
    assert losses(other.history()) == losses(whole.history())


def test_the_8_bit_optimizer_trains_and_resumes_exactly(settings, monkeypatch):
    settings = settings | {"optimizer": "adamw8bit"}
    straight = new_run(settings)
    worker.work(straight, Ranks(), quiet=True)
    broken = interrupted(settings, 5, monkeypatch)
    worker.work(broken, Ranks(), quiet=True)
    assert losses(broken.history()) == losses(straight.history())


@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_a_quantised_base_trains(settings, quantize):
    small = new_run(settings, quantize=quantize, max_steps=2)
    assert worker.work(small, Ranks(), quiet=True) == "finished"
    history = small.history()
    result = of_kind(history, "result")[0]
    assert result["best_loss"] < result["loss_before"]


def test_a_bf16_base_trains_close_to_the_fp32_one(whole, settings):
    half = new_run(settings, precision="bf16")
    assert worker.work(half, Ranks(), quiet=True) == "finished"
    assert of_kind(half.history(), "start")[0]["device"] == "CPU bf16"
    for found, expected in zip(losses(half.history()), losses(whole.history()), strict=True):
        assert found[1] == pytest.approx(expected[1], rel=0.02)
    weights = checkpoint.load(checkpoint.found(half.path / "checkpoints")[0])["adapter"]
    assert {factor.dtype for factor in weights.values()} == {torch.float32}


def test_the_event_stream_survives_a_torn_line(tmp_path):
    path = tmp_path / "events.jsonl"
    stream = events.Events(path)
    stream.emit("step", step=1, loss=float("nan"))
    with path.open("ab") as file:
        file.write(b'{"event": "step", "st')
    found, offset = events.read(path)
    assert [event["step"] for event in found] == [1]
    assert found[0]["loss"] is None
    events.Events(path).emit("step", step=2)
    assert [event["step"] for event in events.read(path, offset)[0]] == [2]
    assert [event["step"] for event in events.tail(path)] == [1, 2]


def test_a_clock_that_jumps_back_changes_nothing_but_the_times(settings, monkeypatch):
    jumpy = new_run(settings)
    times = iter(range(2_000_000_000, 0, -10_000))
    monkeypatch.setattr(time, "time", lambda: float(next(times)))
    worker.work(jumpy, Ranks(), quiet=True)
    monkeypatch.undo()
    assert [event["step"] for event in of_kind(jumpy.history(), "step")] == list(range(1, 10))
    assert all(event["eta_seconds"] >= 0 for event in of_kind(jumpy.history(), "step"))
