"""Runs on a bad day: damaged checkpoints, full disks, vanished folders, numbers that are none. Nothing good is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests.tuning.tiny_runs import FILES, interrupted, losses, new_run, of_kind
from tuning.errors import UserError
from tuning.training import checkpoint, loop, worker
from tuning.training.parallel import Ranks


def test_a_damaged_checkpoint_is_named_and_the_one_before_used(whole, settings, monkeypatch):
    broken = interrupted(settings, 5, monkeypatch)
    newest = checkpoint.found(broken.path / "checkpoints")[0]
    content = bytearray((newest / "state.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (newest / "state.pt").write_bytes(content)
    assert worker.work(broken, Ranks(), quiet=True) == "finished"
    told = [event["message"] for event in of_kind(broken.follow()[0], "log")]
    assert any("step-000004 is damaged" in message for message in told)
    assert of_kind(broken.follow()[0], "resumed")[0]["step"] == 2
    assert losses(broken.history()) == losses(whole.history())


def test_when_all_checkpoints_are_damaged_the_adapter_stays(settings, monkeypatch):
    broken = interrupted(settings, 5, monkeypatch)
    adapter = (broken.adapter / "adapter_model.safetensors").read_bytes()
    for path in checkpoint.found(broken.path / "checkpoints"):
        (path / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"checkpoints.*damaged"):
        worker.work(broken, Ranks(), quiet=True)
    assert (broken.adapter / "adapter_model.safetensors").read_bytes() == adapter


def test_an_adapter_whose_replacement_was_cut_off_is_put_back(settings, monkeypatch):
    broken = interrupted(settings, 5, monkeypatch)
    adapter = (broken.adapter / "adapter_model.safetensors").read_bytes()
    broken.adapter.rename(broken.path / "adapter.old")
    monkeypatch.setattr(loop, "fit", lambda job, should_stop: "stopped")
    worker.work(broken, Ranks(), quiet=True)
    assert (broken.adapter / "adapter_model.safetensors").read_bytes() == adapter
    assert not (broken.path / "adapter.old").exists()


def test_a_run_is_not_resumed_on_other_data(settings, data_file, tmp_path, monkeypatch):
    copy = tmp_path / "copy.jsonl"
    shutil.copy(data_file, copy)
    broken = interrupted(settings | {"data": str(copy)}, 3, monkeypatch)
    copy.write_text("\n".join(copy.read_text().splitlines()[:-9]) + "\n")
    with pytest.raises(UserError, match="cannot be resumed: its data was"):
        worker.work(broken, Ranks(), quiet=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_ends_the_run_with_a_clear_line_and_keeps_what_was_saved(settings, monkeypatch):
    full = new_run(settings)
    plain = loop.train_step

    def step(session, number, stop=False):
        if number == 3:
            monkeypatch.setattr(checkpoint, "STATE", "/dev/full")
        return plain(session, number, stop)

    monkeypatch.setattr(loop, "train_step", step)
    with pytest.raises(UserError, match=r"disk .* is full: free some space"):
        worker.work(full, Ranks(), quiet=True)
    assert [path.name for path in (full.path / "checkpoints").iterdir()] == ["step-000002"]
    assert {path.name for path in full.adapter.iterdir()} == FILES
    assert full.state().state == "failed"
    assert "is full" in full.state().message
    monkeypatch.setattr(checkpoint, "STATE", "state.pt")
    monkeypatch.setattr(loop, "train_step", plain)
    assert worker.work(full, Ranks(), quiet=True) == "finished"


def test_a_disk_that_is_full_when_the_adapter_is_written_keeps_the_one_before(whole, settings, monkeypatch):
    from peft import PeftModel
    from safetensors import SafetensorError

    full = new_run(settings)
    plain = PeftModel.save_pretrained

    def save(model, folder, **options):
        if full.adapter.exists():
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        plain(model, folder, **options)

    monkeypatch.setattr(PeftModel, "save_pretrained", save)
    with pytest.raises(UserError, match=r"disk .* is full: free some space"):
        worker.work(full, Ranks(), quiet=True)
    assert {path.name for path in full.adapter.iterdir()} == FILES
    assert not list(full.path.glob("adapter.*"))
    monkeypatch.setattr(PeftModel, "save_pretrained", plain)
    assert worker.work(full, Ranks(), quiet=True) == "finished"
    assert losses(full.history()) == losses(whole.history())


def test_a_validation_loss_that_is_no_number_ends_the_run(settings, monkeypatch):
    found = iter([3.0, float("nan")])
    monkeypatch.setattr(loop, "measured", lambda session, examples: {"loss": next(found)})
    with pytest.raises(UserError, match="validation loss after step 3 is not a finite number"):
        worker.work(new_run(settings), Ranks(), quiet=True)


@pytest.mark.parametrize("left", [[], ["written-meanwhile"]], ids=["all of it", "but for a late file"])
def test_a_run_folder_that_vanishes_ends_the_run_clearly(settings, monkeypatch, left):
    doomed = new_run(settings)
    plain = loop.train_step

    def step(session, number, stop=False):
        if number == 2:
            shutil.rmtree(doomed.path)
            for name in left:
                (doomed.path / name).mkdir(parents=True)
        return plain(session, number, stop)

    monkeypatch.setattr(loop, "train_step", step)
    with pytest.raises(UserError, match="was removed while it was in use"):
        worker.work(doomed, Ranks(), quiet=True)
    assert [path.name for path in doomed.path.glob("*")] == left


def test_a_loss_that_is_no_number_keeps_the_last_good_adapter(settings, monkeypatch):
    wild = interrupted(settings, 4, monkeypatch)
    adapter = (wild.adapter / "adapter_model.safetensors").read_bytes()
    monkeypatch.setattr("tuning.training.step.one_pass", lambda *arguments: torch.tensor([float("nan")]))
    with pytest.raises(UserError, match="not a finite number"):
        worker.work(wild, Ranks(), quiet=True)
    assert (wild.adapter / "adapter_model.safetensors").read_bytes() == adapter
    assert wild.state().state == "failed"
