"""CSV files as rows, whatever separates the columns; every cell is text."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from tuning.data.reading.records import Record, Records
from tuning.data.reading.text_files import lines_of, malformed

SEPARATORS = ",;\t|"
SEPARATOR_NAMES = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
SEPARATOR_HINT = re.compile(r"\s*\"?sep=([^\w\"\r\n])\"?\1*\s*", re.IGNORECASE)
"""The line with which Excel is told what separates the columns."""
csv.field_size_limit((1 << 31) - 1)


def csv_rows(path: Path, encoding: str | None, records: Records) -> Iterator[Record]:
    """Comma-separated values, or with semicolons, tabs or bars; every cell is text."""
    lines = lines_of(path, encoding)
    first = next(lines, "")
    if "\r" in first.rstrip("\r\n"):
        lines = single_returns(chain([first], lines))
        first = next(lines, "")
    skipped, separator = 0, "\t" if ".tsv" in [suffix.lower() for suffix in path.suffixes] else ""
    while first:
        if hint := SEPARATOR_HINT.fullmatch(first):
            separator = hint[1]
            records.notes.append(f"The line sep={separator} names what separates the columns.")
        elif not first.strip():
            records.notes.append("Blank lines before the header are left out.")
        else:
            break
        skipped += 1
        first = next(lines, "")
    if not separator:
        separator = separator_of(first)
        if separator in SEPARATOR_NAMES:
            records.notes.append(f"Columns are separated by {SEPARATOR_NAMES[separator]}.")
    lines = chain([first], lines)
    if separator != " ":
        lines = without_spaces(lines, separator, records)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    begun = skipped + 1
    try:
        header = header_of(path.name, next(reader, []), begun)
        while True:
            begun = skipped + reader.line_num + 1
            cells = next(reader, None)
            if cells is None:
                return
            if not cells:
                continue
            if len(cells) != len(header):
                raise malformed(path.name, begun, ragged(len(cells), len(header), separator))
            yield begun, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        told = "a quotation mark is not closed" if "unexpected end" in str(error) else str(error)
        raise malformed(path.name, begun, told) from error


def without_spaces(lines: Iterable[str], separator: str, records: Records) -> Iterator[str]:
    """Lines without the spaces between a separator and the quotation mark that begins a cell, which is noted.

    What stands within quotation marks, and before a cell that has none, stays.
    """
    quoted = told = False
    for line in lines:
        if '"' not in line:
            yield line
            continue
        pieces = line.split('"')
        closed = False
        for at, piece in enumerate(pieces[:-1]):  # a quotation mark follows each
            if quoted:
                quoted, closed = False, True
                continue
            if closed and not piece:  # it was the first of two, which stand for one in a cell
                quoted, closed = True, False
                continue
            bare = piece.rstrip(" ")
            quoted, closed = bare.endswith(separator) or (at == 0 and not bare), False
            if quoted and bare != piece:
                pieces[at] = bare
                if not told:
                    records.notes.append("Spaces between a separator and a quotation mark are left out.")
                told = True
        yield '"'.join(pieces)


def ragged(found: int, wanted: int, separator: str) -> str:
    """What is wrong with a row of another length than the header."""
    what = {",": "commas", **SEPARATOR_NAMES}.get(separator, repr(separator))
    return f"it has {found} fields, but the header has {wanted} (texts that hold {what} belong between quotation marks)"


def single_returns(lines: Iterable[str]) -> Iterator[str]:
    """Lines that end in carriage returns alone, as old Macs write them."""
    for line in lines:
        yield from re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", line)


def separator_of(header: str) -> str:
    """What separates the columns of a header: what stands in it most often outside quotation marks."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(SEPARATORS, key=bare.count)


def header_of(name: str, cells: list[str], line: int) -> list[str]:
    """The names of a CSV file's columns. Raises UserError if one stands twice."""
    names = [cell.strip() or f"column {number}" for number, cell in enumerate(cells, start=1)]
    twice = next((cell for cell in names if names.count(cell) > 1), None)
    if twice is not None:
        raise malformed(name, line, f"the column {twice!r} stands twice in the header")
    return names
