"""Reading a table back: as a source of training rows, and as a stream for the next load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tuning.data import sources
from tuning.data.chat import PLAIN_FORMAT, PromptFormat
from tuning.data.options import Reading
from tuning.data.place import Place, parse
from tuning.data.reading.arrow_rows import rows_of_batch
from tuning.data.reading.readers import CHUNK_ROWS
from tuning.data.reading.records import Record
from tuning.errors import UserError
from tuning.files import first_line
from tuning.ingest.chunks import Chunks
from tuning.ingest.condition import condition, refused
from tuning.ingest.snapshot import HASHED, snapshot
from tuning.ingest.warehouse import connected, driver, present, table_exists, token

if TYPE_CHECKING:
    import pyarrow
    from duckdb import DuckDBPyConnection, DuckDBPyRelation


def check(name: str) -> None:
    """Raise UserError for what can be told to be wrong with a table's name before it is opened."""
    place = parse(name)
    driver()
    if place.path is None:
        token()
    else:
        present(place.path)
    if place.where:
        condition(place)


def read_table(name: str, reading: Reading) -> sources.Source:
    """The rows of a table by its name (see :mod:`tuning.data.place`), in the order of their ids where it has them.

    The source's revision is the snapshot of the whole table, where it has the columns of a load. Raises UserError if it
    cannot be read, or has no columns that are understood.
    """
    place = parse(name)
    with reading_of(place) as connection:
        records = records_of(place, chosen(connection, place))
        revision, prompt_format = revision_of(connection, place), format_of(connection, place)
        return sources.source_of(name, records, reading, revision, prompt_format, empty(place))


def plain_rows(name: str) -> list[Record]:
    """The rows of a table as they are, whatever its columns. Raises UserError if it cannot be read."""
    place = parse(name)
    with reading_of(place) as connection:
        return list(records_of(place, chosen(connection, place)))


def records_of(place: Place, relation: DuckDBPyRelation) -> Iterator[Record]:
    """The rows of a relation with their numbers."""
    read = 0
    for batch in relation.to_arrow_reader(CHUNK_ROWS):
        yield from rows_of_batch(place.label, batch, read)
        read += batch.num_rows


def format_of(connection: DuckDBPyConnection, place: Place) -> PromptFormat:
    """The prompt format of a table's rows: a task's if all were loaded from its own sets."""
    if not set(connection.table(place.identifier).columns) >= {*HASHED, "Source"}:
        return PLAIN_FORMAT
    found = connection.execute(f"SELECT DISTINCT Source FROM {place.identifier}").fetchall()
    formats = {sources.format_of(source) for (source,) in found}
    return formats.pop() if len(formats) == 1 else PLAIN_FORMAT


def open_table(name: str) -> Chunks:
    """The same rows as a stream, which also finds out their revision."""
    place = parse(name)
    with reading_of(place) as connection:
        chosen(connection, place)
    revisions = [""]

    def batches() -> Iterator[pyarrow.RecordBatch]:
        rows = 0
        with reading_of(place) as connection:
            revisions.append(revision_of(connection, place))
            for batch in chosen(connection, place).to_arrow_reader(CHUNK_ROWS):
                rows += batch.num_rows
                yield batch
        if not rows:
            raise empty(place)

    return Chunks(name, lambda: revisions[-1], lambda: place, batches())


def empty(place: Place) -> UserError:
    """The error for a table, or a choice of its rows, with nothing in it."""
    return UserError(f"The {place.label} holds no rows{' for which ' + place.where if place.where else ''}.")


@contextmanager
def reading_of(place: Place) -> Iterator[DuckDBPyConnection]:
    """A connection that only reads, in one transaction, which sees no later change; from a file it reaches nothing
    else."""
    with connected(place, read_only=True) as connection:
        if place.path is not None:
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
        connection.begin()
        if not table_exists(connection, place.table):
            raise UserError(f"There is no {place.label}: load it with python -m tuning ingest.")
        yield connection


def chosen(connection: DuckDBPyConnection, place: Place) -> DuckDBPyRelation:
    """The rows for which the condition holds. Raises UserError if it is no condition on this table."""
    relation = connection.table(place.identifier)
    ordered = "Id" in relation.columns
    if place.where:
        try:
            relation = relation.filter(condition(place))
        except driver().Error as error:
            raise refused(place, first_line(error)) from None
    return relation.order("Id") if ordered else relation


def revision_of(connection: DuckDBPyConnection, place: Place) -> str:
    """The table's snapshot; '' if it was not made by a load."""
    return snapshot(connection, place.identifier) if set(connection.table(place.identifier).columns) >= HASHED else ""
