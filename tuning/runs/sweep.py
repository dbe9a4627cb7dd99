"""Several runs from one description: a grid of values, a list of runs, or both, on top of common settings."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuning import presets
from tuning.errors import UserError
from tuning.presets import nearest

FIELDS = ("name", "preset", "settings", "grid", "runs", "notes")
OWN = ("name", "notes")
"""What an entry under ``runs`` may say besides settings."""
MOST_RUNS = 200
NOT_IN_NAMES = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class Planned:
    """A run that is to be: its preset, what differs from it, and what it is called; ``folder`` is where its relative
    paths begin, once it waits."""

    preset: str
    overrides: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    notes: str = ""
    folder: str = ""

    def check(self) -> presets.Config:
        """Its settings. Raises UserError if they cannot work."""
        return presets.configure(self.preset, self.overrides)


def read_sweep(path: Path) -> list[Planned]:
    """The runs that a YAML file describes, all of them checked.

    Raises UserError, naming file, run and field, for a file that cannot be read, an unknown field or setting (with the
    nearest), and values that cannot work.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"There is no sweep file {path}: check the path.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        place = f" (line {line + 1})" if line is not None else ""
        raise UserError(f"{path.name} is no YAML that can be read{place}: mend it.") from None
    if not isinstance(content, dict):
        raise UserError(f"{path.name} is no sweep: it needs grid, runs or both, such as {{grid: {{rank: [8, 16]}}}}.")
    for name in content:
        if name not in FIELDS:
            raise UserError(f"{path.name}: there is no field {str(name)!r}: {nearest(str(name), FIELDS)}")
    try:
        return planned(content, path.stem)
    except UserError as error:
        raise UserError(f"{path.name}: {error}") from None


def planned(content: Mapping[str, Any], called: str) -> list[Planned]:
    """The runs of a sweep's content, named after ``called`` unless it names itself. Raises UserError."""
    preset = str(content.get("preset") or "quick")
    presets.preset(preset)
    name = str(content.get("name") or called)
    notes = str(content.get("notes") or "")
    common = settings_of(content.get("settings") or {}, "settings")
    grid = content.get("grid") or {}
    listed = content.get("runs") or []
    if not isinstance(grid, dict) or not isinstance(listed, list) or not (grid or listed):
        raise UserError("a sweep has a grid (a list of values for each setting), runs (a list of settings), or both.")
    points = grid_points(grid) if grid else [{}]
    plans = []
    for at, entry in enumerate(listed or [{}], start=1):
        if not isinstance(entry, dict):
            raise UserError(f"run {at} is no mapping of settings: write it as {{rank: 8}}.")
        own = {key: value for key, value in entry.items() if key not in OWN}
        chosen = settings_of(own, f"run {at}")
        twice = next((name for name in chosen if name in points[0]), None)
        if twice is not None:
            raise UserError(f"run {at} names {twice}, which the grid varies: leave it out of one of them.")
        for point in points:
            overrides = common | chosen | point
            label = str(entry.get("name") or "-".join(words_of({**own, **point})))
            plans.append(Planned(preset, overrides, label, str(entry.get("notes") or notes)))
    if len(plans) > MOST_RUNS:
        raise UserError(f"that makes {len(plans):,} runs; at most {MOST_RUNS} are taken: leave some values out.")
    for plan in plans:
        plan.check()
    return named_apart(plans, name)


def settings_of(values: Any, where: str) -> dict[str, Any]:
    """Settings by name. Raises UserError for what is none, with the nearest name."""
    if not isinstance(values, dict):
        raise UserError(f"{where} must be a mapping of settings to values, such as {{rank: 8}}.")
    kinds = presets.field_types()
    found = {}
    for key, value in values.items():
        name = str(key).replace("-", "_")
        if name not in kinds:
            raise UserError(f"{where} names the setting {str(key)!r}, which there is not: {nearest(name, kinds)}")
        found[name] = ",".join(map(str, value)) if isinstance(value, list) else value
    return found


def grid_points(grid: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every combination of the values of a grid, the last setting changing fastest. Raises UserError."""
    names = settings_of(dict.fromkeys(grid), "grid")
    if len(names) < len(grid):
        raise UserError("grid names one setting twice, with a hyphen and with an underscore: name each once.")
    axes: list[list[Any]] = []
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise UserError(f"grid: {key} needs a list of values, such as [8, 16].")
        axes.append([",".join(map(str, value)) if isinstance(value, list) else value for value in values])
    count = 1
    for axis in axes:
        count *= len(axis)
    if count > MOST_RUNS:
        raise UserError(f"the grid makes {count:,} runs; at most {MOST_RUNS} are taken: leave some values out.")
    return [dict(zip(names, point, strict=True)) for point in itertools.product(*axes)]


def words_of(settings: Mapping[str, Any]) -> Iterable[str]:
    """Settings as they stand in a run's name."""
    for name, value in settings.items():
        told = f"{value:g}" if isinstance(value, float) else str(value)
        yield NOT_IN_NAMES.sub("-", f"{name}-{Path(told).name}").strip("-.")[:30]


def named_apart(plans: list[Planned], name: str) -> list[Planned]:
    """The plans with names that a folder can have, no two alike."""
    seen: set[str] = set()
    named = []
    for at, plan in enumerate(plans, start=1):
        label = NOT_IN_NAMES.sub("-", f"{name}-{plan.name}").strip("-.")[:54] or f"run-{at}"
        if label in seen:
            label = f"{label}-{at}"
        seen.add(label)
        named.append(Planned(plan.preset, plan.overrides, label, plan.notes))
    return named


def grid_from_text(text: str) -> dict[str, list[str]]:
    """``rank=8,16; learning_rate=1e-3,3e-4`` as a grid. Raises UserError for anything else."""
    grid: dict[str, list[str]] = {}
    for part in filter(None, (part.strip() for part in re.split(r"[;\n]", text))):
        name, equals, values = part.partition("=")
        chosen = [value.strip() for value in values.split("|" if "|" in values else ",") if value.strip()]
        if not equals or not chosen:
            raise UserError(f"{part!r} is no list of values: write it as rank=8,16; learning_rate=1e-3,3e-4.")
        if name.strip() in grid:
            raise UserError(f"{name.strip()} stands there twice: name each setting once.")
        grid[name.strip()] = chosen
    if not grid:
        raise UserError("Name the values to try, such as rank=8,16; learning_rate=1e-3,3e-4.")
    return grid
