"""What stands behind the Train tab: estimates, uploads, work done aside, exports, and the Hub's stand-in."""

from __future__ import annotations

import base64
import io
import json
import os
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tuning import aside, estimate, hub, lock, presets, preview, process, run, uploads
from tuning.errors import UserError
from tuning.run_exports import PART_BYTES, Exports
from tuning.train_view import Watcher


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
    from tests.tuning.test_run import wait_for

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


def test_work_aside_says_what_it_was_told_and_is_given_up_in_time(tmp_path):
    with pytest.raises(UserError, match="There is no data file"):
        aside.ask("tuning.preview", presets.to_dict(presets.configure("smoke", {"data": str(tmp_path / "x.csv")})), 120)
    with pytest.raises(UserError, match="killed, most likely because the machine ran out of memory"):
        raise UserError(aside.died(aside.call(["sh", "-c", "kill -9 $$"], "", 30)[0]))
    sleeper = tmp_path / "pid"
    with pytest.raises(UserError, match="longer than 1 s"):
        aside.call(["sh", "-c", f"sleep 600 & echo $! > {sleeper}; wait"], "", 1)
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
    with pytest.raises(UserError, match="has gone"):
        exports.part(made, 5)


class Stand(ThreadingHTTPServer):
    """As much of the Hub as a push needs; keeps what it is sent. ``refusal`` answers all with that status."""

    def __init__(self, refusal=None):
        super().__init__(("127.0.0.1", 0), StandHandler)
        self.refusal, self.made, self.files, self.tokens = refusal, [], {}, set()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


class StandHandler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        hub_ = self.server
        hub_.tokens.add(self.headers.get("Authorization"))
        if hub_.refusal:
            return self._say(hub_.refusal, {"error": "no"})
        if self.path == "/api/repos/create":
            hub_.made.append(json.loads(body))
            return self._say(200, {"url": f"{hub_.url}/ann/mine"})
        if "/preupload/" in self.path:
            files = [{"path": each["path"], "uploadMode": "regular"} for each in json.loads(body)["files"]]
            return self._say(200, {"files": [each | {"shouldIgnore": False, "oid": None} for each in files]})
        if "/commit/" in self.path:
            for step in map(json.loads, body.decode().splitlines()):
                if step["key"] == "file":
                    hub_.files[step["value"]["path"]] = base64.b64decode(step["value"]["content"])
            return self._say(200, {"commitUrl": f"{hub_.url}/ann/mine/commit/{'2' * 40}", "commitOid": "2" * 40})
        return self._say(200, {"errors": [], "warnings": []})

    def do_GET(self):
        self._say(200, {"id": "ann/mine", "sha": "1" * 40, "siblings": [], "private": True, "tags": [], "likes": 0})

    def _say(self, status, content):
        sent = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    def log_message(self, *_):
        pass


@pytest.fixture
def stand(monkeypatch):
    made = []

    def start(refusal=None):
        server = Stand(refusal)
        made.append(server)
        for module in ("huggingface_hub.constants", "huggingface_hub.hf_api", "huggingface_hub._commit_api"):
            monkeypatch.setattr(f"{module}.ENDPOINT", server.url, raising=False)
        monkeypatch.setenv("HF_TOKEN", "hf_only-for-this-test")
        return server

    yield start
    for server in made:
        server.shutdown()
        server.server_close()


def finished(exports, made):
    until = time.monotonic() + 60
    while exports.told(made)["state"] == "working":
        assert time.monotonic() < until
        time.sleep(0.01)
    return exports.told(made)


def test_a_push_makes_a_private_repository_of_the_adapter_alone(home, stand):
    server = stand()
    made = with_adapter()
    (made.adapter / "private-notes.txt").write_text("mine")
    exports = Exports()
    exports.push(made, "ann/mine", private=True)
    told = finished(exports, made)
    assert told["state"] == "done", told
    assert "(private)" in told["words"]
    assert server.made[0]["name"] == "mine"
    assert server.made[0]["visibility"] == "private"
    assert set(server.files) == {"adapter_model.safetensors", "adapter_config.json", "README.md"}
    assert server.tokens == {"Bearer hf_only-for-this-test"}


@pytest.mark.parametrize(("status", "words"), [(401, "the token is not valid"), (403, "the token may not write there")])
def test_what_the_hub_refuses_is_said(home, stand, status, words):
    stand(status)
    exports, made = Exports(), with_adapter()
    exports.push(made, "ann/mine", private=True)
    told = finished(exports, made)
    assert told["state"] == "failed"
    assert words in told["words"]
    assert "hf_only" not in told["words"]


def test_without_a_token_a_push_is_refused_clearly(home, monkeypatch):
    monkeypatch.setattr(hub, "token", lambda: None)
    with pytest.raises(UserError, match="No Hub token is configured: set HF_TOKEN"):
        Exports().push(with_adapter(), "ann/mine", private=True)


@pytest.mark.parametrize("name", ["../x", "a/b/c", "a b", "x" * 200, "http://x/y", "-/-/"])
def test_a_name_that_can_be_no_repository_is_refused(home, stand, name):
    stand()
    with pytest.raises(UserError, match="is no repository name"):
        hub.push(with_adapter(), name)


def test_one_export_at_a_time(home, stand, monkeypatch):
    stand()
    exports, made = Exports(), with_adapter()
    waiting = threading.Event()
    monkeypatch.setattr(hub, "push", lambda *_, **__: waiting.wait(30) and "there")
    exports.push(made, "ann/mine", private=True)
    with pytest.raises(UserError, match="Another export is under way"):
        exports.merge(made)
    waiting.set()
    assert finished(exports, made)["state"] == "done"


def test_a_worker_steps_back_for_those_who_ask(home, tiny_model_path, tmp_path):
    from tests.tuning.test_run import small, wait_for

    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"q {n}", "completion": f"a {n}"}) + "\n" for n in range(30)))
    started = run.start("smoke", small(tiny_model_path, data))
    pid = started.worker()["pid"]
    assert os.getpriority(os.PRIO_PROCESS, pid) == aside.NICENESS
    proc = Path(f"/proc/{pid}")
    if proc.exists():
        assert "OMP_WAIT_POLICY=PASSIVE" in (proc / "environ").read_text()
        assert int((proc / "oom_score_adj").read_text()) == 500
    started.stop()
    wait_for(lambda: not started.working())
    assert lock.current() is None
