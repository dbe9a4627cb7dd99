"""A checkpoint's adapter in peft's format, so that it can answer, be scored, and be chosen in place of the best one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from tuning.errors import UserError
from tuning.file_names import RECORD_FILE, WEIGHTS_FILE
from tuning.files import replacing_folder
from tuning.runs import start_adapter
from tuning.runs.run import Run

if TYPE_CHECKING:
    import torch

FOLDER = "adapter"
OF_BEST = ("score", "scored_on", "evidence")
"""What a record tells of the adapter that the run kept, beside its test figures."""


def steps(run: Run) -> list[int]:
    """The steps of the checkpoints that a run has kept, ascending."""
    found = (run.path / "checkpoints").glob("step-*")
    return sorted(int(path.name.removeprefix("step-")) for path in found if path.name[5:].isdigit())


def place(run: Run, step: int) -> Path:
    """Where the adapter of a checkpoint lies, or will."""
    return run.path / "checkpoints" / f"step-{step:06d}" / FOLDER


def write(run: Run, step: int) -> Path:
    """The folder with the adapter as it was after ``step``, made where it is not there yet.

    Raises UserError if the run has no such checkpoint, it is damaged, or the run has kept no adapter to go by.
    """
    target = place(run, step)
    if (target / WEIGHTS_FILE).is_file():
        return target
    with FileLock(run.path / "checkpoints" / ".adapter.lock"):
        return _written(run, step, target)


def _written(run: Run, step: int, target: Path) -> Path:
    from tuning.training import checkpoint  # with torch

    if (target / WEIGHTS_FILE).is_file():  # another process was faster
        return target
    if not target.parent.is_dir():
        kept = ", ".join(map(str, steps(run))) or "none"
        raise UserError(f"Run {run.name} has no checkpoint of step {step}: it has kept {kept}.")
    if not (run.adapter / WEIGHTS_FILE).is_file():
        raise UserError(f"Run {run.name} has no adapter yet: let it validate once.")
    state = checkpoint.load(target.parent)
    if isinstance(state, str):
        raise UserError(f"The checkpoint of step {step} is damaged ({state}): choose another.")
    with replacing_folder(target) as fresh:
        shutil.copytree(run.adapter, fresh)
        write_factors(run, state["adapter"], fresh)
        record = json.loads((fresh / RECORD_FILE).read_text(encoding="utf-8"))
        losses = {event["step"]: event["validation_loss"] for event in run.history() if event["event"] == "validation"}
        record = {name: value for name, value in record.items() if not name.startswith("test_") and name not in OF_BEST}
        record |= {"name": f"{run.name} step {step}", "steps": step, "loss_after": losses.get(step)}
        (fresh / RECORD_FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        (fresh / "README.md").unlink(missing_ok=True)  # it tells of the best adapter
    return target


def write_factors(run: Run, factors: dict[str, torch.Tensor], folder: Path) -> None:
    """Put a checkpoint's factors in place of those in ``folder``, under the names that peft gives them there.

    Raises UserError if they are not the same.
    """
    import torch
    from safetensors.torch import load_file, save_file

    from tuning.training.adapter import pissa

    names = set(load_file(folder / WEIGHTS_FILE))
    named = {}
    for name, factor in factors.items():
        plain = name.replace(".default", "")
        named[plain if plain in names else plain.removesuffix(".weight")] = factor.contiguous()
    if set(named) != names:
        raise UserError(f"Run {run.name} keeps other factors in its checkpoints than in its adapter: start a new run.")
    initial = run.path / start_adapter.FOLDER / pissa.FILE
    if run.config().init == "pissa":
        for name, begun in load_file(initial).items():
            layer, _, letter = name.rpartition(".")
            key = f"{layer}.lora_{letter}.weight"
            named[key] = torch.cat([named[key], begun if letter == "A" else -begun], 0 if letter == "A" else 1)
    save_file(named, folder / WEIGHTS_FILE, metadata={"format": "pt"})
