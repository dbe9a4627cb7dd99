"""Any data source as a stream of Arrow chunks of bounded size, and whether it stayed the same while it was read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuning.data import sources
from tuning.data.place import is_place
from tuning.errors import UserError

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset

CHUNK_ROWS = 8192
CHUNK_BYTES = 16 << 20
READ_BYTES = 1 << 20
REVISION_DIGITS = 12


@dataclass(frozen=True)
class Chunks:
    """A source as a stream. ``state`` says how it stands now: other words later mean that it has changed."""

    name: str
    columns: list[str]
    batches: Iterator[pyarrow.RecordBatch]
    revision: Callable[[], str]
    state: Callable[[], object]


def open_source(name: str) -> Chunks:
    """Open a data source: whatever :func:`tuning.data.sources.read_source` reads.

    Raises UserError, in one line, if it is missing, damaged or empty.
    """
    if is_place(name):
        from tuning.ingest.read_back import open_table

        return open_table(name)
    path = sources.local_file(name)
    if path is None:
        before = sources.hub_revision(name)
        table, revision = sources.load_from_hub(name)
        return of_dataset(name, table, lambda: revision, lambda: sources.hub_revision(name) or before)
    if path.suffix.lower() == ".parquet" and path.is_file():
        return of_parquet(name, path)
    before = file_state(path) if path.is_file() else None
    table = sources.load_file(path)
    return of_dataset(name, table, lambda: file_revision(path), lambda: file_state(path), before)


def of_dataset(
    name: str, table: Dataset, revision: Callable[[], str], state: Callable[[], object], before: object = None
) -> Chunks:
    """A table of the ``datasets`` library, which lies in a memory-mapped file."""
    if not len(table):
        raise UserError(f"The data source {name} holds no rows.")
    if before is not None and before != state():
        raise changed(name)
    rows = rows_per_chunk(table.data.nbytes / len(table))
    batches = (batch for chunk in table.with_format("arrow").iter(rows) for batch in chunk.to_batches())
    return Chunks(name, table.column_names, batches, revision, state)


def of_parquet(name: str, path: Path) -> Chunks:
    """A Parquet file, read piece by piece: read ahead, pyarrow holds all that it has read until the end."""
    from pyarrow import ArrowException, parquet

    try:
        file = parquet.ParquetFile(path, pre_buffer=False, buffer_size=READ_BYTES)
    except (ArrowException, OSError) as error:
        raise UserError(f"The data source {name} cannot be read: it is no whole Parquet file.") from error
    count = file.metadata.num_rows
    if not count:
        raise UserError(f"The data source {name} holds no rows.")
    groups = [file.metadata.row_group(at).total_byte_size for at in range(file.metadata.num_row_groups)]
    batches = file.iter_batches(batch_size=rows_per_chunk(sum(groups) / count))
    return Chunks(name, file.schema_arrow.names, batches, lambda: file_revision(path), lambda: file_state(path))


def rows_per_chunk(bytes_per_row: float) -> int:
    """As many rows as keep a chunk small, at least one."""
    return max(1, min(CHUNK_ROWS, int(CHUNK_BYTES / max(1.0, bytes_per_row))))


def file_state(path: Path) -> tuple[int, ...]:
    """What changes when a file is written or replaced. Raises UserError if it has gone."""
    try:
        found = path.stat()
    except OSError as error:
        raise changed(path.name) from error
    return found.st_ino, found.st_size, found.st_mtime_ns


def file_revision(path: Path) -> str:
    """The first digits of the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:REVISION_DIGITS]


def changed(name: str) -> UserError:
    """The error for a source that did not hold still."""
    return UserError(f"{name} changed while it was read: nothing was loaded. Run it again when it is complete.")
