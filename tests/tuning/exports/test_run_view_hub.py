"""Pushing an adapter to a stand-in for the Hub."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.tuning.views.test_run_view_parts import with_adapter
from tuning.errors import UserError
from tuning.exports import hub
from tuning.exports.background import Exports


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path / "home"))


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
    (made.adapter / "chat_template.jinja").write_text("its own")
    exports = Exports()
    exports.push(made, "ann/mine", private=True)
    told = finished(exports, made)
    assert told["state"] == "done", told
    assert "(private)" in told["words"]
    assert server.made[0]["name"] == "mine"
    assert server.made[0]["visibility"] == "private"
    adapter = {"adapter_model.safetensors", "adapter_config.json", "README.md", "chat_template.jinja"}
    assert set(server.files) == adapter
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
