"""Which layers of a model an adapter's names and settings mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from eval_prompts.models.adapter_files import PEFT_PREFIX, AdapterFiles

FACTOR = re.compile(r"\.(lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)(?=\.|$)")


def aligned(files: AdapterFiles, modules: Sequence[str]) -> AdapterFiles:
    """The same files with the paths of their layers as this model has them, where these are the same but for what
    stands before: 'layers.0.mlp' or 'model.language_model.layers.0.mlp' for 'model.layers.0.mlp'.

    Names that fit no module, or several, stay as they are: peft may know how to convert them.
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
        return files
    shapes = {new: files.shapes[old] for new, old in zip(names, files.names, strict=True)}
    note = f"The layers' names of {moved} of its tensors are those of another version of the model and were put right."
    return AdapterFiles(files.folder, files.config, shapes, (*files.notes, note), files.transposed, files.file, names)


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
        fitting = ends.get(".".join(parts[start:]), [])
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            break
    return path


def expected_modules(config: dict[str, Any], linears: Sequence[str], head: str | None) -> list[str]:
    """Which of the layers ``linears`` (dotted names) a LoRA configuration means; ``head`` is the vocabulary head.

    As peft matches them: a list names last parts, a text a pattern for whole names, 'all-linear' leaves the head out.
    """
    targets = config.get("target_modules")
    if isinstance(targets, str) and targets != "all-linear":
        matches: Callable[[str], bool] = re.compile(targets).fullmatch  # type: ignore[assignment]
    elif targets == "all-linear":
        matches = lambda name: name != head  # noqa: E731
    else:
        wanted = tuple(targets or ())
        matches = lambda name: any(name == target or name.endswith(f".{target}") for target in wanted)  # noqa: E731
    only = config.get("layers_to_transform")
    layers = {only} if isinstance(only, int) else set(only) if only else None
    excluded = config.get("exclude_modules") or ()
    return [
        name
        for name in linears
        if matches(name) and (layers is None or layer_of(name) in layers) and not is_excluded(name, excluded)
    ]


def layer_of(name: str) -> int | None:
    """The number of the layer that a module belongs to."""
    number = re.search(r"\.(\d+)\.", name)
    return int(number.group(1)) if number else None


def is_excluded(name: str, excluded: str | Sequence[str]) -> bool:
    """Whether peft's exclude_modules means a module."""
    if isinstance(excluded, str):
        return bool(re.fullmatch(excluded, name))
    return any(name == one or name.endswith(f".{one}") for one in excluded)


def half_missing(lacking: int, layers: int) -> str:
    """What is said of an adapter that holds nothing for some of the layers that its configuration names."""
    return (
        f"It holds weights for {layers - lacking} of the {layers} layers it names: the other {lacking} stay the base's."
    )
