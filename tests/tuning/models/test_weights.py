"""Base weights: local folders, the Hub, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tuning.errors import UserError
from tuning.models.device import pick_device
from tuning.models.weights import fingerprint, load_model, load_tokenizer, resolve


def test_a_local_folder_is_loaded_in_eval_mode_without_gradients(tiny_model_path):
    weights = resolve(str(tiny_model_path))
    model = load_model(weights, pick_device("cpu"))
    assert "local folder" in weights.origin
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert load_tokenizer(weights).chat_template


def test_the_fingerprint_tells_weights_apart(tmp_path, tiny_model_path):
    copy = shutil.copytree(tiny_model_path, tmp_path / "copy")
    assert fingerprint(copy) == fingerprint(tiny_model_path)
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert fingerprint(copy) != fingerprint(tiny_model_path)


def bare(folder):
    (folder / "config.json").unlink()


def damaged_config(folder):
    (folder / "config.json").write_text("{")


def typeless_config(folder):
    (folder / "config.json").write_text("{}")


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def pointer(folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (bare, "no config.json"),
        (damaged_config, "cannot be read"),
        (typeless_config, "model_type"),
        (pickled, "pickles"),
        (pointer, "model.safetensors in .* is a Git LFS pointer, not the file: run git lfs pull"),
    ],
)
def test_a_folder_that_is_no_model_is_refused(tmp_path, tiny_model_path, spoil, message):
    folder = shutil.copytree(tiny_model_path, tmp_path / "model")
    spoil(folder)
    with pytest.raises(UserError, match=message):
        resolve(str(folder))


def test_a_folder_without_a_tokenizer_and_an_unknown_part_are_said(tmp_path, tiny_model_path):
    folder = shutil.copytree(tiny_model_path, tmp_path / "model")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(UserError, match="model holds no tokenizer"):
        load_tokenizer(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_act": "wobble"}))
    with pytest.raises(UserError, match="names 'wobble', which transformers does not know"):
        load_model(resolve(str(folder)), pick_device("cpu"))


def test_damaged_weights_are_one_clear_line(tmp_path, tiny_model_path):
    folder = shutil.copytree(tiny_model_path, tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match="cannot be loaded") as refusal:
        load_model(resolve(str(folder)), pick_device("cpu"))
    assert "\n" not in str(refusal.value)


def test_a_misspelt_preset_names_the_nearest():
    with pytest.raises(UserError, match="did you mean smollm2-135m"):
        resolve("smolm2-135m")


class HubStandIn(BaseHTTPRequestHandler):
    """The endpoints of the Hub that a snapshot download uses, serving one folder as one repository."""

    folder: Path
    revision = "a" * 40

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[:4] == ["api", "models", "owner", "model"]:
            names = [{"rfilename": path.name} for path in self.folder.iterdir()]
            info = {"id": "owner/model", "sha": self.revision, "siblings": names, "private": False, "tags": []}
            if "tree" in parts:
                info = [
                    {"type": "file", "path": p.name, "size": p.stat().st_size, "oid": self.etag(p)}
                    for p in self.folder.iterdir()
                ]
            self.reply(json.dumps(info).encode(), "application/json")
        elif parts[:3] == ["owner", "model", "resolve"] and (self.folder / parts[-1]).is_file():
            self.reply((self.folder / parts[-1]).read_bytes(), "application/octet-stream", self.folder / parts[-1])
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def etag(self, path):
        return hashlib.sha1(path.read_bytes()).hexdigest()

    def reply(self, body, kind, path=None):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", self.revision)
        if path is not None:
            self.send_header("ETag", f'"{self.etag(path)}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(tmp_path, tiny_model_path):
    """A stand-in of the Hub; yields a function that resolves a name in a fresh process against it."""
    folder = shutil.copytree(tiny_model_path, tmp_path / "repository")
    handler = type("Handler", (HubStandIn,), {"folder": folder})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def resolve_there(name, offline=False):
        script = (
            "import sys; from tuning.models.weights import *; from tuning.errors import UserError\n"
            f"try: w = resolve({name!r}); print(w.origin); print(sorted(p.name for p in w.path.iterdir()))\n"
            "except UserError as e: print('refused:', e)"
        )
        port = 9 if offline else server.server_port
        environment = {
            "HF_ENDPOINT": f"http://127.0.0.1:{port}",
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
            "HF_HUB_OFFLINE": "1" if offline else "0",
            "PATH": "/usr/bin:/bin",
        }
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=120
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.stdout

    resolve_there.folder = folder
    yield resolve_there
    server.shutdown()
    server.server_close()


def test_a_hub_model_is_fetched_without_pickles_and_found_again_offline(hub):
    (hub.folder / "pytorch_model.bin").write_bytes(b"pickle")
    online = hub("owner/model")
    assert "owner/model from the Hub, revision aaaaaaa" in online
    assert "model.safetensors" in online
    assert ".bin" not in online
    assert hub("owner/model", offline=True) == online


def test_a_hub_model_without_safetensors_is_refused(hub):
    (hub.folder / "model.safetensors").rename(hub.folder / "pytorch_model.bin")
    assert "refused: owner/model has no safetensors" in hub("owner/model")


def test_an_unknown_hub_model_and_no_network_are_said(hub):
    assert "refused: The Hub knows no model owner/other" in hub("owner/other")
    assert "refused: owner/new is not in the cache" in hub("owner/new", offline=True)
