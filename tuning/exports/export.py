"""A run's result for use elsewhere: the adapter as a folder or a zip, or the base with the adapter merged in."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from tuning.errors import UserError
from tuning.files import recover_folder, replacing
from tuning.runs.run import Run, is_trained

if TYPE_CHECKING:
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)

COPY_ATTEMPTS = 5
REPLACING_SECONDS = 2.0
WEIGHTS_FILE, RECORD_FILE = "adapter_model.safetensors", "run_record.json"


def export_adapter(run: Run, out: Path, *, half: bool = False) -> Path:
    """Copy the best adapter to the folder ``out``, or into the zip ``out``; ``half`` stores its factors in bfloat16.

    Raises UserError if there is no adapter yet, ``out`` exists, or the disk is full.
    """
    adapter = best_adapter(run)
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


def export_merged(run: Run, out: Path) -> Path:
    """Write base and adapter as one model in transformers' layout to the folder ``out``, merged in fp32.

    A head or an embedding whose weight the base uses twice changes where the adapter is alone, as in training. Raises
    UserError if there is no adapter yet, ``out`` exists, or the disk is full.
    """
    adapter = best_adapter(run)
    refuse_existing(out)

    logging.getLogger("bitsandbytes").setLevel(logging.CRITICAL)
    from peft import PeftModel

    from tuning.models.device import pick_device
    from tuning.models.weights import load_model, load_tokenizer
    from tuning.quiet import quiet
    from tuning.training.job import find_weights

    weights = find_weights(run.config())
    try:
        with replacing(out) as fresh:
            with quiet():
                base = load_model(weights, pick_device("cpu"))
                untie(base, adapter)
                tuned = PeftModel.from_pretrained(base, adapter)
                tuned.merge_and_unload().save_pretrained(fresh)
            load_tokenizer(weights).save_pretrained(fresh)
            shutil.copy(adapter / "README.md", fresh / "ADAPTER.md")
            if (adapter / RECORD_FILE).is_file():  # by which the model is asked in the prompt it was trained in
                shutil.copy(adapter / RECORD_FILE, fresh / RECORD_FILE)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{out} cannot be written ({error}): free some space or choose another place.") from error
    return out


def untie(model: PreTrainedModel, adapter: Path) -> None:
    """Give head and embedding a weight each where the base has one for both and the adapter changes either of them:
    merged into the one weight, its change would be in both."""
    from safetensors import safe_open
    from torch import nn

    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    tied = embedding.get_parameter("weight")
    if head is None or head.weight is not tied:
        return
    paths = [path for path, module in model.named_modules() if module is head or module is embedding]
    with safe_open(adapter / WEIGHTS_FILE, "pt") as file:
        if not any(f".{path}." in name for name in file.keys() for path in paths):  # noqa: SIM118
            return
    head.weight = nn.Parameter(tied.detach().clone(), requires_grad=False)
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = False


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
