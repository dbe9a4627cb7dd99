"""The adapter that a run goes on from: found by folder or run, its settings taken over, its files kept with the run."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuning.errors import UserError
from tuning.file_names import CONFIG_FILE, RECORD_FILE, WEIGHTS_FILE
from tuning.presets import Config

FOLDER = "start"
FILES = (CONFIG_FILE, WEIGHTS_FILE, RECORD_FILE)
PLAIN = {
    "use_dora": (None, False),
    "bias": (None, "none"),
    "modules_to_save": (None, []),
    "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}),
    "layer_replication": (None, []),
    "trainable_token_indices": (None, [], {}),
    "target_parameters": (None, []),
}
"""What an adapter's configuration may say of parts that this loop does not train."""


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
    strange = [name for name, usual in PLAIN.items() if described.get(name) not in usual]
    if kind != "LORA" or strange:
        held = f"is of the kind {kind}" if kind != "LORA" else f"has {', '.join(strange)}"
        raise UserError(f"--from-adapter: {folder.name} {held}, which cannot be trained on: begin a new adapter.")
    targets = described.get("target_modules")
    if not isinstance(targets, list) or not targets or not all(isinstance(name, str) for name in targets):
        raise UserError(f"--from-adapter: {folder.name} names its layers by a pattern, which cannot be trained on.")
    if config.dora:
        raise UserError("--dora begins a new adapter: leave it out where --from-adapter goes on from one.")
    return dataclasses.replace(
        config,
        from_adapter=str(folder),
        rank=int(described.get("r", 8)),
        alpha=float(described.get("lora_alpha", 8)),
        rslora=bool(described.get("use_rslora")),
        target_modules=tuple(sorted({re.sub(r".*\.", "", name) for name in targets})),
    )


def keep(config: Config, run: Path) -> None:
    """Copy the adapter into the run's folder, so that the run needs nothing else to go on."""
    if config.from_adapter is None:
        return
    (run / FOLDER).mkdir()
    for name in FILES:
        source = Path(config.from_adapter) / name
        if source.is_file():
            shutil.copyfile(source, run / FOLDER / name)


def called(folder: str) -> str:
    """What an adapter that a run goes on from is called: its run's name, or its folder's."""
    path = Path(folder)
    return path.parent.name if path.name == "adapter" else path.name
