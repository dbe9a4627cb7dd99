"""docs/settings.md, made from the settings themselves: ``python -m space_config.settings_page`` writes it."""

from __future__ import annotations

import dataclasses
import sys
import typing
from pathlib import Path
from typing import Any, Literal

from annotated_types import Ge, Gt, Le
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from space_config.settings import Settings
from space_config.variables import VARIABLES
from tuning import presets
from tuning.files import write_whole

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
SECTIONS = {
    "model": "What is compared, and where the page is",
    "auth": "Who may do what",
    "asks_per_minute": "Limits",
    "mirror_votes": "Copies, logs and the end",
}
"""The first setting of each section; a new one lands in the section in which it stands."""
INTRODUCTION = """# Settings

Made by `python -m space_config.settings_page`; a test fails when it lags behind the code.

`python app.py` (or `lora-lens`) takes these options. Each is also an environment variable: `--asks-per-minute 9` is
`LORA_LENS_ASKS_PER_MINUTE=9`. The command line comes first, then the environment, then the default.
"""
TRAINING = """## Training

`python -m tuning train` (or `lora-lens-train train`) takes these; a preset sets them all, and what is given goes before
it. The defaults are those of the preset `quick`.
"""


def page() -> str:
    """The whole page in Markdown."""
    lines = [INTRODUCTION.rstrip()]
    for name, field in Settings.model_fields.items():
        if name in SECTIONS:
            lines += ["", f"## {SECTIONS[name]}", "", *head("option", "value", "default", "meaning")]
        lines.append(row(f"`--{name.replace('_', '-')}`", values(field), default(field), cell(field.description)))
    lines += ["", "## Variables without an option", "", *head("variable", "meaning")]
    lines += [row(f"`{name}`", meaning) for name, meaning in VARIABLES.items()]
    lines += ["", TRAINING, *head("option", "default", "meaning")]
    quick = presets.to_dict(presets.PRESETS["quick"])
    for setting in dataclasses.fields(presets.Config):
        option, meaning = f"`--{setting.name.replace('_', '-')}`", cell(setting.metadata["help"])
        lines.append(row(option, told(quick[setting.name]), meaning))
    return "\n".join(lines) + "\n"


def head(*names: str) -> tuple[str, str]:
    """A table's first two lines."""
    return row(*names), row(*["---"] * len(names))


def row(*cells: str) -> str:
    """A table's line."""
    return f"| {' | '.join(cells)} |"


def values(field: FieldInfo) -> str:
    """What a setting takes: its kind, and its bounds where it has any."""
    kinds = {field.annotation, *typing.get_args(field.annotation)}
    if typing.get_origin(field.annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(field.annotation))
    if bool in kinds:
        return "switch"
    if SecretStr in kinds:
        return "secret"
    if not kinds & {int, float}:
        return "text"
    signs = ((Ge, "ge", "at least"), (Gt, "gt", "more than"), (Le, "le", "at most"))
    bounds = [
        f"{word} {getattr(limit, attribute):,}"
        for kind, attribute, word in signs
        for limit in field.metadata
        if isinstance(limit, kind)
    ]
    return ", ".join(bounds) or "number"


def default(field: FieldInfo) -> str:
    """A setting's default as the command line would name it."""
    return "off" if field.default is False else told(field.default)


def told(value: Any) -> str:
    """A default in a cell."""
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return f"`{','.join(map(str, value))}`"
    return f"`{value}`"


def cell(text: str | None) -> str:
    """A text that a table's cell can hold."""
    return " ".join((text or "").split()).replace("|", "\\|")


def main() -> int:
    """Write the page. Returns the exit code."""
    PAGE.parent.mkdir(exist_ok=True)
    write_whole(PAGE, page())
    print(PAGE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
