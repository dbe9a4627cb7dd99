"""An adapter kept at another strength: the same factors with alpha scaled, and nothing where it is switched off."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.errors import UserError
from tuning.exports.export import refuse_existing
from tuning.file_names import CONFIG_FILE, RECORD_FILE, WEIGHTS_FILE
from tuning.files import replacing, write_json

if TYPE_CHECKING:
    import torch

WHOLE = ("modules_to_save", "trainable_token_indices", "use_dora", "lora_bias")
MEASURED = ("loss_before", "loss_after", "losses", "score", "scored_on", "evidence")
"""What a record tells of the adapter as trained, besides all that begins with ``test_``."""


def export_at_strength(
    adapter: Path, out: Path, strength: float, is_off: Callable[[str], bool] = lambda module: False
) -> Path:
    """Copy an adapter to the folder ``out`` with its alpha multiplied by ``strength``; the factors of modules that
    ``is_off`` (by dotted name) become zero. Its record loses the losses, which were measured at strength 1.

    Raises UserError for strength 0, an adapter that is more than pairs of LoRA factors, an ``out`` that exists, and a
    disk that is full.
    """
    if strength <= 0:
        raise UserError("At strength 0 the adapter changes nothing: there is nothing to keep.")
    config = read_config(adapter)
    refuse_whole_parts(config)
    refuse_existing(out)
    config["lora_alpha"] = config.get("lora_alpha", 8) * strength
    config["alpha_pattern"] = {name: alpha * strength for name, alpha in (config.get("alpha_pattern") or {}).items()}
    factors = switched(adapter / WEIGHTS_FILE, is_off)
    try:
        with replacing(out) as fresh:
            shutil.copytree(adapter, fresh)
            write_json(fresh / CONFIG_FILE, config, indent=2)
            if factors is not None:
                from safetensors.torch import save_file

                save_file(factors, fresh / WEIGHTS_FILE, metadata={"format": "pt"})
            note_strength(fresh, strength)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}): choose another place.") from error
    return out


def read_config(adapter: Path) -> dict[str, Any]:
    """The adapter's configuration. Raises UserError if it cannot be read."""
    try:
        config = json.loads((adapter / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"The adapter's {CONFIG_FILE} cannot be read ({error}): copy it again.") from error
    if not isinstance(config, dict):
        raise UserError(f"The adapter's {CONFIG_FILE} holds no settings: copy it again.")
    return config


def refuse_whole_parts(config: dict[str, Any]) -> None:
    """Raise UserError for an adapter of which an alpha does not scale everything."""
    if str(config.get("peft_type", "")).upper() != "LORA":
        raise UserError(
            f"Only LoRA adapters have an alpha to write a strength into; this is {config.get('peft_type')}."
        )
    whole = [name for name in WHOLE if config.get(name)]
    if config.get("bias", "none") not in ("none", None):
        whole.append("bias")
    if whole:
        raise UserError(
            f"The adapter has {', '.join(whole)}, which its alpha does not scale: it is kept as trained only."
        )


def switched(weights: Path, is_off: Callable[[str], bool]) -> dict[str, torch.Tensor] | None:
    """The adapter's tensors with zeros where it is off; None where it is off nowhere."""
    from safetensors.torch import load_file

    tensors, found = load_file(weights), False
    for name, tensor in tensors.items():
        module, mark, _ = name.partition(".lora_")
        if mark and "lora_B" in name.replace("lora_embedding_B", "lora_B") and is_off(module):
            tensors[name], found = tensor * 0, True
    return tensors if found else None


def is_measured(name: str) -> bool:
    """Whether a record's entry was measured at the strength that the adapter was trained with."""
    return name in MEASURED or name.startswith("test_")


def note_strength(folder: Path, strength: float) -> None:
    """Say in the copy's record that it is another adapter than the one that was trained."""
    path = folder / RECORD_FILE
    if not path.is_file():
        return
    record = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(record, dict):
        kept = {name: value for name, value in record.items() if not is_measured(name)}
        write_json(path, kept | {"name": f"{record.get('name') or folder.name} x{strength:g}", "strength": strength}, 2)
