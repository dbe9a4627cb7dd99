"""Suites that came through the page."""

from __future__ import annotations

import errno
import gzip
import json
from pathlib import Path

import pytest

from eval_prompts.scoring.in_app import suites
from tuning.errors import UserError

ROW = {"task_id": 1, "text": "Add two numbers.", "test_list": ["assert add(1, 2) == 3"]}


@pytest.fixture
def received(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path / "data"))
    folder = tmp_path / "received"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", ["my suite.jsonl", "s.json", "s.jsonl.gz"])
def test_one_is_kept_once_and_found_again(received, name):
    content = json.dumps([ROW, ROW] if name.endswith(".json") else ROW).encode()
    for _ in range(2):
        sent = received / name
        sent.write_bytes(gzip.compress(content, mtime=0) if name.endswith("gz") else content)
        kept, count = suites.keep(sent, received)
        assert not sent.exists()
    assert count == (2 if name.endswith(".json") else 1)
    assert suites.find(kept).is_file()
    assert len(list(suites.folder().glob("*/*"))) == 1


def test_what_is_no_suite_is_refused_without_its_place_and_goes(received):
    sent = received / "notes.jsonl"
    sent.write_text('{"title": "no suite"}\n')
    with pytest.raises(UserError, match=r"^Row 1 of notes.jsonl is neither"):
        suites.keep(sent, received)
    assert not sent.exists()
    outside = received.parent / "other.jsonl"
    outside.write_text(json.dumps(ROW))
    with pytest.raises(UserError, match="was not uploaded"):
        suites.keep(outside, received)
    assert outside.exists()


def test_one_that_is_cut_off_on_its_way_leaves_nothing(received, monkeypatch):
    sent = received / "own.jsonl"
    sent.write_text(json.dumps(ROW))
    write = Path.write_bytes

    def torn(path, content):
        write(path, content[:9])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", torn)
        # A move to another disk is a copy: that is cut off, too.
        patch.setattr("shutil.move", lambda place, target: torn(target, place.read_bytes()))
        with pytest.raises(UserError, match="free some space"):
            suites.keep(sent, received)
    sent.write_text(json.dumps(ROW))
    kept, _ = suites.keep(sent, received)
    assert json.loads(suites.find(kept).read_text()) == ROW


@pytest.mark.parametrize("name", ["../outside.jsonl", "0123456789abcdef/../../outside.jsonl", "a/../../outside.jsonl"])
def test_a_name_finds_nothing_outside(received, monkeypatch, name):
    """A file that lies beside the suites' folder is not found through it."""
    (suites.folder() / "0123456789abcdef").mkdir(parents=True)
    (suites.folder() / "a").mkdir()
    outside = suites.folder().parent / "outside.jsonl"
    outside.write_text(json.dumps(ROW))
    assert (suites.folder() / name).resolve() == outside.resolve()
    monkeypatch.chdir(received)
    found = suites.find(name)
    assert not found.is_file()
    assert found == Path(name)
