"""Data files as rows with their line numbers, every value as it is written; a row at a time, in flat memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tuning.data.reading.arrow_rows import column_names, rows_of_batch
from tuning.data.reading.bundles import folder_rows, zip_rows
from tuning.data.reading.csv_files import csv_rows
from tuning.data.reading.excel_files import excel_rows
from tuning.data.reading.json_files import json_rows, jsonl_rows
from tuning.data.reading.records import Record, Records
from tuning.data.reading.text_files import kind_of, no_data_file
from tuning.errors import UserError

if TYPE_CHECKING:
    import pyarrow
    from pyarrow import parquet

ARROW_MARK = b"ARROW1"
READ_BYTES = 1 << 20
CHUNK_ROWS = 8192
CHUNK_BYTES = 16 << 20


def read_file(path: Path, encoding: str | None = None) -> Records:
    """Open a JSONL, JSON, CSV, TSV, Parquet, Arrow or Excel file, or a folder or zip archive of them.

    Raises UserError, here or from the stream, if it is missing, empty or damaged; then it names the line.
    """
    records = Records(iter(()))
    if path.is_dir():
        records.rows = folder_rows(path, records, lambda each: read_file(each, encoding))
        return records
    if not path.is_file():
        raise UserError(f"There is no data file {path}.")
    kind = kind_of(path)
    if kind is None:
        raise no_data_file(path)
    if path.stat().st_size == 0:
        raise UserError(f"The data file {path.name} is empty.")
    if kind == "parquet":
        return Records(parquet_rows(path))
    if kind == "arrow":
        records.rows = arrow_rows(path)
    elif kind == "zip":
        records.rows = zip_rows(path, records, lambda each: read_file(each, encoding))
    elif kind == "excel":
        records.rows = excel_rows(path, records)
    elif kind == "csv":
        records.rows = csv_rows(path, encoding, records)
    elif kind == "jsonl":
        records.rows = jsonl_rows(path, encoding, records)
    else:
        records.rows = json_rows(path, encoding, records)
    return records


def parquet_batches(path: Path) -> tuple[list[str], Iterator[pyarrow.RecordBatch]]:
    """The columns of a Parquet file and its rows in small pieces: read ahead, pyarrow holds all that it has read."""
    from pyarrow import ArrowException
    from pyarrow import parquet as driver

    try:
        file = driver.ParquetFile(path, pre_buffer=False, buffer_size=READ_BYTES)
        names = column_names(path.name, file.schema_arrow)
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        raise broken(path.name) from error
    return names, batches_of(path.name, file)


def batches_of(name: str, file: parquet.ParquetFile) -> Iterator[pyarrow.RecordBatch]:
    """The pieces of an open Parquet file."""
    from pyarrow import ArrowException

    facts = file.metadata
    size = sum(facts.row_group(at).total_byte_size for at in range(facts.num_row_groups))
    read = 0
    try:
        for batch in file.iter_batches(batch_size=rows_per_chunk(size / max(1, facts.num_rows))):
            read += batch.num_rows
            yield batch
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        raise broken(name, read) from error


def broken(name: str, read: int = 0) -> UserError:
    """The error for a damaged Parquet file."""
    where = f" after row {read}" if read else ""
    return UserError(f"The data source {name} cannot be read{where}: it is no whole Parquet file.")


def rows_per_chunk(bytes_per_row: float) -> int:
    """As many rows as keep a chunk small, at least one."""
    return max(1, min(CHUNK_ROWS, int(CHUNK_BYTES / max(1.0, bytes_per_row))))


def parquet_rows(path: Path) -> Iterator[Record]:
    """The rows of a Parquet file."""
    read = 0
    for batch in parquet_batches(path)[1]:
        yield from rows_of_batch(path.name, batch, read)
        read += batch.num_rows


def arrow_rows(path: Path) -> Iterator[Record]:
    """The rows of an Arrow (Feather) file, or of an Arrow stream, which is what ``datasets`` keeps."""
    import pyarrow

    read = 0
    try:
        with pyarrow.memory_map(str(path)) as file:
            begun = file.read(len(ARROW_MARK))
            file.seek(0)
            if begun == ARROW_MARK:
                whole = pyarrow.ipc.open_file(file)
                batches = (whole.get_batch(at) for at in range(whole.num_record_batches))
            else:
                batches = iter(pyarrow.ipc.open_stream(file))
            for batch in batches:
                batch.validate(full=True)  # a damaged file's offsets would else be followed out of its memory
                yield from rows_of_batch(path.name, batch, read)
                read += batch.num_rows
    except (pyarrow.ArrowException, OSError) as error:
        where = f" after row {read}" if read else ""
        raise UserError(f"The data source {path.name} cannot be read{where}: it is no whole Arrow file.") from error
