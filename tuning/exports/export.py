"""A run's adapter for use elsewhere, as a folder or a zip."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
import zipfile
from pathlib import Path

from tuning.errors import UserError
from tuning.file_names import WEIGHTS_FILE
from tuning.files import recover_folder, replacing
from tuning.runs.run import Run, is_trained

log = logging.getLogger(__name__)

COPY_ATTEMPTS = 5
REPLACING_SECONDS = 2.0


def export_adapter(run: Run, out: Path, *, half: bool = False) -> Path:
    """Copy a run's best adapter, as :func:`export_adapter_of` does. Raises UserError if there is none yet, too."""
    return export_adapter_of(best_adapter(run), out, half=half)


def export_adapter_of(adapter: Path, out: Path, *, half: bool = False) -> Path:
    """Copy an adapter to the folder ``out``, or into the zip ``out``; ``half`` stores its factors in bfloat16.

    Raises UserError if ``out`` exists, or the disk is full.
    """
    refuse_existing(out)
    try:
        with replacing(out) as fresh, tempfile.TemporaryDirectory() as scratch:
            copy = copy_adapter(adapter, Path(scratch) / adapter.name)
            if half:
                halve(copy / WEIGHTS_FILE)
            if out.suffix == ".zip":
                write_zip(copy, fresh)
            else:
                shutil.copytree(copy, fresh)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}): choose another place.") from error
    return out


def halve(weights: Path) -> None:
    """Rewrite a safetensors file in bfloat16, which takes half the space."""
    import torch
    from safetensors.torch import load_file, save_file

    factors = {name: factor.to(torch.bfloat16) for name, factor in load_file(weights).items()}
    save_file(factors, weights, metadata={"format": "pt"})


def write_zip(folder: Path, target: Path) -> None:
    """Pack a folder's files under the folder's own name, weights stored as they are."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"{folder.name}/{path.name}")


def best_adapter(run: Run) -> Path:
    """The run's adapter folder. Raises UserError if it has none yet that is better than the base model."""
    wait_for_adapter(run)
    if not (run.adapter / WEIGHTS_FILE).is_file():
        raise UserError(f"Run {run.name} has saved no adapter yet: let it reach its first validation.")
    if not is_trained(run.adapter):
        raise UserError(
            f"Run {run.name} has no adapter better than the base model yet: resume it, until a validation loss is "
            "lower than that of step 0."
        )
    return run.adapter


def wait_for_adapter(run: Run) -> None:
    """Have the adapter's folder in its place: a worker that is alive puts a better one there in a moment; what a dead
    one left in between is put right here."""
    until = time.monotonic() + REPLACING_SECONDS
    aside = run.adapter.with_name(run.adapter.name + ".old")
    while run.working() and aside.exists() and not run.adapter.exists() and time.monotonic() < until:
        time.sleep(0.01)
    if not run.working():
        recover_folder(run.adapter)


def copy_adapter(adapter: Path, target: Path) -> Path:
    """Copy an adapter's folder while its run may put a better one in its place; returns ``target``, whose files are
    all of one adapter. Raises UserError if it is replaced faster than it can be copied."""
    for _ in range(COPY_ATTEMPTS):
        try:
            before = adapter.stat().st_ino
            shutil.copytree(adapter, target)
            if adapter.stat().st_ino == before:
                return target
        except (FileNotFoundError, shutil.Error) as error:
            log.info("the adapter was replaced while it was copied: %s", error)
        shutil.rmtree(target, ignore_errors=True)
        time.sleep(0.05)
    raise UserError(f"The adapter in {adapter.parent.name} is being replaced all the time: try again in a moment.")


def refuse_existing(out: Path) -> None:
    """Raise UserError if ``out`` exists or its folder does not."""
    if out.exists():
        raise UserError(f"{out} exists already: choose another name.")
    if not out.parent.is_dir():
        raise UserError(f"The folder {out.parent} does not exist: make it first.")
