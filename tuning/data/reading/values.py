"""Values of a data file as they are written there: numbers keep their spelling, text keeps its white space."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

SURROGATE = re.compile("[\ud800-\udfff]")
BLANK_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")


class Spelled(str):
    """A JSON number as it is spelled in the file: ``2.50`` stays so, and 2^67 loses no digit."""

    __slots__ = ()


class SheetError(str):
    """What a spreadsheet shows in place of a value that it could not compute, such as ``#N/A``."""

    __slots__ = ()


class NotText(ValueError):
    """A value that is no text; its message names the kind ("a list")."""


def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises ValueError if a key stands in it twice, of which one would vanish."""
    found = dict(items)
    if len(found) < len(items):
        names = [name for name, _ in items]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return found


DECODER = json.JSONDecoder(parse_int=Spelled, parse_float=Spelled, parse_constant=Spelled, object_pairs_hook=pairs)
"""Reads JSON so that every scalar keeps its spelling."""


def is_missing(value: Any) -> bool:
    """Whether a cell is null or NaN, in JSON's spelling also."""
    return value is None or value != value or (isinstance(value, Spelled) and value == "NaN")


def text_of(value: Any) -> str:
    """A cell as text, exactly as it is written; a missing one is empty. Raises NotText for lists, objects and bytes."""
    if type(value) is str:
        return value
    if is_missing(value):
        return ""
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, dict):
        raise NotText("an object")
    if isinstance(value, bytes | bytearray | memoryview):
        raise NotText("bytes")
    if isinstance(value, timedelta):
        raise NotText("a duration")
    if isinstance(value, SheetError):
        raise NotText(f"the error {value}")
    if isinstance(value, Iterable) and not isinstance(value, str):
        raise NotText("a list")
    return str(value)


def is_broken(text: str) -> bool:
    """Whether a text holds half a character, which is no text in any encoding."""
    return not text.isascii() and SURROGATE.search(text) is not None


def trimmed(text: str) -> str:
    """Text without the blank lines before it and the white space after it; its own indentation stays."""
    if text[:1].isspace():
        text = BLANK_LINES.sub("", text)
    return text.rstrip()


def is_filled(value: Any) -> bool:
    """Whether a cell holds anything: neither null nor NaN, nor an empty text, nor a list or object of such alone."""
    if type(value) is str:
        return value != ""
    if isinstance(value, dict):
        return any(map(is_filled, value.values()))
    if isinstance(value, list):
        return any(map(is_filled, value))
    return not is_missing(value) and value != ""
