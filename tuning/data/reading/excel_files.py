"""Excel workbooks (.xlsx) as rows: the first sheet, its first filled row the header, every cell as the value in it."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tuning.data.reading.merged_cells import MergedCells, merged_ranges
from tuning.data.reading.records import Record, Records
from tuning.data.reading.values import SheetError, Spelled
from tuning.errors import UserError

PLAIN_FORMATS = frozenset(("General", "0", "@"))
FORMATTED = "Numbers are written without the sheet's format (5% as 0.05), dates as 2024-07-16."
FORMULA = re.compile(rb"<(?:\w+:)?f[\s>/]")
LONGEST_TAG = 64
CHUNK = 1 << 20
ESCAPE = re.compile("_x([0-9A-Fa-f]{4})_")
LONGEST_WHOLE = 1e15
"""Beyond it a floating-point number may stand for several whole ones."""


def excel_rows(path: Path, records: Records) -> Iterator[Record]:
    """The rows of a workbook's first sheet with their numbers; empty ones are none.

    Raises UserError for a damaged file, and naming the row for a name that stands twice, a cell without one, and a
    formula whose value is not in the file.
    """
    from openpyxl import load_workbook

    try:
        with path.open("rb") as values, path.open("rb") as formulas:
            books = [load_workbook(values, read_only=True, data_only=True)]
            if has_formulas(path):
                books.append(load_workbook(formulas, read_only=True))
            sheets = [book.worksheets[0] for book in books]
            others = ", ".join(repr(sheet.title) for sheet in books[0].worksheets[1:])
            if others:
                records.notes.append(f"Only the sheet {sheets[0].title!r} is read, not {others}.")
            for sheet in sheets:
                sheet.reset_dimensions()  # what a file says of its size may be wrong, and rows would be missing
            read = False
            merged = MergedCells(merged_ranges(path))
            rows = zip(*(sheet.iter_rows() for sheet in sheets), strict=True)
            for record in sheet_rows(path.name, rows, merged, records):
                read = True
                yield record
            if others and not read:
                raise UserError(
                    f"The first sheet of {path.name}, {sheets[0].title!r}, holds no rows, and {others} is not read: "
                    "put the sheet with the rows first."
                )
    except UserError:
        raise
    except Exception as error:
        # A damaged workbook shows itself in whatever part of zip, XML or styles is read first.
        raise UserError(f"{path.name} is no Excel file that can be read ({type(error).__name__}).") from error


def has_formulas(path: Path) -> bool:
    """Whether a workbook may hold a formula; only then need it be read a second time, for them."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if not name.startswith("xl/worksheets/") or not name.endswith(".xml"):
                continue
            with archive.open(name) as sheet:
                before = b""
                while piece := sheet.read(CHUNK):
                    if FORMULA.search(before + piece):
                        return True
                    before = piece[-LONGEST_TAG:]
    return False


def sheet_rows(name: str, rows: Iterator[tuple[Any, ...]], merged: MergedCells, records: Records) -> Iterator[Record]:
    """The rows under the header; each comes with the values of formulas and, where there are any, with the formulas."""
    header: list[str] = []
    formatted = False
    for number, (cells, *formulas) in enumerate(rows, start=1):
        found = [value_of(cell) for cell in cells]
        if not header:
            header = header_of(name, number, found)
            continue
        found = merged.filled(number, found)
        for column, value, formula in zip_longest(header, found, formulas[0] if formulas else ()):
            if value is None and formula is not None and formula.data_type == "f":
                raise malformed_row(name, number, "a formula's value is not in the file: open and save it in Excel")
            if value is not None and not column:
                raise malformed_row(name, number, f"a cell stands in a column that has no name: {str(value)[:30]!r}")
        if any(value is not None for value in found):
            formatted = formatted or any(is_formatted(cell) for cell in cells)
            yield number, {column: value for column, value in zip_longest(header, found) if column}
    if formatted:
        records.notes.append(FORMATTED)
    records.notes += merged.notes()


def header_of(name: str, number: int, found: list[Any]) -> list[str]:
    """The columns' names, or none from an empty row. Raises UserError if one stands twice."""
    names = ["" if value is None else str(value).strip() for value in found]
    twice = next((column for column in names if column and names.count(column) > 1), None)
    if twice is not None:
        raise malformed_row(name, number, f"the column {twice!r} stands twice in the header")
    return names if any(names) else []


def malformed_row(name: str, number: int, reason: str) -> UserError:
    """The error for a row of a sheet."""
    return UserError(f"{name} is malformed in row {number}: {reason}.")


def value_of(cell: Any) -> Any:
    """A cell's value; numbers and dates as text, a duration as what is none."""
    value = cell.value
    if isinstance(value, str):
        return SheetError(value) if cell.data_type == "e" else unescaped(value)
    if value is None or isinstance(value, bool | timedelta):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < LONGEST_WHOLE:
        return Spelled(int(value))
    if isinstance(value, datetime):
        midnight = value.time() == time()
        return Spelled(value.date().isoformat() if midnight else value.isoformat(sep=" "))
    return Spelled(value.isoformat() if isinstance(value, date | time) else value)


def unescaped(text: str) -> str:
    """A text without the workbook's own escapes: ``_x000D_`` stands for a carriage return."""
    return ESCAPE.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


def is_formatted(cell: Any) -> bool:
    """Whether a number or a date is shown otherwise than it is written here."""
    if cell.value is None or isinstance(cell.value, str | bool):
        return False
    return cell.number_format not in PLAIN_FORMATS
