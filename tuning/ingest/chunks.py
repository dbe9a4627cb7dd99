"""Any data source as a stream, in chunks of bounded size, and whether it stayed the same while it was read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tuning.data import hub_data, sources
from tuning.data.options import Reading
from tuning.data.reading.bundles import entries
from tuning.data.reading.readers import parquet_batches, read_file
from tuning.data.reading.records import Record
from tuning.data.reading.text_files import kind_of
from tuning.errors import UserError

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class Chunks:
    """A source as a stream: Arrow ``batches``, or, of text files, ``records``.

    ``state`` says how it stands now: other words later mean that it has changed. ``notes`` and ``ignored`` are those of
    :class:`tuning.data.reading.records.Records`, complete once all is read.
    """

    name: str
    revision: Callable[[], str]
    state: Callable[[], object]
    batches: Iterator[pyarrow.RecordBatch] | None = None
    records: Iterator[Record] | None = None
    notes: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def open_source(name: str, reading: Reading) -> Chunks:
    """Open a file or a Hub data set: whatever :func:`tuning.data.sources.read_source` reads but tables.

    Raises UserError, in one line, if it is missing, damaged or empty.
    """
    path = sources.local_file(name)
    if path is None:
        before = hub_data.revision_of(name)
        found = hub_data.load(name)
        batches = hub_data.batches_of(found.table)
        return Chunks(
            name, lambda: found.revision, lambda: hub_data.revision_of(name) or before, batches, notes=found.notes
        )
    if kind_of(path) == "parquet" and path.is_file():
        return Chunks(name, lambda: sources.file_revision(path), lambda: file_state(path), parquet_batches(path)[1])
    read = read_file(path, reading.encoding)
    return Chunks(
        name,
        lambda: sources.file_revision(path),
        lambda: file_state(path),
        records=read.rows,
        notes=read.notes,
        ignored=read.ignored,
    )


def file_state(path: Path) -> tuple[int, ...]:
    """What changes when a file, or one in a folder, is written or replaced. Raises UserError if it has gone."""
    try:
        if path.is_dir():
            return tuple(number for name in sorted(entries(path)) for number in file_state(path / name))
        found = path.stat()
    except OSError as error:
        raise changed(path.name) from error
    return found.st_ino, found.st_size, found.st_mtime_ns


def changed(name: str) -> UserError:
    """The error for a source that did not hold still."""
    return UserError(f"{name} changed while it was read: nothing was loaded. Run it again when it is complete.")
