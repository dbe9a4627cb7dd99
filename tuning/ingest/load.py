"""From the stage into the table that people see, in one transaction: all of a load is there, or none of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from tuning.data.cleaning import SPLITS
from tuning.data.options import Reading
from tuning.data.place import Place
from tuning.data.rows import LeftOut
from tuning.data.sources import PLAIN_READING
from tuning.errors import UserError
from tuning.ingest.snapshot import CONVERSATION, TEXTS, columns_of, content_hash, count, snapshot
from tuning.ingest.stage import STAGE_FILE, Facts, model, opened, read_facts, read_raw
from tuning.ingest.warehouse import connected, scalar, table_exists

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

COLUMNS = {
    "Id": "VARCHAR",
    **dict.fromkeys(TEXTS, "VARCHAR"),
    CONVERSATION: "VARCHAR",
    "DataSplit": "VARCHAR",
    "Source": "VARCHAR",
    "SourceRevision": "VARCHAR",
    "ContentHash": "VARCHAR",
    "LoadTime": "TIMESTAMPTZ",
}


@dataclass(frozen=True)
class Loaded:
    """What a load did to its table: rows added, removed, and left as they were; a changed row is removed and added."""

    facts: Facts
    place: Place
    added: int
    removed: int
    unchanged: int

    def __str__(self) -> str:
        facts = self.facts
        if self.added or self.removed:
            what = f"{self.added:,} rows added, {self.removed:,} removed, {self.unchanged:,} unchanged"
        else:
            what = f"nothing to change, all {self.unchanged:,} rows are there"
        splits = ", ".join(f"{name} {facts.splits.get(name, 0):,}" for name in SPLITS)
        left_out = LeftOut(facts.dropped, facts.lines).words() or "nothing"
        lines = f"{self.place.label}: {what} ({splits}; snapshot {facts.snapshot})\nleft out: {left_out}"
        if facts.unused:
            lines += f"\ncolumns not used: {', '.join(facts.unused)}"
        lines = "\n".join([lines, *facts.notes])
        return f"{lines}\ntrain on it with --data '{self.place.name}'"


def ingest(source: str, place: Place, reading: Reading = PLAIN_READING) -> Loaded:
    """Read, model and load a source. Raises UserError with the table as it was before if anything is amiss."""
    check_target(place)
    with workshop(place) as folder:
        read_raw(source, folder, reading)
        model(folder)
        return load(folder, place)


@contextmanager
def workshop(place: Place) -> Iterator[Path]:
    """An empty folder for the stage of ``place``, beside its file, removed at the end; what a killed load left goes
    first. Raises UserError if another load of the same target is under way."""
    with held(place) as folder:
        shutil.rmtree(folder, ignore_errors=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def held(place: Place) -> Iterator[Path]:
    """The folder for the stage of ``place`` as it is, with no other load of the same target meanwhile.

    Raises UserError if one is under way.
    """
    folder = stage_folder(place)
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f"{folder.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(f"Another load into {place.database} is under way: wait until it has ended.") from None
    try:
        yield folder
    finally:
        lock.release()


def stage_folder(place: Place) -> Path:
    """Where the stage of a target lies: beside a file, for MotherDuck in the data folder."""
    from tuning.files import data_root

    if place.path is None:
        return data_root() / f".md-{place.database}.loading"
    path = place.path.absolute()
    return path.with_name(f".{path.name}.loading")


def check_target(place: Place) -> None:
    """Raise UserError now, before anything is read, if the target could not be loaded into."""
    with connected(place) as connection:
        prepare(connection, place)
        connection.rollback()


def prepare(connection: DuckDBPyConnection, place: Place) -> None:
    """Begin a transaction in which the table exists. Raises UserError if it has other columns than a load's."""
    connection.begin()
    if table_exists(connection, place.table):
        found = columns_of(connection, place.identifier)
        if found == [name for name in COLUMNS if name != CONVERSATION]:
            # A table of an earlier version, which held no conversations.
            connection.execute(f"ALTER TABLE {place.identifier} ADD COLUMN {CONVERSATION} VARCHAR DEFAULT ''")
        elif sorted(found) != sorted(COLUMNS):
            raise UserError(
                f"There is a {place.label} with other columns ({', '.join(found)}): choose another --table. It was not "
                "touched."
            )
    else:
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        connection.execute(f"CREATE TABLE {place.identifier} ({columns})")


def load(folder: Path, place: Place) -> Loaded:
    """Make the table of ``place`` hold just the rows that :func:`tuning.ingest.stage.model` left in ``folder``.

    Rows whose texts are the same stay untouched, with the time when they were loaded. Raises UserError, with the table
    as it was, if the database refuses.
    """
    with opened(folder) as stage:
        facts = read_facts(stage)
    with connected(place, spill=folder / "spill") as connection:
        prepare(connection, place)
        before = count(connection, place.identifier)
        if before and snapshot(connection, place.identifier) == facts.snapshot:
            connection.rollback()
            return Loaded(facts, place, 0, 0, before)
        connection.execute(f"ATTACH '{quoted(folder / STAGE_FILE)}' AS stage (READ_ONLY)")
        removed, added = merge(connection, place.identifier, facts)
        if snapshot(connection, place.identifier) != facts.snapshot:
            # Rows that were put in by hand, doubled or without an id, cannot be merged: all are written anew.
            connection.execute(f"DELETE FROM {place.identifier}")
            removed, added = before, merge(connection, place.identifier, facts)[1]
        connection.commit()
    return Loaded(facts, place, added, removed, before - removed)


def merge(connection: DuckDBPyConnection, table: str, facts: Facts) -> tuple[int, int]:
    """Remove the rows that are not in the stage as they are, add those that are missing; returns both counts."""
    old_hash = content_hash(prefix="old.")
    removed = scalar(
        connection,
        f"DELETE FROM {table} AS old WHERE NOT EXISTS (SELECT 1 FROM stage.modelled AS new "
        f"WHERE new.Id = old.Id AND new.DataSplit = old.DataSplit AND new.ContentHash = {old_hash})",
    )
    added = scalar(
        connection,
        f"INSERT INTO {table} ({', '.join(COLUMNS)}) "
        f"SELECT Id, {', '.join(TEXTS)}, {CONVERSATION}, DataSplit, ?, ?, ContentHash, now() "
        f"FROM stage.modelled AS new WHERE NOT EXISTS (SELECT 1 FROM {table} AS old WHERE old.Id = new.Id)",
        [facts.source, facts.revision],
    )
    return removed, added


def quoted(path: Path) -> str:
    """A path between SQL quotes."""
    return str(path).replace("'", "''")
