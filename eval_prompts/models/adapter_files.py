"""An adapter's two files as peft would have written them, whoever wrote them, and what had to be put right."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.errors import UserError
from tuning.file_names import CONFIG_FILE, WEIGHTS_FILE
from tuning.files import LFS_MARK

if TYPE_CHECKING:
    import torch

PEFT_PREFIX = "base_model.model."
WRAPPERS = re.compile(r"(^|\.)(module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)(?=\.)")
NAMED_FACTOR = re.compile(r"(\.lora_(?:A|B|magnitude_vector))\.(?!weight$|bias$)[^.]+(?=\.(?:weight|bias)$)")
NAMED_EMBEDDING = re.compile(r"(\.lora_embedding_[AB])\.[^.]+$")
SAVED, ORIGINAL = re.compile(r"\.modules_to_save(?:\.default)?\."), re.compile(r"\.original_module\.")
"""Layers that are trained as a whole, as peft saves them a second time where the vocabulary has grown."""
DEFAULT_NAME = re.compile(r"\.default(?=\.|$)")
LORA_KINDS = frozenset({"LORA", "ADALORA"})
TASKS_OF_TEXT = frozenset({"CAUSAL_LM", "FEATURE_EXTRACTION"})
NUMBERS = ("r", "lora_alpha", "alpha", "lora_dropout")
NAMES = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save")
LISTED = ("modules_to_save",)
PATTERNS = ("rank_pattern", "alpha_pattern")
PROMPT_KINDS = {
    "PREFIX_TUNING": "prefix tuning",
    "PROMPT_TUNING": "prompt tuning",
    "MULTITASK_PROMPT_TUNING": "multitask prompt tuning",
    "P_TUNING": "P-tuning",
    "CPT": "context-aware prompt tuning",
    "CARTRIDGE": "a cartridge (a trained key-value cache)",
    "ADAPTION_PROMPT": "LLaMA-Adapter's adaption prompt",
}


@dataclass(frozen=True)
class AdapterFiles:
    """What an adapter folder holds, in peft's words.

    ``shapes`` are the tensors' by peft's names; ``notes`` is what was put right or left out, in sentences for people.
    """

    folder: Path
    config: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    notes: tuple[str, ...] = ()
    transposed: bool = False
    file: str = WEIGHTS_FILE
    names: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """peft's name for the kind of adapter: LORA."""
        return str(self.config["peft_type"])

    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors by peft's names. Raises UserError for a damaged file, and for NaN or infinite numbers."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            stored = load_file(self.folder / self.file)
        except (SafetensorError, OSError) as error:
            raise UserError(damaged(self.file, error)) from error
        tensors = {ours: stored[theirs] for ours, theirs in self.names.items()}
        if self.transposed:
            tensors = {name: turned(tensor) for name, tensor in tensors.items()}
        bad = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not finite(tensor)]
        if bad:
            raise UserError(
                f"The adapter holds NaN or infinite numbers in {len(bad)} of {len(tensors)} tensors "
                f"({bad[0].removeprefix(PEFT_PREFIX)}): its training diverged; use an earlier checkpoint."
            )
        return tensors


def turned(tensor: torch.Tensor) -> torch.Tensor:
    """A matrix the other way round; vectors as they are."""
    return tensor.t().contiguous() if tensor.dim() == 2 else tensor


def finite(tensor: torch.Tensor) -> bool:
    """Whether all numbers of a tensor are; the small float types are looked at in fp32."""
    return bool((tensor if tensor.element_size() > 1 else tensor.float()).isfinite().all())


def damaged(name: str, error: Exception) -> str:
    """What is said of a weight file that cannot be read."""
    return f"The adapter's {name} is damaged ({error}): copy or train it again."


def read_text(path: Path) -> str:
    """A text file of an adapter, with or without a byte-order mark. Raises UserError naming it if it cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"The adapter's {path.name} cannot be read ({error.strerror}).") from error
    refuse_pointer(path.name, content)
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"The adapter's {path.name} cannot be read: it is not UTF-8.") from error


def refuse_pointer(name: str, begin: bytes) -> None:
    """Raise UserError if a file is a Git LFS pointer instead of its content."""
    if begin.startswith(LFS_MARK):
        raise UserError(f"The adapter's {name} is a Git LFS pointer, not the file: run git lfs pull in its folder.")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of an adapter; raises UserError naming the file if it is not one."""
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"The adapter's {path.name} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"The adapter's {path.name} does not hold a JSON object.")
    return content


