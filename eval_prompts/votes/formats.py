"""Rows of plain data as CSV, JSON lines and Parquet, and back; the three hold the same.

A CSV is for spreadsheets too: what is no text is JSON in its cell, nothing is an empty cell, and a cell that would be
taken for a formula is defused by a leading apostrophe, which is taken off again when it is read.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tuning.errors import UserError

Kind = Literal["text", "number", "whole", "flag", "data", "texts", "messages"]
"""What a column holds; 'data' is any JSON value, 'messages' a list of chat messages."""
Row = dict[str, Any]
FORMATS = ("csv", "jsonl", "parquet")
TYPES = {"csv": "text/csv", "jsonl": "application/jsonl", "parquet": "application/vnd.apache.parquet"}
FORMULA_STARTS = "=+-@\N{MINUS SIGN}"
UNSEEN = ("C", "Z")
"""Unicode categories that a spreadsheet may skip before a formula: control and format characters, and separators."""


def written(rows: Sequence[Row], columns: Mapping[str, Kind], form: str) -> bytes:
    """A file's content in 'csv', 'jsonl' or 'parquet'. Raises UserError for another form."""
    if form == "csv":
        return _csv(rows, columns)
    if form == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8")
    if form == "parquet":
        return _parquet(rows, columns)
    raise UserError(f"Votes are exported as {', '.join(FORMATS)}: choose one of them.")


def read(content: bytes, columns: Mapping[str, Kind], form: str) -> list[Row]:
    """The rows that such a file holds. Raises UserError for one that is none."""
    try:
        if form == "csv":
            return _from_csv(content, columns)
        if form == "jsonl":
            return [_mapping(json.loads(line)) for line in content.decode("utf-8").split("\n") if line.strip()]
        if form == "parquet":
            return _from_parquet(content, columns)
    except (ValueError, KeyError, OSError, csv.Error) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"The file cannot be read as {form} ({reason}).") from error
    raise UserError(f"Votes are read from {', '.join(FORMATS)}: choose one of them.")


def defused(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula, be its sign full-width or behind what is not seen."""
    return f"'{cell}" if _needs(cell) else cell


def fused(cell: str) -> str:
    """The text that :func:`defused` was given."""
    return cell[1:] if cell[:1] == "'" and _needs(cell[1:]) else cell


def _needs(cell: str) -> bool:
    """Whether an apostrophe goes before a cell: it is a formula, or it could be taken for a defused one."""
    if cell[:1] in ("\t", "\r", "\n"):
        return True
    if cell[:1] == "'":
        return _needs(cell[1:])
    first = next((one for one in cell if unicodedata.category(one)[0] not in UNSEEN), "")
    return bool(first) and unicodedata.normalize("NFKC", first)[0] in FORMULA_STARTS


def _csv(rows: Sequence[Row], columns: Mapping[str, Kind]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row[name], kind) for name, kind in columns.items()])
    return out.getvalue().encode("utf-8")


def _cell(value: Any, kind: Kind) -> str:
    if value is None:
        return ""
    if kind == "text":
        return defused(value)
    return (
        defused(json.dumps(value, ensure_ascii=False)) if kind in ("data", "texts", "messages") else json.dumps(value)
    )


def _from_csv(content: bytes, columns: Mapping[str, Kind]) -> list[Row]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
    rows = []
    for cells in reader:
        if None in cells or None in cells.values():
            raise ValueError(f"line {reader.line_num} has another number of cells than the first")
        rows.append({name: _value(cell, columns.get(name, "text")) for name, cell in cells.items()})
    return rows


def _value(cell: str, kind: Kind) -> Any:
    if kind == "text":
        return fused(cell)
    return json.loads(fused(cell)) if cell else None


def _parquet(rows: Sequence[Row], columns: Mapping[str, Kind]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    text = pyarrow.string()
    types = {
        "text": text,
        "number": pyarrow.float64(),
        "whole": pyarrow.int64(),
        "flag": pyarrow.bool_(),
        "data": text,
        "texts": pyarrow.list_(text),
        "messages": pyarrow.list_(pyarrow.struct([("role", text), ("content", text)])),
    }
    schema = pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])
    as_text = [name for name, kind in columns.items() if kind == "data"]
    flat = [
        row | {name: None if row[name] is None else json.dumps(row[name], ensure_ascii=False) for name in as_text}
        for row in rows
    ]
    out = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(flat, schema), out)
    return out.getvalue()


def _from_parquet(content: bytes, columns: Mapping[str, Kind]) -> list[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        rows = parquet.read_table(io.BytesIO(content)).to_pylist()
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from error
    as_text = [name for name, kind in columns.items() if kind == "data"]
    return [row | {name: json.loads(row[name]) for name in as_text if isinstance(row.get(name), str)} for row in rows]


def _mapping(value: Any) -> Row:
    if not isinstance(value, dict):
        raise ValueError("a line is no JSON object")
    return value
