"""The Space's card: its front matter, checked against what the Hub accepts before anything is sent."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tuning.errors import UserError

CARD = Path(__file__).parent / "card.md"
COLOURS = frozenset({"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"})
HARDWARE = frozenset(
    {
        "cpu-basic", "cpu-upgrade", "zero-a10g", "t4-small", "t4-medium", "l4x1", "l4x4", "l40sx1", "l40sx4", "l40sx8",
        "a10g-small", "a10g-large", "a10g-largex2", "a10g-largex4", "a100-large", "h100", "h100x8",
    }
)  # fmt: skip
REPOSITORY = re.compile(r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}")
KINDS: dict[str, type | tuple[type, ...]] = {
    "title": str, "emoji": str, "colorFrom": str, "colorTo": str, "sdk": str, "sdk_version": str,
    "python_version": str, "app_file": str, "suggested_hardware": str, "startup_duration_timeout": str,
    "short_description": str, "license": str, "thumbnail": str, "header": str, "pinned": bool, "fullWidth": bool,
    "disable_embedding": bool, "hf_oauth": bool, "hf_oauth_scopes": list, "hf_oauth_expiration_minutes": int,
    "models": list, "datasets": list, "tags": list, "preload_from_hub": list, "custom_headers": dict,
}  # fmt: skip
REQUIRED = ("title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "app_file", "license")
SCOPES = frozenset({"openid", "profile", "email", "read-repos", "write-repos", "manage-repos", "inference-api"})


def split(text: str) -> tuple[dict[str, Any], str]:
    """A card's front matter and its body. Raises UserError if there is no front matter, or it is no YAML mapping."""
    import yaml

    match = re.fullmatch(r"---\n(.*?)\n---\n(.*)", text, re.DOTALL)
    try:
        matter = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError as error:
        raise UserError(f"The card's front matter is no YAML ({str(error).splitlines()[0]}).") from None
    if match is None or not isinstance(matter, dict):
        raise UserError("The card has no front matter: it begins with '---', keys and values, and '---'.")
    return matter, match[2]


def join(matter: dict[str, Any], body: str) -> str:
    """A card's text again."""
    import yaml

    return f"---\n{yaml.safe_dump(matter, allow_unicode=True, sort_keys=False)}---\n{body}"


def check(matter: dict[str, Any], root: Path) -> None:
    """Raise UserError, naming every fault, unless the Hub would take this front matter for the project in ``root``."""
    faults = [f"{key} is missing" for key in REQUIRED if key not in matter]
    for key, value in matter.items():
        if key not in KINDS:
            faults.append(f"{key} is no key of a Space")
        elif type(value) is not KINDS[key]:
            faults.append(f"{key} is no {getattr(KINDS[key], '__name__', 'value of its kinds')}")
    if not faults:
        faults = _faults_of_values(matter, root)
    if faults:
        raise UserError(f"The card cannot be used: {'; '.join(faults)}.")


def _faults_of_values(matter: dict[str, Any], root: Path) -> list[str]:
    tests = {
        "sdk is not gradio": matter["sdk"] == "gradio",
        "colorFrom and colorTo are not among " + ", ".join(sorted(COLOURS)): {matter["colorFrom"], matter["colorTo"]}
        <= COLOURS,
        "short_description has more than 60 characters": len(matter.get("short_description", "")) <= 60,
        "app_file does not exist": (root / matter["app_file"]).is_file(),
        "suggested_hardware is unknown": matter.get("suggested_hardware", "cpu-basic") in HARDWARE,
        "python_version is not 3.11 to 3.13": matter.get("python_version", "3.12") in ("3.11", "3.12", "3.13"),
        "startup_duration_timeout is no time such as 30m": re.fullmatch(
            r"\d+[smh]", matter.get("startup_duration_timeout", "30m")
        ),
        "header is not mini or default": matter.get("header", "mini") in ("mini", "default"),
        "emoji is not one emoji": 1 <= len(matter["emoji"]) <= 4 and not matter["emoji"].isascii(),
        "hf_oauth_scopes has an unknown scope": set(matter.get("hf_oauth_scopes", ())) <= SCOPES,
        "thumbnail is no https address": matter.get("thumbnail", "https://").startswith("https://"),
    }
    faults = [fault for fault, passed in tests.items() if not passed]
    for key in ("models", "datasets", "preload_from_hub"):
        names = [str(name).split(" ")[0] for name in matter.get(key, ())]
        faults += [f"{key} names no repository: {name}" for name in names if not REPOSITORY.fullmatch(name)]
    pinned = pinned_gradio(root)
    if matter["sdk_version"] != pinned:
        faults.append(f"sdk_version is {matter['sdk_version']}, but the project is locked to gradio {pinned}")
    return faults


def pinned_gradio(root: Path) -> str:
    """The version of gradio that the lock file names."""
    lock = (root / "space_config/requirements.lock").read_text(encoding="utf-8")
    match = re.search(r"^gradio(?:\[\w+\])?==([\w.]+)", lock, re.MULTILINE)
    if match is None:
        raise UserError("The lock file names no gradio: make it again.")
    return match[1]
