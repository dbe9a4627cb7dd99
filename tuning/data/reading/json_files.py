"""JSON files as rows: one object a line, an array of objects, rows or columns under keys; every value as spelled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from tuning.data.reading.json_objects import object_rows, outline_of
from tuning.data.reading.json_window import Places, Window, reason_of
from tuning.data.reading.records import Record, Records
from tuning.data.reading.text_files import chunks_of, lines_of, malformed
from tuning.data.reading.values import DECODER
from tuning.errors import UserError


def jsonl_rows(path: Path, encoding: str | None, records: Records) -> Iterator[Record]:
    """One JSON object a line; blank lines are none. A file that begins as another kind of JSON is read as that."""
    decode = DECODER.decode
    lines = enumerate(lines_of(path, encoding), start=1)
    first = next((numbered for numbered in lines if numbered[1].strip()), None)
    if first is None:
        return
    if is_open(first[1]):
        records.notes.append("The file is one JSON text rather than an object a line, and is read as such.")
        yield from json_rows(path, encoding, records)
        return
    for number, line in chain([first], lines):
        try:
            row = decode(line)
        except (ValueError, RecursionError) as error:
            if not line.strip():
                continue
            raise malformed(path.name, number, reason_of(error, 0)) from error
        if not isinstance(row, dict):
            raise malformed(path.name, number, "it is no JSON object")
        yield number, row


def is_open(line: str) -> bool:
    """Whether a line begins an array, or an object that goes on in the next line."""
    text = line.strip()
    if not text.startswith("{"):
        return text.startswith("[")
    try:
        DECODER.decode(text)
    except json.JSONDecodeError as error:
        return error.pos >= len(text)
    except (ValueError, RecursionError):
        return False
    return False


def json_rows(path: Path, encoding: str | None, records: Records) -> Iterator[Record]:
    """A JSON file: an array of objects, an object of rows or of columns, or one object after the other."""
    window = Window(path.name, chunks_of(path, encoding))
    first = window.peek()
    if not first:
        raise UserError(f"The data file {path.name} is empty.")
    if first == "[":
        yield from array_rows(window)
        return
    if first != "{":
        line, value = window.line, window.value()
        raise malformed(path.name, line, f"it is {kind_name(value)}, and neither an object nor an array of them")
    outline = outline_of(window)
    if window.peek() == "{":
        yield from objects(Window(path.name, chunks_of(path, encoding)))
        return
    window.end("JSON value")
    yield from object_rows(path.name, outline, lambda: Window(path.name, chunks_of(path, encoding)), records)


def array_rows(window: Window) -> Iterator[Record]:
    """The objects of the array that comes next."""
    places = Places()
    for number, line in enumerate(window.elements(), start=1):
        value = window.value()
        if not isinstance(value, dict):
            raise malformed(
                window.name, line, f"row {number} is no JSON object but {kind_name(value)}: name its columns"
            )
        yield places.of(line), value
    window.end("array")


def objects(window: Window) -> Iterator[Record]:
    """Objects one after the other, whatever white space stands in and between them."""
    places = Places()
    while window.peek():
        line, value = window.line, window.value()
        if not isinstance(value, dict):
            raise malformed(window.name, line, "it is no JSON object")
        yield places.of(line), value


def kind_name(value: Any) -> str:
    """A JSON value's kind in words."""
    return "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else "a single value"
