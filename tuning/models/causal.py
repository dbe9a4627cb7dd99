"""What a model folder holds, looked at before anything is loaded: a causal language model, or in words why not."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.errors import UserError
from tuning.files import first_line

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

PACKAGES = {
    "gptq": ("gptqmodel", "gptqmodel"),
    "awq": ("gptqmodel", "gptqmodel"),
    "auto-round": ("auto_round", "auto-round"),
    "compressed-tensors": ("compressed_tensors", "compressed-tensors"),
    "bitsandbytes": ("bitsandbytes", "bitsandbytes"),
    "aqlm": ("aqlm", "aqlm"),
    "hqq": ("hqq", "hqq"),
    "quanto": ("optimum.quanto", "optimum-quanto"),
    "torchao": ("torchao", "torchao"),
    "vptq": ("vptq", "vptq"),
    "eetq": ("eetq", "eetq"),
    "higgs": ("flute", "flute-kernel"),
    "spqr": ("spqr_quant", "spqr_quant"),
}
"""The package that each way of quantising needs: its import name, and its name for pip."""
# A text model saved inside a model for pictures or sound has a prefix before its names.
TEXT_PART = {
    r"^model\.language_model\.(?!model\.|lm_head)": "model.",
    r"^language_model\.model\.": "model.",
    r"^language_model\.lm_head\.": "lm_head.",
    r"^model\.language_model\.model\.": "model.",
    r"^model\.text_model\.": "model.",
    r"^text_model\.": "model.",
}
GIGABYTE = 1e9


@dataclass(frozen=True)
class Plan:
    """How to load a model: its configuration, and the renaming of tensors where it is part of a larger model."""

    config: PreTrainedConfig
    renamed: dict[str, str] | None = None


def plan(folder: Path, *, trust_remote_code: bool = False) -> Plan:
    """Whether ``folder`` holds a language model that writes from left to right, and how it is loaded.

    Raises UserError that names the reason: another kind of model, code of its own, an unknown architecture, or a
    package that its quantisation needs.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL,
    )
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_MASKED_LM_MAPPING_NAMES as MASKED,
    )

    raw = read_config(folder)
    if "auto_map" in raw and not trust_remote_code and raw.get("model_type") not in CAUSAL:
        raise UserError(
            f"The model {folder.name} needs code of its own, which is not run: choose another model, "
            "or, if you trust its author, --trust-remote-code."
        )
    if raw.get("model_type") in MASKED and not raw.get("is_decoder", False):
        raise UserError(
            f"{folder.name} is an encoder ({raw['model_type']}): it fills gaps and cannot write answers. "
            "Choose a causal language model."
        )
    if raw.get("is_encoder_decoder", False):
        raise UserError(
            f"{folder.name} is an encoder-decoder model ({raw['model_type']}), which takes no chat: "
            "choose a causal language model."
        )
    check_quantization(folder.name, raw)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    except Exception as error:
        from transformers import __version__

        known = f"transformers {__version__} cannot read it"
        raise UserError(
            f"The model {folder.name} is of the type {raw.get('model_type')!r}: {known} ({first_line(error)})."
        ) from error
    text = config.get_text_config(decoder=True)
    if text is not config and text.model_type in CAUSAL:
        return Plan(text, TEXT_PART)
    if config.model_type not in CAUSAL and "auto_map" not in raw:
        raise UserError(
            f"{folder.name} is no causal language model (its type is {config.model_type!r}) and has no text part "
            "that is one: choose another model."
        )
    return Plan(config)


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json. Raises UserError if there is none, or it is not one."""
    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UserError(f"The config.json in {folder} cannot be read ({error}): copy the model again.") from error
    if not isinstance(raw, dict):
        raise UserError(f"The config.json in {folder} is no object: copy the model again.")
    return raw


def check_quantization(name: str, raw: dict[str, Any]) -> None:
    """Raise UserError if the weights are quantised in a way whose package is not installed."""
    method = quantization(raw)
    if method is None or method not in PACKAGES:
        return
    module, package = PACKAGES[method]
    try:
        here = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        here = False
    if not here:
        raise UserError(
            f"{name} is quantised with {method.upper()}, for which the package {package} is not installed: "
            "install it, or choose the model's unquantised weights."
        )


def quantization(raw: dict[str, Any]) -> str | None:
    """How the weights of a folder are quantised already, in transformers' word for it; None if they are not."""
    settings = raw.get("quantization_config")
    if not isinstance(settings, dict):
        return None
    method = settings.get("quant_method")
    if method is None and (settings.get("load_in_4bit") or settings.get("load_in_8bit")):
        return "bitsandbytes"
    return str(method) if method is not None else "unknown"


