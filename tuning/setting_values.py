"""Values of settings from what a command line, a form or JSON holds."""

from __future__ import annotations

import typing
from os import PathLike
from typing import Any, Literal

from tuning.errors import UserError


def convert(name: str, value: Any, kind: Any) -> Any:
    """A field's value from what a command line, a form or JSON holds; raises UserError if it is of another kind."""
    option_name = "--" + name.replace("_", "-")
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        if value not in arguments:
            raise UserError(f"{option_name} is {value!r}: choose one of {', '.join(arguments)}.")
        return value
    if typing.get_origin(kind) is tuple:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
            raise UserError(f"{option_name} is {value!r}, but must be names, such as q_proj,v_proj.")
        return tuple(part.strip() for part in parts if part.strip())
    if type(None) in arguments:
        if value is None or (isinstance(value, str) and value.strip().lower() in ("", "none")):
            return None
        kind = arguments[0]
    if kind is bool:
        return to_bool(option_name, value)
    wanted = {"int": "a whole number", "float": "a number"}.get(kind.__name__, "text")
    # What YAML makes of yes, off or a list is no text, and true is no 1.
    if isinstance(value, bool) or not isinstance(value, str | int | float | PathLike):
        raise UserError(f"{option_name} is {value!r}, but must be {wanted}.")
    try:
        if kind is int and isinstance(value, float) and value != int(value):
            raise ValueError
        return kind(value)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{option_name} is {value!r}, but must be {wanted}.") from None


def to_bool(option_name: str, value: Any) -> bool:
    """True or False from a switch or its text."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in ("true", "yes", "1", "on"):
        return True
    if text in ("false", "no", "0", "off"):
        return False
    raise UserError(f"{option_name} is {value!r}, but must be true or false.")
