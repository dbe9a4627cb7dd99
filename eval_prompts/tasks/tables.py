"""Questions from files: CSV, TSV, JSON lines, JSON, Parquet and Excel, every cell as it is written there."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tuning.errors import UserError

Row = dict[str, Any]
MOST_BYTES = 200 * 2**20


def read_table(path: Path) -> list[tuple[int, Row]]:
    """The rows of a file with the line (or row) that each begins at; ``.gz`` of the text formats too.

    Raises UserError, with the file and the line, for what cannot be read.
    """
    if not path.is_file():
        raise UserError(f"There is no file {path}: check the path.")
    if path.stat().st_size > MOST_BYTES:
        raise UserError(f"{path.name} is larger than {MOST_BYTES // 2**20} MiB: split it.")
    return read_bytes(path.read_bytes(), path.name)


def read_bytes(data: bytes, name: str) -> list[tuple[int, Row]]:
    """As :func:`read_table`, of a file's content; ``name`` tells its format by its ending."""
    suffixes = [part.lower() for part in Path(name).suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
        data = _unzipped(data, name)
    reader = READERS.get(suffixes[-1] if suffixes else "")
    if reader is None:
        raise UserError(f"{name} is not a file of questions: use one of {', '.join(READERS)}.")
    try:
        rows = list(reader(data, name))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{name}, line {line}: it is not UTF-8; save it as UTF-8 and try again.") from None
    if not rows:
        raise UserError(f"{name} holds no questions.")
    return rows


def _unzipped(data: bytes, name: str) -> bytes:
    try:
        with gzip.open(io.BytesIO(data)) as file:
            plain = file.read(MOST_BYTES + 1)
    except (OSError, EOFError) as error:
        raise UserError(f"{name} is damaged: {error}.") from None
    if len(plain) > MOST_BYTES:
        raise UserError(f"{name} is larger than {MOST_BYTES // 2**20} MiB when unpacked: split it.")
    return plain


def _csv(data: bytes, name: str) -> Iterator[tuple[int, Row]]:
    text = data.decode("utf-8-sig")
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count) if not name.lower().removesuffix(".gz").endswith(".tsv") else "\t"
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [column.strip() for column in next(reader, [])]
        if len(set(header)) < len(header):
            twice = next(column for column in header if header.count(column) > 1)
            raise UserError(f"{name}, line 1: the column {twice!r} stands twice.")
        before = reader.line_num
        for cells in reader:
            line, before = before + 1, reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise UserError(f"{name}, line {line}: {len(cells)} cells, but the first line names {len(header)}.")
            yield line, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise UserError(f"{name}, line {reader.line_num}: {error}.") from None


def _lines(data: bytes, name: str) -> Iterator[tuple[int, Row]]:
    # Only the line feed ends a line: str.splitlines would also split at U+2028 within a text.
    for number, line in enumerate(data.decode("utf-8-sig").split("\n"), 1):
        if line.strip():
            yield number, _object(_parsed(line, f"{name}, line {number}"), f"{name}, line {number}")


def _json(data: bytes, name: str) -> Iterator[tuple[int, Row]]:
    content = _parsed(data.decode("utf-8-sig"), name)
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == 1 else content
    if not isinstance(content, list):
        raise UserError(f"{name} must hold a list of objects.")
    for number, row in enumerate(content, 1):
        yield number, _object(row, f"{name}, question {number}")


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{where} is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        ) from None
    except (ValueError, RecursionError):
        raise UserError(f"{where} is not valid JSON: it is nested too deeply, or holds too long a number.") from None


def _object(row: Any, where: str) -> Row:
    if not isinstance(row, dict):
        raise UserError(f"{where} is not an object.")
    return {str(key): value for key, value in row.items()}


def _parquet(data: bytes, name: str) -> Iterator[tuple[int, Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(data))
        rows = table.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{name} is not a Parquet file that can be read: {str(error).splitlines()[0][:200]}") from None
    yield from enumerate(rows, 1)


def _excel(data: bytes, name: str) -> Iterator[tuple[int, Row]]:
    from openpyxl import load_workbook

    try:
        book = load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        sheet = book.worksheets[0]
        cells = sheet.iter_rows(values_only=True)
        header = [str(cell).strip() if cell is not None else "" for cell in next(cells, ())]
        for number, values in enumerate(cells, 2):
            row = {key: _cell(value) for key, value in zip(header, values, strict=False) if key}
            if any(value.strip() for value in row.values()):
                yield number, row
    except UserError:
        raise
    except Exception as error:
        # A damaged workbook shows itself in whatever part of zip, XML or styles is read first.
        raise UserError(f"{name} is not an Excel file that can be read ({type(error).__name__}).") from error


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


READERS: dict[str, Callable[[bytes, str], Iterator[tuple[int, Row]]]] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".jsonl": _lines,
    ".ndjson": _lines,
    ".json": _json,
    ".parquet": _parquet,
    ".xlsx": _excel,
}