def stored_in_bf16(folder: Path) -> bool:
    """Whether every matrix of a folder's safetensors is stored in bf16, so that bf16 holds it as it is."""
    kinds = {entry["dtype"] for entry in stored_tensors(folder) if len(entry["shape"]) > 1}
    return kinds == {"BF16"}


def stored_tensors(folder: Path) -> Iterator[dict[str, Any]]:
    """What the headers of a folder's safetensors say of each tensor: dtype, shape and place."""
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > path.stat().st_size:
                continue
            try:
                header = json.loads(file.read(length))
            except ValueError:
                continue
        yield from (entry for name, entry in header.items() if name != "__metadata__")


def parameter_count(folder: Path) -> int:
    """Numbers in all safetensors files of a folder, read from their headers."""
    return sum(math.prod(entry["shape"]) for entry in stored_tensors(folder))


def needed_bytes(folder: Path, bytes_per_number: float) -> int:
    """What a model's weights take in memory. Quantised weights take what their files do."""
    if quantization(read_config(folder)) is not None:
        return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return round(parameter_count(folder) * bytes_per_number)


def free_bytes(device: str) -> int:
    """Memory that can be had now: of the card on CUDA, else of the machine or of its container if that has less."""
    import psutil

    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    free = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
        # The page cache counts as used in a container, but is given back when memory is short.
        files = next(line for line in (group / "memory.stat").read_text().splitlines() if line.startswith("file "))
        return free if limit == "max" else min(free, int(limit) - int(used) + int(files.split()[1]))
    except (OSError, ValueError, StopIteration):
        return free


def check_memory(folder: Path, bytes_per_number: float, device: str) -> None:
    """Raise UserError, with the numbers and what would fit, if the weights are larger than the free memory."""
    needed, free = needed_bytes(folder, bytes_per_number), free_bytes(device)
    if needed <= free:
        return
    count = parameter_count(folder)
    fits = free / bytes_per_number
    smaller = " or hold it in 4 bits (--load-in-4bit; --quantize 4bit for training)" if bytes_per_number > 1 else ""
    raise UserError(
        f"{folder.name} has {count / 1e9:.1f} billion parameters and needs {needed / GIGABYTE:.1f} GB of memory here, "
        f"but {free / GIGABYTE:.1f} GB are free: choose a model of up to {fits / 1e9:.1f} billion{smaller}."
    )


def check_complete(name: str, report: Mapping[str, Any]) -> None:
    """Raise UserError if transformers' loading report says that a tensor is missing or of another shape.

    It would fill the gap with random numbers: another model at every start.
    """
    if report["mismatched_keys"]:
        tensor, stored, expected = sorted(report["mismatched_keys"])[0]
        stored, expected = (" x ".join(map(str, shape)) for shape in (stored, expected))
        raise UserError(f"The model {name} is damaged: {tensor} is {stored}, and its config.json says {expected}.")
    missing = sorted(report["missing_keys"])
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise UserError(f"The model {name} lacks weights ({shown}): download it again or choose another.")


def check_used(name: str, method: str | None, unused: Iterable[str], modules: Iterable[str]) -> None:
    """Raise UserError if one of a file's ``unused`` tensors lies beside the weight of one of the model's ``modules``.

    Such a one changes what the layer computes: a bias that the config.json denies, or the scales of weights in 8 or 4
    bits, which would be taken for the numbers themselves where no package of that ``method`` decodes them.
    """
    known = set(modules)
    strange = sorted(key for key in unused if key.rpartition(".")[0] in known)
    if not strange:
        return
    shown = ", ".join(strange[:2]) + (f" and {len(strange) - 2} more" if len(strange) > 2 else "")
    if all(key.endswith(".bias") for key in strange):
        raise UserError(f"The model {name} holds {shown}, and its config.json says that it has none: copy both again.")
    how = f" ({method})" if method else ""
    raise UserError(
        f"The weights of {name} are quantised in a way that nothing here decodes{how}: {shown} would be left out. "
        "Choose the model's unquantised weights."
    )
