"""The adapter that a run goes on from: found by folder or run, its settings taken over, its files kept with the run."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tuning.errors import UserError
from tuning.file_names import CONFIG_FILE, RECORD_FILE, TEMPLATE_FILE, WEIGHTS_FILE
from tuning.presets import Config
from tuning.runs.record import record_of

FOLDER = "start"
FILES = (CONFIG_FILE, WEIGHTS_FILE, RECORD_FILE, TEMPLATE_FILE)
TAKEN_OVER = ("rank", "alpha", "rslora", "target_modules")
"""Settings that a run which goes on from an adapter has from it, whatever is asked."""
PLAIN = {
    *(
        "peft_type",
        "peft_version",
        "task_type",
        "base_model_name_or_path",
        "revision",
        "auto_mapping",
        "fan_in_fan_out",
    ),
    *("r", "lora_alpha", "use_rslora", "lora_dropout", "bias", "inference_mode", "init_lora_weights", "target_modules"),
    *("exclude_modules", "layers_to_transform", "layers_pattern", "megatron_core", "qalora_group_size"),
    *("loftq_config", "eva_config", "corda_config", "lora_ga_config", "runtime_config", "ensure_weight_tying"),
    "unsloth_fixed",
}
"""What an adapter's configuration may say of a layer that is W + scale B A, as this loop trains it. Anything else that
is set to something may mean another layer."""
BASE_AS_IT_IS = ("gaussian", "eva", "orthogonal")
"""Named beginnings that leave the base's weights alone; others (PiSSA, OLoRA) take the factors out of them, so the
factors mean nothing on the base as it is."""


def located(name: str, runs: Path) -> Path:
    """The adapter's folder: given itself, as a run's folder, or as the name of a run below ``runs``.

    Raises UserError if there is none.
    """
    given = Path(name).expanduser()
    for folder in (given, given / "adapter", runs / name / "adapter"):
        if (folder / FILES[0]).is_file():
            if not (folder / FILES[1]).is_file():
                raise UserError(f"--from-adapter: {folder.name} holds no {FILES[1]}, the adapter's weights.")
            return folder.resolve()
    raise UserError(f"--from-adapter is {name!r}, but there is no adapter folder and no run of that name.")


def continued(config: Config, runs: Path) -> Config:
    """``config`` with the place and the settings of the adapter that it goes on from; as it is if it begins anew.

    Raises UserError for an adapter that this loop cannot train on, naming what it holds.
    """
    if config.from_adapter is None:
        return config
    folder = located(config.from_adapter, runs)
    try:
        described: Mapping[str, Any] = json.loads((folder / FILES[0]).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UserError(f"--from-adapter: {FILES[0]} of {folder.name} cannot be read ({error}).") from error
    kind = str(described.get("peft_type", "LORA")).upper()
    strange = parts_beyond(described)
    if kind != "LORA" or strange:
        held = f"is of the kind {kind}" if kind != "LORA" else f"has {', '.join(strange)}"
        raise UserError(f"--from-adapter: {folder.name} {held}, which cannot be trained on: begin a new adapter.")
    targets = described.get("target_modules")
    if not isinstance(targets, list) or not targets or not all(isinstance(name, str) for name in targets):
        raise UserError(f"--from-adapter: {folder.name} names its layers by a pattern, which cannot be trained on.")
    if config.dora:
        raise UserError("--dora begins a new adapter: leave it out where --from-adapter goes on from one.")
    return dataclasses.replace(
        as_it_was_asked(config, folder),
        from_adapter=str(folder),
        rank=int(described.get("r", 8)),
        alpha=float(described.get("lora_alpha", 8)),
        rslora=bool(described.get("use_rslora")),
        target_modules=tuple(sorted({re.sub(r".*\.", "", name) for name in targets})),
    )


def parts_beyond(described: Mapping[str, Any]) -> list[str]:
    """What an adapter's configuration says of parts that this loop does not train."""
    found = sorted(name for name, value in described.items() if value and name not in PLAIN)
    if described.get("bias") not in (None, "none"):
        found.append("bias")
    begun = described.get("init_lora_weights")
    if isinstance(begun, str) and begun not in BASE_AS_IT_IS:
        found.append(f"init_lora_weights {begun}")
    return found


def as_it_was_asked(config: Config, folder: Path) -> Config:
    """``config`` with the chat template and the thinking that the adapter was trained with, unless it has its own."""
    template = folder / TEMPLATE_FILE
    if config.chat_template is None and template.is_file():
        config = dataclasses.replace(config, chat_template=str(template))
    try:
        thinking = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))["config"]["thinking"]
    except (OSError, ValueError, KeyError, TypeError):
        return config
    untold = config.thinking == "template" and thinking in ("on", "off")
    return dataclasses.replace(config, thinking=thinking) if untold else config


def in_vain(asked: Config, taken: Config, given: Iterable[str]) -> str:
    """Which of the settings that were ``given`` are the adapter's instead, in a sentence; '' for none."""
    pairs = {name: (getattr(asked, name), getattr(taken, name)) for name in TAKEN_OVER if name in given}
    pairs |= {name: (set(one), set(other)) for name, (one, other) in pairs.items() if isinstance(one, tuple)}
    names = [name for name, (one, other) in pairs.items() if one != other]
    told = ", ".join(f"--{name.replace('_', '-')}" for name in names)
    return f"Not used, as a run has them from the adapter that it goes on from: {told}." if told else ""


def keep(config: Config, run: Path) -> Config:
    """Copy the adapter into the run's folder, so that the run needs nothing else to go on; the settings with the places
    of what was copied."""
    if config.from_adapter is None:
        return config
    (run / FOLDER).mkdir()
    for name in FILES:
        source = Path(config.from_adapter) / name
        if source.is_file():
            shutil.copyfile(source, run / FOLDER / name)
    if config.chat_template == str(Path(config.from_adapter) / TEMPLATE_FILE):
        return dataclasses.replace(config, chat_template=str((run / FOLDER / TEMPLATE_FILE).resolve()))
    return config


def called(folder: str) -> str:
    """What an adapter that a run goes on from is called: its run's name, or the one in its record, or its folder's."""
    path = Path(folder)
    return path.parent.name if path.name == "adapter" else str(record_of(path).get("name") or path.name)
