"""What stands behind the Train tab: estimates, uploads, work done aside, exports, and the Hub's stand-in."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import time
import zipfile

import pytest

from tuning import presets
from tuning.errors import UserError
from tuning.exports.background import PART_BYTES, Exports
from tuning.runs import helper_process, process, run
from tuning.views import estimate, preview, uploads
from tuning.views.run_fold import Fold
from tuning.views.run_view import Watcher


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


def told_run(name="a-run", **changes):
    """A run that took 4 s to load, then 10 s for each of three steps of 1,000 tokens after a slow first one."""
    made = run.create("quick", presets.configure("quick", {"batch_size": 4, **changes}), run.runs_root() / name)
    events = [
        {"event": "loading", "time": 0.0},
        {"event": "start", "time": 4.0, "validation_rows": 8},
        {"event": "validation", "time": 6.0, "step": 0, "seconds": 2.0, "validation_loss": 1.0},
        {"event": "sample", "time": 7.0, "step": 0, "tokens": 10},
        *(
            {"event": "step", "time": 0.0, "step": n, "tokens": 1000, "seconds": 10.0 if n > 1 else 30.0}
            for n in range(1, 5)
        ),
    ]
    made.events_path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return made


def test_an_estimate_adds_up_what_a_run_of_the_same_model_has_shown(home):
    told_run()
    config = presets.configure(
        "quick",
        {
            "max_steps": 10,
            "batch_size": 2,
            "validate_every": 5,
            "validation_rows": 4,
            "sample_every": 10,
            "sample_tokens": 20,
        },
    )
    loading, training, validations, samples = 4.0, 20 * 250 / 100, 3 * 4 / 4, 2 * 20 / 10
    pace = estimate.pace_of(*(run.find("a-run").follow()[:1]), 4, "a-run")
    assert pace.seconds(config) == pytest.approx(loading + training + validations + samples)
    assert estimate.Estimator().words(config) == "About 1 min 01 s on this machine, going by run a-run (100 tokens/s)."


def test_without_a_run_of_the_same_model_there_is_no_estimate(home):
    told_run()
    assert estimate.Estimator().words(presets.configure("quick", {"model": "another"})) == ""
    assert estimate.Estimator().words(presets.configure("quick", {"quantize": "4bit"})) == ""


def test_an_estimate_follows_the_run_it_rests_on(home):
    estimator = estimate.Estimator()
    made = told_run()
    before = estimator.words(presets.preset("quick"))
    with made.events_path.open("a") as file:
        file.write(json.dumps({"event": "step", "time": 0.0, "step": 5, "tokens": 1000, "seconds": 1.0}) + "\n")
    assert estimator.words(presets.preset("quick")) != before


def test_a_calibration_is_a_short_run_apart_from_the_others(home, tiny_model_path, tmp_path):
    from tests.tuning.runs.test_run import wait_for

    data = tmp_path / "rows.jsonl"
    rows = ({"prompt": f"question number {n}", "completion": f"answer {n}"} for n in range(40))
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = presets.configure("smoke", {"model": str(tiny_model_path), "data": str(data), "max_steps": 5000})
    watcher = Watcher()
    started = estimate.calibrate("smoke", config)
    assert started.config().max_steps == estimate.SHORT["max_steps"]
    if estimate.measuring():
        assert watcher.look(None, {})["run"] is None
    wait_for(lambda: not started.working())
    assert run.all_runs() == []
    assert "going by a calibration" in estimate.Estimator().words(config)
    assert estimate.failure(config) == ""


def test_an_upload_is_taken_from_the_servers_own_folder_only(home, tmp_path):
    received = tmp_path / "received"
    (received / "abc").mkdir(parents=True)
    sent = received / "abc" / "my rows (1).csv"
    sent.write_text("prompt,completion\na,b\n")
    kept = uploads.keep(sent, received)
    assert kept.name == "my_rows_1_.csv"
    assert kept.read_text().startswith("prompt")
    assert not sent.exists()
    assert uploads.names() == [str(kept)]
    secret = tmp_path / "secret.csv"
    secret.write_text("x")
    (received / "link.csv").symlink_to(secret)
    for wrong in (secret, received / ".." / "secret.csv", received / "link.csv", received / "none.csv"):
        with pytest.raises(UserError, match="was not uploaded"):
            uploads.keep(wrong, received)
    assert secret.exists()
    picture = received / "picture.png"
    picture.write_bytes(b"x")
    with pytest.raises(UserError, match="is no data file"):
        uploads.keep(picture, received)
    assert not picture.exists()


def test_a_preview_marks_exactly_what_is_trained(home, tiny_model_path, tmp_path):
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"q {n}", "completion": f"a {n}"}) + "\n" for n in range(30)))
    config = presets.configure("smoke", {"model": str(tiny_model_path), "data": str(data), "max_steps": 10})
    told = preview.preview(presets.to_dict(config))
    assert len(told["samples"]) == 3
    for prompt, answer in told["samples"]:
        assert not prompt[1]
        assert prompt[0].endswith("assistant\n")
        assert answer[1]
        assert answer[0].startswith("a ")
        assert answer[0].endswith("<|im_end|>")
    assert "training rows" in told["facts"]
    assert "Nothing was left out" in told["facts"]
    assert "warm-up" not in told["facts"]
    epochs = preview.preview(presets.to_dict(config) | {"epochs": 1.0, "warmup_steps": 20, "batch_size": 8})
    assert re.search(r"Its epochs make [34] steps\. The warm-up is longer than the run", epochs["facts"])


def test_a_preview_tells_the_two_answers_of_a_pair_apart(home, tiny_model_path, tmp_path):
    data = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"q {n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(30)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = {"model": str(tiny_model_path), "data": str(data), "max_steps": 10, "objective": "dpo"}
    told = preview.preview(presets.to_dict(presets.configure("smoke", changes)))
    for spans in told["samples"]:
        assert [(trained, part) for _, trained, part in spans] == [
            (False, "chosen"), (True, "chosen"), (False, "rejected"), (True, "rejected"),
        ]  # fmt: skip
        assert spans[1][0].startswith("good ")
        assert spans[3][0].startswith("bad ")


def test_work_aside_says_what_it_was_told_and_is_given_up_in_time(tmp_path):
    assert helper_process.call(["sh", "-c", "echo some; echo error: what was wrong >&2; exit 2"], "", 30) == (
        2,
        "some\n",
        "what was wrong",
    )
    code, *_ = helper_process.call(["sh", "-c", "kill -9 $$"], "", 30)
    assert "killed, most likely because the machine ran out of memory" in helper_process.died(code)
    sleeper = tmp_path / "pid"
    with pytest.raises(UserError, match="longer than 1 s"):
        helper_process.call(["sh", "-c", f"sleep 600 & echo $! > {sleeper}; wait"], "", 1)
    child = int(sleeper.read_text())
    until = time.monotonic() + 20
    while process.identity(child) is not None:
        assert time.monotonic() < until


def with_adapter(name="a-run", size=100):
    made = run.create("smoke", presets.preset("smoke"), run.runs_root() / name)
    made.adapter.mkdir()
    (made.adapter / "adapter_model.safetensors").write_bytes(os.urandom(size))
    (made.adapter / "adapter_config.json").write_text("{}")
    (made.adapter / "README.md").write_text("# An adapter\n")
    return made


def test_an_adapter_is_taken_as_a_zip_in_parts(home):
    made = with_adapter(size=2 * PART_BYTES)
    exports, offset, content = Exports(), 0, b""
    while offset is not None:
        part = exports.part(made, offset)
        content += base64.b64decode(part["content"])
        assert len(part["content"]) < 1.4 * PART_BYTES
        offset = part["next"]
    assert len(content) == part["size"]
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        whole = (made.adapter / "adapter_model.safetensors").read_bytes()
        assert archive.read("adapter/adapter_model.safetensors") == whole
    assert not list((home / "exports").iterdir())
    with pytest.raises(UserError, match="no longer exists"):
        exports.part(made, 5)


def test_events_that_cannot_be_read_are_told_once_and_hide_no_others(tmp_path, caplog):
    lines = [{"event": "step", "step": 1}] * 3 + [{"event": "step", "step": 2, "time": 1.0, "loss": "?"}]
    good = {"event": "finished", "time": 2.0, "message": "done"}
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(one) + "\n" for one in [*lines, good]))
    fold = Fold(tmp_path / "events.jsonl")
    fold.update()
    assert fold.last == "finished"
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.records[0].exc_info
