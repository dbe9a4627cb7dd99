"""A run's adapter is read while its worker puts better ones in its place: nobody fails, nobody reads half of two."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from tuning import files
from tuning.errors import UserError
from tuning.exports import export
from tuning.exports.export import best_adapter, copy_adapter
from tuning.runs.run import Run

FILES = ("adapter_model.safetensors", "a.txt", "b.txt")


def write(folder: Path, word: str) -> Path:
    folder.mkdir()
    for name in FILES:
        (folder / name).write_text(word)
    return folder


def test_a_folder_put_back_in_the_middle_of_a_replacement_fails_neither_side(tmp_path, monkeypatch):
    adapter = write(tmp_path / "adapter", "old")
    plain, seen = Path.rename, []

    def renamed(self, target):
        moved = plain(self, target)
        if self.name == "adapter" and not seen:  # the reader comes between the worker's two moves
            seen.append(target)
            files.recover_folder(adapter)
            assert (adapter / "a.txt").read_text() == "old"
        return moved

    monkeypatch.setattr(Path, "rename", renamed)
    files.replace_folder(write(tmp_path / "adapter.new", "new"), adapter)
    assert seen
    assert (adapter / "a.txt").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter"]


def test_a_reader_leaves_the_replacing_to_a_worker_that_is_alive(tmp_path, monkeypatch):
    write(tmp_path / "adapter.old", "old")
    monkeypatch.setattr(Run, "working", lambda self: True)
    monkeypatch.setattr(export, "REPLACING_SECONDS", 0.0)
    with pytest.raises(UserError, match="no adapter yet"):
        best_adapter(Run(tmp_path))
    assert (tmp_path / "adapter.old").is_dir()
    monkeypatch.setattr(Run, "working", lambda self: False)
    assert best_adapter(Run(tmp_path)) == tmp_path / "adapter"


def test_a_copy_is_of_one_adapter_however_often_it_is_replaced(tmp_path):
    adapter, ended = write(tmp_path / "adapter", "0"), threading.Event()

    def replace():
        number = 0
        while not ended.is_set():
            number += 1
            files.replace_folder(write(tmp_path / "adapter.new", str(number)), adapter)
            ended.wait(0.01)

    worker = threading.Thread(target=replace)
    worker.start()
    try:
        for number in range(30):
            try:
                copy = copy_adapter(adapter, tmp_path / f"copy-{number}")
            except UserError:
                continue
            assert len({(copy / name).read_text() for name in FILES}) == 1
            shutil.rmtree(copy)
    finally:
        ended.set()
        worker.join()
