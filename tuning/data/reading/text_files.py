"""Text files as lines: compressed or not, in whatever encoding, every fault with its line."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tuning.errors import UserError

KINDS = {
    **{".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv"},
    **{".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow", ".xlsx": "excel", ".zip": "zip"},
}
NUMBERED = frozenset(("parquet", "arrow", "excel", "zip"))
"""Kinds of files whose rows have numbers rather than lines; they are not read compressed."""
REMEDIES = {
    **dict.fromkeys((".ods", ".xls", ".xlsb", ".xlsm", ".numbers"), "save it as .xlsx or .csv"),
    **dict.fromkeys((".txt", ".md"), "write it as JSON lines (.jsonl) with a column text, or question and answer"),
    **dict.fromkeys((".tar", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".lz4"), "unpack it, or pack it as .zip"),
    **dict.fromkeys((".pkl", ".pickle", ".npy", ".npz", ".pt"), "save it as Parquet or JSON lines (.jsonl)"),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3"), "export the table as .csv or .parquet"),
    ".duckdb": "name its table as duckdb:FILE?table=TABLE",
}
"""What to do with other files, by their endings."""
PACKED = {
    b"\x1f\x8b": "compressed with gzip: end its name in .gz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: end its name in .zst",
    b"PK\x03\x04": "a zip archive or a workbook: end its name in .zip or .xlsx",
    b"PAR1": "a Parquet file: end its name in .parquet",
}
"""How files begin that are no text, whatever their names say."""
COMPRESSIONS = (".gz", ".zst")
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
LEGACY = "cp1252"
CHUNK = 1 << 16
SHOWN = 30


def kind_of(path: Path) -> str | None:
    """'jsonl', 'json', 'csv', 'parquet', 'arrow', 'excel' or 'zip' by a file's name, text also compressed; None for
    others."""
    suffix, compression = path.suffix.lower(), ""
    if suffix in COMPRESSIONS:
        suffix, compression = Path(path.stem).suffix.lower(), suffix
    kind = KINDS.get(suffix)
    return None if kind in NUMBERED and compression else kind


def endings() -> str:
    """The endings of data files, for a message."""
    return f"{', '.join(KINDS)} (text files also compressed: {' or '.join(COMPRESSIONS)})"


def no_data_file(path: Path) -> UserError:
    """The error for a file whose name is no data file's, with what to do."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    known = next((REMEDIES[suffix] for suffix in suffixes if suffix in REMEDIES), f"use one of {endings()}")
    return UserError(f"{path.name} is no data file: {known}.")


