"""Several runs from one description: a grid of values, a list of runs, or both, on top of common settings."""

from __future__ import annotations

import itertools
import re
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuning import presets
from tuning.errors import UserError
from tuning.presets import nearest
from tuning.runs.start_adapter import TAKEN_OVER

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
        text = path.read_text(encoding="utf-8-sig")
        content = yaml.safe_load(text)
        twice = named_twice(yaml.compose(text, yaml.SafeLoader))
    except FileNotFoundError:
        raise UserError(f"There is no sweep file {path}: check the path.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        place = f" (line {line + 1})" if line is not None else ""
        raise UserError(f"{path.name} is no YAML that can be read{place}: mend it.") from None
    if twice:
        raise UserError(f"{path.name} {twice}: name each once.")
    if not isinstance(content, dict):
        raise UserError(f"{path.name} is no sweep: it needs grid, runs or both, such as {{grid: {{rank: [8, 16]}}}}.")
    for name in content:
        if name not in FIELDS:
            raise UserError(f"{path.name}: there is no field {str(name)!r}: {nearest(str(name), FIELDS)}")
    try:
        return planned(content, path.stem)
    except UserError as error:
        raise UserError(f"{path.name}: {error}") from None


def named_twice(node: Any, within: str = "") -> str:
    """Which key a mapping of a YAML document has twice, of which reading it keeps the last; '' where none has."""
    import yaml

    if isinstance(node, yaml.SequenceNode):
        return next(filter(None, (named_twice(part, within) for part in node.value)), "")
    if not isinstance(node, yaml.MappingNode):
        return ""
    names = [str(key.value) for key, _ in node.value]
    for at, (key, part) in enumerate(node.value):
        if names[at] in names[:at]:
            return f"names {names[at]} twice{within} (line {key.start_mark.line + 1})"
        if found := named_twice(part, f" in {names[at]}"):
            return found
    return ""


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
        in_vain = next((name for name in TAKEN_OVER if name in {**chosen, **points[0]}), None)
        if in_vain is not None and given(common, chosen, points):
            where = "the grid" if in_vain in points[0] else f"run {at}"
            raise UserError(
                f"{where} names {in_vain}, which a run has from the adapter that it goes on from: leave it out."
            )
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
        if name in found:
            raise UserError(f"{where} names one setting twice, with a hyphen and with an underscore: name each once.")
        found[name] = one_value(name, value, where)
    return found


def one_value(name: str, value: Any, where: str) -> Any:
    """A setting's value as a command line has it: layers may be listed. Raises UserError for other lists."""
    if not isinstance(value, list):
        return value
    if typing.get_origin(presets.field_types()[name]) is not tuple:
        raise UserError(f"{where} gives {name} several values: name one, or list them under grid.")
    return ",".join(map(str, value))


def given(common: Mapping[str, Any], chosen: Mapping[str, Any], points: Iterable[Mapping[str, Any]]) -> bool:
    """Whether one of the runs goes on from an adapter."""
    return any({**common, **chosen, **point}.get("from_adapter") not in (None, "", "none") for point in points)


def grid_points(grid: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every combination of the values of a grid, the last setting changing fastest. Raises UserError."""
    names = settings_of(dict.fromkeys(grid), "grid")
    axes: list[list[Any]] = []
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise UserError(f"grid: {key} needs a list of values, such as [8, 16].")
        axes.append([one_value(str(key).replace("-", "_"), value, "grid") for value in values])
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
        label = wanted = NOT_IN_NAMES.sub("-", f"{name}-{plan.name}").strip("-.")[:54] or f"run-{at}"
        further = itertools.count(at)
        while label in seen:
            label = f"{wanted}-{next(further)}"
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
