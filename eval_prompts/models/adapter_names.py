"""Which layers of a model an adapter's names and settings mean, and which of them its file has nothing for."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from eval_prompts.models.adapter_files import LORA_KINDS, PEFT_PREFIX, AdapterFiles
from tuning.errors import UserError
from tuning.file_names import CONFIG_FILE

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import nn

FACTOR = re.compile(r"\.(lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)(?=\.|$)")
SHARED_PARTS = ("vblora_vector_bank", "prompt_encoder", ".tinylora_v.", ".unilora_theta_d.")
"""Parameters that layers hold a second time, which peft does not save."""
KNOWN_STARTS = ("lora_magnitude_vector", ".bias")
"""Parts of an adapter that follow from the base's weights, or are zero, before they are trained."""


def aligned(files: AdapterFiles, modules: Sequence[str]) -> AdapterFiles:
    """The same files with the paths of their layers as this model has them, where these are the same but for what
    stands before: 'layers.0.mlp' or 'model.language_model.layers.0.mlp' for 'model.layers.0.mlp'.

    Names that fit no module, or several, stay as they are: peft may know how to convert them. Layers that the
    configuration does not name are left out.
    """
    known = set(modules)
    ends: dict[str, list[str]] = {}
    for module in known:
        parts = module.split(".")
        for start in range(len(parts)):
            ends.setdefault(".".join(parts[start:]), []).append(module)
    names: dict[str, str] = {}
    moved = 0
    for name, stored in files.names.items():
        path, rest = module_path(name)
        place = path if path in known else moved_path(path, ends)
        moved += place != path
        names[f"{PEFT_PREFIX}{place}{rest}"] = stored
    if not moved or len(names) != len(files.names):
        return without_unnamed(files, known)
    shapes = {new: files.shapes[old] for new, old in zip(names, files.names, strict=True)}
    note = f"The layers' names of {moved} of its tensors are those of another version of the model and were put right."
    return without_unnamed(replace(files, names=names, shapes=shapes, notes=(*files.notes, note)), known)


def module_path(name: str) -> tuple[str, str]:
    """A tensor's name cut into the dotted path of its module, without peft's prefix, and the rest."""
    path = name.removeprefix(PEFT_PREFIX)
    mark = FACTOR.search(path)
    cut = mark.start() if mark else path.rfind(".")
    return (path[:cut], path[cut:]) if cut > 0 else (path, "")


def moved_path(path: str, ends: dict[str, list[str]]) -> str:
    """The only module that ends as ``path`` does, but for what stands before; else ``path`` itself."""
    parts = path.split(".")
    for start in range(len(parts) - 1):
        if start and parts[start - 1].isdigit():
            break  # in another layer it would be another module
        fitting = ends.get(".".join(parts[start:]), [])
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            break
    return path


def meant_by(config: dict[str, Any], head: str | None = None) -> Callable[[str], bool]:
    """Whether a LoRA configuration means a layer, by its dotted name; ``head`` is the vocabulary head.

    As peft matches them (``check_target_module_exists``): a list names last parts or whole names, a text is a pattern
    for whole names, 'all-linear' leaves the head out.
    """
    targets = config.get("target_modules")
    excluded, only = config.get("exclude_modules") or (), config.get("layers_to_transform")
    layers = {only} if isinstance(only, int) else set(only or ())
    patterns = config.get("layers_pattern") or ()
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)

    def means(name: str) -> bool:
        if named(excluded, name):
            return False
        if isinstance(targets, str) and targets.lower() == "all-linear":
            return name != head
        if isinstance(targets, str) or not layers or name in (targets or ()):
            return named(targets or (), name)
        return named(targets or (), name) and layer_of(name, patterns) in layers

    return means


def named(names: str | Sequence[str], module: str) -> bool:
    """Whether a module is one of ``names``, or ends in one of them; a text is a pattern for the whole name."""
    if isinstance(names, str):
        return bool(re.fullmatch(names, module))
    return any(module == name or module.endswith(f".{name}") for name in names)


def layer_of(module: str, patterns: Sequence[str] = ()) -> int | None:
    """The number of the layer that a module belongs to: the first within its name, or the one after a pattern."""
    found = (re.match(rf"(?:^|.*?\.){pattern}\.(\d+)\.", module) for pattern in patterns)
    number = next(filter(None, found), None) if patterns else re.match(r".*?\.[^.]*\.(\d+)\.", module)
    return int(number.group(1)) if number else None


def without_unnamed(files: AdapterFiles, modules: Collection[str]) -> AdapterFiles:
    """The same files without the factors of those layers of a model that the configuration does not mean, as peft
    leaves them out, and a note on them. One that names none of its layers was written for other names: all stay."""
    config = files.config
    if files.kind not in LORA_KINDS or not config.get("target_modules") or config.get("layer_replication"):
        return files
    paths = {name: path for name in files.names if FACTOR.search(name) and (path := module_path(name)[0]) in modules}
    meant = set(filter(meant_by(config), paths.values()))
    left = [name for name, path in paths.items() if path not in meant]
    if not left or not meant or config.get("target_parameters"):
        return files
    unnamed, layers = ({paths[name] for name in some} for some in (left, paths))
    note = (
        f"Its {CONFIG_FILE} does not name {len(unnamed)} of the {len(layers)} layers that its file holds weights for: "
        "these are left out, as peft leaves them out."
    )
    names = {name: stored for name, stored in files.names.items() if name not in left}
    shapes = {name: files.shapes[name] for name in names}
    return replace(files, names=names, shapes=shapes, notes=(*files.notes, note))


def half_missing(lacking: int, layers: int) -> str:
    """What is said of an adapter that holds nothing for some of the layers that its configuration names."""
    return (
        f"It holds weights for {layers - lacking} of the {layers} layers it names: the other {lacking} stay the base's."
    )


def missing_notes(model: nn.Module, config: PeftConfig, missing: Iterable[str], stored: Iterable[str]) -> list[str]:
    """Notes on the layers that the configuration names and the file, whose tensors are ``stored``, has nothing or not
    all for. Raises UserError where random numbers would stand for what it lacks."""
    from peft import PeftType
    from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING
    from peft.tuners.tuners_utils import BaseTunerLayer

    prefix = PEFT_TYPE_TO_PREFIX_MAPPING.get(PeftType(config.peft_type), "")
    if not prefix:
        return []
    mark = f".{prefix}"
    keys = [key for key in missing if mark in key and not any(part in key for part in SHARED_PARTS)]
    held = {name.partition(mark)[0] for name in stored if mark in name}
    partly = [key for key in keys if key.partition(mark)[0] in held]
    doubtful = [key for key in partly if not any(part in key for part in KNOWN_STARTS)]
    if doubtful:
        raise UserError(
            f"The adapter's file lacks {len(doubtful)} of its tensors, such as "
            f"{doubtful[0].removeprefix(PEFT_PREFIX)}: train or copy it again."
        )
    notes = []
    if partly:
        words = ", ".join(sorted({key.partition(mark)[2].partition(".")[0] for key in partly}))
        notes.append(f"It lacks a part ({prefix}{words}) of {len(partly)} layers, which begins as it does in training.")
    lacking = {key.partition(mark)[0] for key in keys} - held
    layers = sum(isinstance(module, BaseTunerLayer) for module in model.modules())
    return [*notes, half_missing(len(lacking), layers)] if lacking else notes
