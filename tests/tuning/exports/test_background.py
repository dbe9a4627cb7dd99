"""Exports that a page begins: how they stand, their certificates, a stop, and what is not pushed."""

from __future__ import annotations

import json
import time

import pytest

from tests.tuning.views.test_run_view_parts import with_adapter
from tuning.errors import UserError
from tuning.exports import background, hub
from tuning.exports.background import Exports, exports


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path / "home"))


def ended(told, run):
    until = time.monotonic() + 120
    while told.told(run).get("state") == "working":
        assert time.monotonic() < until
        time.sleep(0.02)
    return told.told(run)


def test_a_run_is_exported_with_its_certificate(whole):
    told = Exports()
    name = told.export(whole, "merged", "bf16")
    assert name == f"{whole.name}-merged-bf16"
    with pytest.raises(UserError, match="Another export is under way"):
        told.export(whole, "gguf")
    state = ended(told, whole)
    assert state["state"] == "done", state
    (made,) = told.made(whole)
    assert made["colour"] == state["colour"]
    assert made["sentence"] in state["words"]
    with pytest.raises(UserError, match="is there already"):
        told.export(whole, "merged", "bf16")


def test_a_stop_ends_the_process_and_leaves_nothing(whole):
    told = Exports()
    told.export(whole, "merged")
    told.stop(whole)
    assert ended(told, whole)["state"] == "stopped"
    assert list(exports().iterdir()) == []
    assert told.made(whole) == []


def test_a_red_export_is_shown_and_said_and_not_pushed(home, monkeypatch):
    made, told = with_adapter(), Exports()

    def follow(command, on_line, on_start):
        folder = exports() / command[command.index(str(made.path)) + 1]
        folder.mkdir()
        (folder / "certificate.json").write_text(json.dumps({"colour": "red", "sentence": "It lost its head."}))
        on_line(json.dumps({"text": "checking", "fraction": 0.5}))
        return 3, ""

    monkeypatch.setattr(background.helper_process, "follow", follow)
    monkeypatch.setattr(hub, "token", lambda: "hf_x")
    name = told.export(made, "gguf", "Q8_0")
    state = ended(told, made)
    assert state["colour"] == "red"
    assert state["words"].startswith("Do not use it as it is: It lost its head.")
    assert [each["colour"] for each in told.made(made)] == ["red"]
    with pytest.raises(UserError, match="not pushed, because its certificate is red: It lost its head"):
        told.push(made, "ann/mine", True, name)
    with pytest.raises(UserError, match="no export 'other'"):
        told.push(made, "ann/mine", True, "other")


@pytest.mark.parametrize(("kind", "precision"), [("zip", ""), ("gguf", "Q9"), ("adapter", "bf16")])
def test_what_there_is_not_is_refused_before_anything_begins(home, kind, precision):
    with pytest.raises(UserError, match=r"There is no export|has no precision"):
        Exports().export(with_adapter(), kind, precision)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"text": "merging", "fraction": 0.5}', "merging… 50%"),
        ('{"text": "merging", "fraction": null}', "merging…"),
        ("a warning of some library", ""),
        ('{"path": "x"}', ""),
    ],
)
def test_lines_of_a_process_that_tell_no_progress_are_passed_over(line, words):
    assert background.progress_words(line) == words
