"""JSON files as rows: one object a line, an array of objects, rows or columns under keys; every value as spelled."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tuning.data.reading.records import Record, Records
from tuning.data.reading.text_files import lines_of, malformed
from tuning.data.reading.values import DECODER
from tuning.errors import UserError


def jsonl_rows(path: Path, encoding: str | None) -> Iterator[Record]:
    """One JSON object a line; blank lines are none."""
    decode = DECODER.decode
    for number, line in enumerate(lines_of(path, encoding), start=1):
        try:
            row = decode(line)
        except (ValueError, RecursionError) as error:
            if not line.strip():
                continue
            raise malformed(path.name, number, reason_of(error, number)) from error
        if not isinstance(row, dict):
            hint = ""
            if isinstance(row, list) and number == 1:
                hint = ", but a JSON array: a .jsonl file has one object a line, so rename it to .json"
            raise malformed(path.name, number, f"it is no JSON object{hint}")
        yield number, row


def reason_of(error: Exception, line: int) -> str:
    """Why a text is no JSON, and in which column."""
    if isinstance(error, json.JSONDecodeError):
        if error.doc.lstrip().startswith("[") and line == 1:
            return "a .jsonl file has one JSON object a line, and this is a JSON array: rename it to .json"
        hint = ""
        if error.doc.strip() in ("{", "["):
            hint = " (one whole object a line, not spread over several: rename it to .json if it is one JSON text)"
        return f"{error.msg}, column {error.colno}{hint}"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def json_rows(path: Path, encoding: str | None, records: Records) -> Iterator[Record]:
    """A JSON file: an array of objects, an object of rows or of columns, or one object a line."""
    start = list(islice((line for line in lines_of(path, encoding) if line.strip()), 2))
    if not start:
        raise UserError(f"The data file {path.name} is empty.")
    if len(start) == 2 and start[0].lstrip().startswith("{") and is_json(start[0]):
        yield from jsonl_rows(path, encoding)
        return
    text = "".join(lines_of(path, encoding))
    at = skip_space(text, 0)
    if text[at] == "[":
        yield from array_rows(path.name, text, at + 1)
        return
    try:
        value, end = DECODER.raw_decode(text, at)
    except (ValueError, RecursionError) as error:
        raise malformed(path.name, getattr(error, "lineno", 1), reason_of(error, 0)) from error
    if skip_space(text, end) < len(text):
        raise malformed(path.name, text.count("\n", 0, end) + 1, "more text follows the end of the JSON value")
    if not isinstance(value, dict):
        raise malformed(path.name, 1, "it is no JSON object and no array of them")
    yield from object_rows(path.name, value, records)


def is_json(line: str) -> bool:
    """Whether a line is a JSON value by itself."""
    try:
        DECODER.decode(line)
    except (ValueError, RecursionError):
        return False
    return True


SPACE = re.compile(r"[ \t\r\n]*")


def skip_space(text: str, at: int) -> int:
    """The next place that is no JSON white space."""
    found = SPACE.match(text, at)
    return found.end() if found else at


def array_rows(name: str, text: str, at: int) -> Iterator[Record]:
    """The objects of a JSON array whose first element begins at ``at`` or after it, parsed one by one."""
    line, counted, number = 1, 0, 0
    at = skip_space(text, at)
    while text[at : at + 1] != "]" or number:
        line += text.count("\n", counted, at)
        counted = at
        number += 1
        try:
            value, end = DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise malformed(name, getattr(error, "lineno", line), reason_of(error, 0)) from error
        if not isinstance(value, dict):
            raise malformed(name, line, f"row {number} is no JSON object but {kind_name(value)}: name its columns")
        yield line, value
        at = skip_space(text, end)
        if text[at : at + 1] == "]":
            break
        if text[at : at + 1] != ",":
            raise malformed(name, text.count("\n", 0, at) + 1, "a comma or the end of the array is missing")
        at = skip_space(text, at + 1)
    rest = skip_space(text, at + 1)
    if rest < len(text):
        raise malformed(name, text.count("\n", 0, rest) + 1, "more text follows the end of the array")


def kind_name(value: Any) -> str:
    """A JSON value's kind in words."""
    return "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else "a single value"


def object_rows(name: str, value: dict[str, Any], records: Records) -> Iterator[Record]:
    """A JSON object: rows under keys, columns of rows, or one row. Rows are numbered, since they have no lines."""
    lists = {key: rows for key, rows in value.items() if is_table(rows)}
    if lists:
        under = ", ".join(repr(key) for key in lists)
        records.notes.append(f"The rows are those under {under}.")
        records.ignored += [key for key in value if key not in lists]
        yield from enumerate(chain.from_iterable(lists.values()), start=1)
    elif isinstance(value.get("columns"), list) and is_rectangle(value.get("data"), len(value["columns"])):
        names = [str(column) for column in value["columns"]]
        records.notes.append("The rows are those under 'data', their names those under 'columns'.")
        records.ignored += [key for key in value if key not in ("columns", "data")]
        for number, cells in enumerate(value["data"], start=1):
            yield number, dict(zip(names, cells, strict=True))
    elif value and all(isinstance(column, dict) for column in value.values()):
        yield from keyed_rows(name, value, records)
    elif is_columns(value):
        lengths = {key: len(cells) for key, cells in value.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{key} {length}" for key, length in lengths.items())
            raise UserError(f"{name} holds columns of different lengths ({told}): complete them.")
        records.notes.append("The file holds columns; their first values are the first row.")
        for number, cells in enumerate(zip(*value.values(), strict=True), start=1):
            yield number, dict(zip(value, cells, strict=True))
    else:
        yield 1, value


def is_table(rows: Any) -> bool:
    """Whether a value is a list of objects that are no chat messages."""
    if not (isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)):
        return False
    return not any({"role", "content"} <= row.keys() or {"from", "value"} <= row.keys() for row in rows)


def is_rectangle(rows: Any, width: int) -> bool:
    """Whether a value is a list of lists of that length."""
    return isinstance(rows, list) and all(isinstance(row, list) and len(row) == width for row in rows)


def is_columns(value: dict[str, Any]) -> bool:
    """Whether an object holds columns of values: two lists or more, and no chat messages."""
    lists = [cells for cells in value.values() if isinstance(cells, list)]
    return len(lists) == len(value) > 1 and not any(isinstance(cell, dict) for cells in lists for cell in cells)


def keyed_rows(name: str, value: dict[str, dict[str, Any]], records: Records) -> Iterator[Record]:
    """What pandas writes: columns whose values are named by their index, or rows that are."""
    keys = list(dict.fromkeys(key for cells in value.values() for key in cells))
    if all(key.lstrip("-").isdigit() for key in keys):
        records.notes.append("The file holds columns whose values are named by row.")
        for number, key in enumerate(keys, start=1):
            yield number, {column: cells.get(key) for column, cells in value.items()}
    else:
        records.notes.append("The file holds rows that are named.")
        yield from enumerate(value.values(), start=1)
