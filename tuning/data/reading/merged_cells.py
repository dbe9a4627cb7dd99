"""Merged cells of a worksheet: the file holds their value once, in the first of them."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

MERGE = re.compile(rb"<(?:\w+:)?mergeCell\s[^>]*?ref=[\"']([A-Z0-9:]+)[\"']")
LONGEST_TAG = 128
CHUNK = 1 << 20
Range = tuple[int, int, int, int]
"""First column, first row, last column and last row, from 1."""


def first_sheet(file: IO[bytes]) -> str:
    """The name of a workbook's first sheet within its archive."""
    from openpyxl.reader.excel import ExcelReader

    reader = ExcelReader(file, read_only=True)
    reader.read_manifest()
    reader.read_workbook()
    sheets = (link for _, link in reader.parser.find_sheets() if link.target in reader.valid_files)
    return next(str(link.target) for link in sheets if "chartsheet" not in link.Type)


def merged_ranges(path: Path) -> Iterator[Range]:
    """What is merged in a workbook's first sheet."""
    from openpyxl.utils import range_boundaries

    met: set[bytes] = set()
    with path.open("rb") as book, zipfile.ZipFile(book) as archive, archive.open(first_sheet(book)) as file:
        before = b""
        while piece := file.read(CHUNK):
            met.update(MERGE.findall(before + piece))
            before = piece[-LONGEST_TAG:]
    for reference in met:
        left, top, right, bottom = range_boundaries(reference.decode())
        yield int(left or 1), int(top or 1), int(right or 1), int(bottom or 1)


class MergedCells:
    """Merged cells, met row by row: their value is used in each of their rows, in the first of their columns."""

    def __init__(self, ranges: Iterable[Range]) -> None:
        self._waiting: dict[int, list[Range]] = {}
        for each in ranges:
            self._waiting.setdefault(each[1], []).append(each)
        self._open: dict[Range, Any] = {}
        self._used: set[Range] = set()
        self._across = 0

    def filled(self, number: int, found: list[Any]) -> list[Any]:
        """A row under the header with the values that it shares with rows above; a row that holds nothing else stays
        empty. Must be asked for every row, in order."""
        row = list(found)
        for each in [each for each in self._open if each[3] < number]:
            del self._open[each]
        if any(value is not None for value in found):
            for each, value in self._open.items():
                row += [None] * (each[0] - len(row))
                if row[each[0] - 1] is None:
                    row[each[0] - 1] = value
                    self._used.add(each)
        for each in self._waiting.pop(number, ()):
            left, top, right, bottom = each
            value = found[left - 1] if left <= len(found) else None
            if value is None:
                continue
            self._across += right > left
            if bottom > top:
                self._open[each] = value
        return row

    def notes(self) -> list[str]:
        """What is to be said of them, with counts."""
        told = []
        if self._used:
            told.append(f"Merged cells whose value is used in every row that they span: {len(self._used):,}.")
        if self._across:
            told.append(
                f"Merged cells that span columns, whose value is used in the first of them alone: {self._across:,}."
            )
        return told
