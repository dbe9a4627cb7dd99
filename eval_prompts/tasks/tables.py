"""Questions from files: what the reader of training data reads, every cell as it is written there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuning.data.reading.readers import read_file
from tuning.data.reading.text_files import COMPRESSIONS, KINDS, NUMBERED, kind_of, opened
from tuning.data.reading.values import Spelled
from tuning.errors import UserError

Row = dict[str, Any]
MOST_BYTES = 200 * 2**20
ENDINGS = tuple(KINDS)


@dataclass(frozen=True)
class Table:
    """A file's rows, each with the ``unit`` ('line' or 'row') that it begins at. ``notes`` say how the file was read,
    where that is not plain, and what was left out."""

    rows: list[tuple[int, Row]]
    unit: str = "line"
    notes: list[str] = field(default_factory=list)


def is_table(path: Path) -> bool:
    """Whether a file of this name can hold questions."""
    return kind_of(path) is not None


def read_table(path: Path) -> Table:
    """The rows of a CSV, TSV, JSON, JSON lines, Parquet, Arrow or Excel file; text also as ``.gz`` or ``.zst``.

    Raises UserError, with the file and the line, for what cannot be read.
    """
    if not path.is_file():
        raise UserError(f"There is no file {path}: check the path.")
    if not is_table(path):
        raise UserError(f"{path.name} is not a file of questions: use one of {', '.join(ENDINGS)}.")
    if path.stat().st_size > MOST_BYTES or unpacks_to_more(path, MOST_BYTES):
        raise UserError(f"{path.name} is larger than {MOST_BYTES // 2**20} MiB: split it.")
    records = read_file(path)
    rows = ((number, {str(name): value_of(cell) for name, cell in row.items()}) for number, row in records.rows)
    table = filled(path.name, rows, "row" if kind_of(path) in NUMBERED else "line", records.notes)
    if records.ignored:
        table.notes.append(f"Left out beside the rows: {', '.join(records.ignored)}.")
    return table


def unpacks_to_more(path: Path, most: int) -> bool:
    """Whether a compressed file holds more than ``most`` bytes. Raises UserError if it is damaged."""
    if path.suffix.lower() not in COMPRESSIONS:
        return False
    left = most
    with opened(path) as unpacked:
        while left >= 0 and (part := unpacked.read(1 << 20)):
            left -= len(part)
    return left < 0


def filled(name: str, rows: Iterator[tuple[int, Row]], unit: str, notes: list[str]) -> Table:
    """The rows that hold anything. Raises UserError if there is none."""
    kept, empty = [], 0
    for number, row in rows:
        if any(cell.strip() if isinstance(cell, str) else cell is not None for cell in row.values()):
            kept.append((number, row))
        else:
            empty += 1
    if not kept:
        raise UserError(f"{name} holds no questions.")
    if empty:
        notes = [*notes, f"{empty:,} empty {unit}{'s' if empty > 1 else ''} of {name} left out."]
    return Table(kept, unit, list(notes))


def value_of(cell: Any) -> Any:
    """A cell: a number by itself as it is written, numbers within lists and objects as numbers."""
    if isinstance(cell, Spelled):
        return str(cell)
    if isinstance(cell, dict):
        return {str(key): inner(value) for key, value in cell.items()}
    return [inner(value) for value in cell] if isinstance(cell, list) else cell


def inner(value: Any) -> Any:
    """A value within a list or an object."""
    return json.loads(value) if isinstance(value, Spelled) else value_of(value)