def stored_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor in a safetensors file, read from its header alone.

    Raises UserError for a pointer, a damaged file, one without tensors, and tensors that hold nothing.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as file:
            refuse_pointer(path.name, file.read(len(LFS_MARK)))
        with safe_open(path, framework="pt") as tensors:
            shapes = {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(damaged(path.name, error)) from error
    if not shapes:
        raise UserError("The adapter holds no weights: train it again.")
    empty = [name for name, shape in shapes.items() if 0 in shape]
    if empty:
        raise UserError(
            f"The adapter holds empty tensors ({len(empty)} of {len(shapes)}): it was saved wrongly under DeepSpeed "
            "ZeRO-3. Save it again with stage3_gather_16bit_weights_on_model_save."
        )
    return shapes


def tidy_config(raw: dict[str, Any], name: str) -> tuple[dict[str, Any], list[str]]:
    """A configuration as peft writes it, and what was put right. Raises UserError for one that cannot be used."""
    config, notes = dict(raw), []
    kind = str(config.get("peft_type") or "").rpartition(".")[2].upper()
    if not kind and "r" in config:
        kind = "LORA"
        notes.append(f"Its {CONFIG_FILE} names no kind of adapter: it is taken for LoRA.")
    if not kind:
        raise UserError(f"The adapter's {CONFIG_FILE} lacks a usable 'peft_type'.")
    if kind in PROMPT_KINDS:
        raise UserError(
            f"The adapter {name} is {PROMPT_KINDS[kind]}, which changes no weights and cannot be merged: "
            "use LoRA or another kind that can."
        )
    if config.get("alora_invocation_tokens"):
        raise UserError(
            f"The adapter {name} is an activated LoRA, which works from some token on: it cannot be merged."
        )
    task = str(config.get("task_type") or "CAUSAL_LM").rpartition(".")[2].upper()
    if task not in TASKS_OF_TEXT:
        raise UserError(f"The adapter {name} was trained for the task {task}, not to write text: choose another one.")
    config |= {"peft_type": kind, "task_type": "CAUSAL_LM"}
    check_numbers(config)
    check_names(config)
    return config, notes


def check_names(config: dict[str, Any]) -> None:
    """Raise UserError for settings that name layers in a way that is neither a list of names nor a pattern."""
    for name in NAMES:
        value = config.get(name)
        whole = name == "layers_to_transform"
        kind, noun = (int, "numbers") if whole else (str, "names")
        listed = isinstance(value, list) and all(type(each) is kind for each in value)
        if value is not None and not listed and not (isinstance(value, kind) and name not in LISTED):
            raise UserError(f"The adapter's {CONFIG_FILE} lacks a usable {name!r}: {value!r} is no list of {noun}.")
        patterns = [value] if isinstance(value, str) else value if name == "layers_pattern" and listed else []
        try:
            any(map(re.compile, patterns or []))
        except re.error as error:
            raise UserError(f"The adapter's {CONFIG_FILE} has in {name!r} a pattern that is none ({error}).") from error


def check_numbers(config: dict[str, Any]) -> None:
    """Raise UserError for ranks and alphas that are missing, no finite numbers, or not positive."""
    if config["peft_type"] in LORA_KINDS:
        for name in ("r", "lora_alpha"):
            if config.get(name) is None:
                raise UserError(f"The adapter's {CONFIG_FILE} lacks a usable {name!r}.")
    low_rank = config["peft_type"] in LORA_KINDS
    for name in NUMBERS:
        if config.get(name) is not None:
            config[name] = checked_number(name, config[name], whole=low_rank and name == "r")
    for pattern in PATTERNS if config["peft_type"] == "LORA" else ():  # AdaLoRA's rank pattern is a mask
        values = config.get(pattern) or {}
        if not isinstance(values, dict):
            raise UserError(f"The adapter's {CONFIG_FILE} lacks a usable {pattern!r}: it is not an object.")
        rank = pattern == "rank_pattern"
        for name, value in values.items():
            values[name] = checked_number(f"{pattern} of {name}", value, whole=rank)


def checked_number(name: str, value: Any, *, whole: bool = False) -> int | float:
    """A number of the configuration; ``whole`` ones start at 1. Raises UserError for any that makes no sense."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    usable = math.isfinite(number) and not isinstance(value, bool) and (not whole or number == int(number) >= 1)
    if not usable:
        kind = "a whole number from 1 on" if whole else "a finite number"
        raise UserError(f"The adapter's {CONFIG_FILE} lacks a usable {name!r}: {value!r} is not {kind}.")
    return int(number) if whole or isinstance(value, int) else number


def peft_names(stored: Iterable[str], config: dict[str, Any]) -> tuple[dict[str, str], int]:
    """The file's name of each tensor by peft's name for it, and how many had to be renamed.

    Prefixes of other programs and doubled ones go, a missing one is added, the name of the adapter within a name goes.
    Raises UserError where two tensors would get the same name.
    """
    names: dict[str, str] = {}
    renamed = 0
    wrapped: dict[str, str] = {}
    for name in stored:
        ours = peft_name(name, config["peft_type"])
        if ORIGINAL.search(ours):
            continue  # the base's own numbers, saved along
        if SAVED.search(ours):
            wrapped[SAVED.sub(".", ours)] = name
            continue
        if ours in names:
            raise UserError(f"The adapter holds {ours} twice ({names[ours]}, {name}): save one adapter alone.")
        names[ours] = name
        renamed += ours != name
    return wrapped | names, renamed


def peft_name(name: str, kind: str) -> str:
    """One tensor's name as peft writes it; ``kind`` is the adapter's."""
    clean = WRAPPERS.sub(r"\1", name).replace("..", ".").removeprefix(".")
    while clean.startswith(PEFT_PREFIX + PEFT_PREFIX):
        clean = clean.removeprefix(PEFT_PREFIX)
    if not clean.startswith("base_model."):
        clean = PEFT_PREFIX + clean
    if kind in LORA_KINDS:
        clean = NAMED_EMBEDDING.sub(r"\1", NAMED_FACTOR.sub(r"\1", clean))
    return clean if SAVED.search(clean) else DEFAULT_NAME.sub("", clean)