def malformed(name: str, line: int, reason: str) -> UserError:
    """The error for a file that cannot be read on from a line."""
    return UserError(f"{name} is malformed in line {line}: {reason}.")


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked. Raises UserError, also inside the context, if it is damaged or cannot be read."""
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(path) as packed:
                yield packed  # type: ignore[misc]
        elif path.suffix.lower() == ".zst":
            import pyarrow

            # pyarrow's own file has no lines
            with pyarrow.input_stream(str(path), compression="zstd") as raw, io.BufferedReader(raw) as unpacked:
                yield unpacked
        else:
            with path.open("rb") as file:
                yield file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path.name} is no whole gzip file: compress or copy it again.") from error
    except UnicodeError:
        raise
    except OSError as error:
        what = "no whole zstd file" if path.suffix.lower() == ".zst" else f"not readable ({error.strerror or error})"
        raise UserError(f"{path.name} is {what}: check it, or copy it again.") from error


def refuse_packed(name: str, start: bytes) -> None:
    """Raise UserError for a file that begins with ``start`` and is no text."""
    for mark, what in PACKED.items():
        if start.startswith(mark):
            raise UserError(f"{name} is no text but {what}.")


def encoding_of(path: Path, start: bytes, given: str | None) -> str:
    """The encoding of a file that begins with ``start``: the one that is given, else by its mark, else UTF-8.

    Raises UserError for a name that is no encoding.
    """
    if given:
        try:
            name = codecs.lookup(given).name
            "".encode(name)
        except (LookupError, ValueError) as error:
            raise UserError(f"There is no encoding {given!r}: name one such as utf-8, utf-16 or cp1252.") from error
        return "utf-8-sig" if name == "utf-8" else name
    for mark, name in MARKS:
        if start.startswith(mark):
            return name
    if len(start) >= 4 and start[1] == start[3] == 0 != start[0]:
        return "utf-16-le"
    if len(start) >= 4 and start[0] == start[2] == 0 != start[1]:
        return "utf-16-be"
    return "utf-8"


def lines_of(path: Path, given: str | None = None) -> Iterator[str]:
    """The lines of a text file with their ends, split at line feeds alone.

    Raises UserError naming the line that is not in the file's encoding.
    """
    with opened(path) as file:
        start = file.read(4)
        refuse_packed(path.name, start)
        encoding = encoding_of(path, start, given)
        wide = "16" in encoding or "32" in encoding
        pieces = wide_lines(file, start, encoding, path.name) if wide else byte_lines(file, start, encoding, path.name)
        yield from pieces


def chunks_of(path: Path, given: str | None = None) -> Iterator[str]:
    """The text of a file in pieces, however long its lines are.

    Raises UserError naming the line that is not in the file's encoding.
    """
    with opened(path) as file:
        start = file.read(4)
        refuse_packed(path.name, start)
        encoding = encoding_of(path, start, given)
        decoder = codecs.getincrementaldecoder(encoding)()
        line, column, chunk, first = 1, 0, start, True
        while True:
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeError as error:
                raise broken_chunk(error, encoding, line, column, path.name) from error
            if text and first:
                text, first = text.removeprefix("\ufeff"), False
            breaks = text.count("\n")
            line += breaks
            column = len(text) - text.rfind("\n") - 1 if breaks else column + len(text)
            yield text
            if not chunk:
                return
            chunk = file.read(CHUNK)


def broken_chunk(error: UnicodeError, encoding: str, line: int, column: int, name: str) -> UserError:
    """The error for bytes after ``line`` and ``column`` that are not in their encoding."""
    if not isinstance(error, UnicodeDecodeError):
        return malformed(name, line, f"it is not {encoding.upper()}")
    if "16" in encoding or "32" in encoding:
        before = error.object[: error.start].decode(error.encoding, "replace")
        return malformed(name, line + before.count("\n"), f"it is not {encoding.upper()}")
    begun = error.object.rfind(b"\n", 0, error.start) + 1
    piece = error.object[begun:].partition(b"\n")[0]
    moved = UnicodeDecodeError(error.encoding, piece, error.start - begun, error.end - begun, error.reason)
    codec = "utf-8" if encoding == "utf-8-sig" else encoding
    reason = fault(moved, piece, codec, 0 if begun else column)
    return malformed(name, line + error.object.count(b"\n", 0, error.start), reason)


def byte_lines(file: IO[bytes], start: bytes, encoding: str, name: str) -> Iterator[str]:
    """Lines of an encoding in which the byte 0x0A is always a line feed."""
    first = start if start.endswith(b"\n") else start + file.readline()
    number = 0
    codec = "utf-8" if encoding == "utf-8-sig" else encoding
    if encoding == "utf-8-sig":
        first = first.removeprefix(codecs.BOM_UTF8)
    for piece in first.splitlines(keepends=True) if first.count(b"\n") > 1 else [first]:
        number += 1
        yield decoded(piece, codec, number, name)
    for line in file:
        number += 1
        yield decoded(line, codec, number, name)


def decoded(line: bytes, encoding: str, number: int, name: str) -> str:
    """A line as text. Raises UserError naming it, and what it would be in the commonest legacy encoding."""
    try:
        return line.decode(encoding)
    except UnicodeError as error:
        raise malformed(name, number, fault(error, line, encoding)) from error


def fault(error: UnicodeError, line: bytes, encoding: str, column: int = 0) -> str:
    """What is wrong with bytes that are not in their encoding, and what to do; ``column`` characters go before them."""
    shown = "UTF-8" if encoding == "utf-8" else encoding
    if not isinstance(error, UnicodeDecodeError):
        return f"it is not {shown}"
    column += len(line[: error.start].decode(encoding, "replace")) + 1
    where = f"byte 0x{line[error.start]:02X}, column {column}"
    told = f"it is not {shown} ({where})"
    if encoding != "utf-8":
        return f"{told}: give another --encoding"
    try:
        read = line[max(0, error.start - SHOWN // 2) : error.start + SHOWN // 2].decode(LEGACY)
    except UnicodeError:
        return f"{told}: save it as UTF-8, or give its --encoding"
    return f"{told}: with --encoding {LEGACY} it reads “{' '.join(read.split())}”"


def wide_lines(file: IO[bytes], start: bytes, encoding: str, name: str) -> Iterator[str]:
    """Lines of UTF-16 and UTF-32."""
    decoder = codecs.getincrementaldecoder(encoding)()
    waiting, number, chunk = "", 0, start
    while True:
        try:
            waiting += decoder.decode(chunk, final=not chunk)
        except UnicodeError as error:
            number += waiting.count("\n")
            before: Any = chunk[: error.start] if isinstance(error, UnicodeDecodeError) else b""
            number += before.decode(encoding, "replace").count("\n") if before else 0
            raise malformed(name, number + 1, f"it is not {encoding.upper()}") from error
        *whole, waiting = waiting.split("\n")
        for line in whole:
            number += 1
            yield (line.removeprefix("\ufeff") if number == 1 else line) + "\n"
        if not chunk:
            break
        chunk = file.read(CHUNK)
    if waiting:
        yield waiting.removeprefix("\ufeff") if number == 0 else waiting
