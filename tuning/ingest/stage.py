"""The work between a source and its table, in a DuckDB file of its own: what was read, what was made of it.

Two steps, each complete before the next begins: :func:`read_raw` copies the source as it is, :func:`model` makes
cleaned, split and hashed rows of it. Memory stays flat: one chunk is in Python at a time, and DuckDB spills what goes
over its limit to disk.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tuning.data import cleaning, sources
from tuning.data.options import Reading
from tuning.data.place import FILE, Place, is_place
from tuning.data.probe_questions import PROBE_QUESTIONS
from tuning.data.reading.row_maker import RowMaker
from tuning.data.rows import LeftOut, RawRow, turns_from_json, turns_to_json
from tuning.errors import UserError
from tuning.ingest.chunks import changed, open_source
from tuning.ingest.raw import copy_rows, insert
from tuning.ingest.read_back import open_table
from tuning.ingest.snapshot import CONVERSATION, TEXTS, content_hash, count, snapshot
from tuning.ingest.warehouse import connected, scalar

if TYPE_CHECKING:
    import pyarrow
    from duckdb import DuckDBPyConnection

STAGE_FILE = "stage.duckdb"
FIELDS = ("question", "input", "answer", "check")
MODEL_ROWS = 2048


@dataclass
class Facts:
    """What is known of a load so far; kept as JSON in the stage, so that each step can run in its own process."""

    source: str = ""
    revision: str = ""
    read: int = 0
    rows: int = 0
    snapshot: str = ""
    splits: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@contextmanager
def opened(folder: Path) -> Iterator[DuckDBPyConnection]:
    """The stage's database, not compressed: it is read once or twice and then removed."""
    with connected(Place(FILE, str(folder / STAGE_FILE)), spill=folder / "spill") as connection:
        connection.execute("PRAGMA force_compression='uncompressed'")
        yield connection


def read_facts(connection: DuckDBPyConnection) -> Facts:
    """What the steps before have written down."""
    return Facts(**json.loads(scalar(connection, "SELECT facts FROM facts")))


def write_facts(connection: DuckDBPyConnection, facts: Facts) -> None:
    """Write down what is known now."""
    connection.execute("CREATE OR REPLACE TABLE facts AS SELECT ? AS facts", [json.dumps(asdict(facts))])


def read_raw(source: str, folder: Path, reading: Reading = sources.PLAIN_READING) -> Facts:
    """Copy a source into the table ``raw`` of a new stage in ``folder``.

    Raises UserError if the source cannot be read, has no columns that are understood, or changes meanwhile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STAGE_FILE).unlink(missing_ok=True)
    chunks = open_table(source) if is_place(source) else open_source(source, reading)
    facts, maker = Facts(source), RowMaker(source, reading)
    before = chunks.state()
    with opened(folder) as connection:
        try:
            copy_rows(connection, chunks, maker)
            facts.revision = chunks.revision()
        except (OSError, ValueError, UserError) as error:
            if chunks.state() != before:
                raise changed(source) from error
            if isinstance(error, UserError):
                raise
            raise UserError(
                f"The data source {source} cannot be read: it is damaged, or its text is not UTF-8."
            ) from error
        if chunks.state() != before:
            raise changed(source)
        if not maker.read:
            raise UserError(f"The data source {source} holds no rows.")
        maker.count_beside()
        facts.read = maker.read
        facts.dropped, facts.lines, facts.unused = dict(maker.left_out), maker.left_out.lines, maker.unused()
        facts.unused += chunks.ignored
        facts.notes = [*chunks.notes, *sources.split_words(maker.unused())]
        write_facts(connection, facts)
    return facts


def model(folder: Path) -> Facts:
    """Make the table ``modelled`` of ``raw``: cleaned, without duplicates, split, hashed.

    Rows, ids and splits are those of :func:`tuning.data.dataset.load` on the same source. Raises UserError if nothing
    is left.
    """
    with opened(folder) as connection:
        facts = read_facts(connection)
        dropped = LeftOut(facts.dropped, facts.lines)
        names = ("Id", *TEXTS, CONVERSATION, "DataSplit", "Exact", "ContentHash")
        columns = ", ".join(f"{name} VARCHAR" for name in names)
        connection.execute(f"CREATE OR REPLACE TABLE cleaned (position BIGINT, line BIGINT, {columns})")
        probes = cleaning.Excluded(PROBE_QUESTIONS.values())
        reader = connection.cursor()
        for batch in reader.sql("SELECT * FROM raw").to_arrow_reader(MODEL_ROWS):
            insert(connection, "cleaned", cleaned(batch, probes, dropped), f"*, {content_hash()}")
        before = count(connection, "cleaned")
        connection.execute(
            "CREATE TEMP TABLE chosen AS SELECT min(position) AS position, Id, Exact FROM cleaned GROUP BY Id, Exact"
        )
        # Rows that share an id get ids of their own, as tuning.data.cleaning.told_apart gives them.
        half = cleaning.ID_DIGITS // 2
        connection.execute(
            f"""CREATE OR REPLACE TABLE modelled AS SELECT CASE WHEN twins.Id IS NULL THEN c.Id
            ELSE concat(left(c.Id, {half}), left(c.Exact, {half})) END AS Id,
            c.* EXCLUDE (position, line, Id, Exact) FROM cleaned AS c JOIN chosen USING (position)
            LEFT JOIN (SELECT Id FROM chosen GROUP BY Id HAVING count(*) > 1) AS twins ON twins.Id = c.Id"""
        )
        facts.rows = count(connection, "modelled")
        if before > facts.rows:
            repeated = "SELECT min(line) FROM cleaned WHERE position NOT IN (SELECT position FROM chosen)"
            dropped.add(cleaning.DUPLICATE, scalar(connection, repeated), before - facts.rows)
        connection.execute("DROP TABLE cleaned")
        facts.dropped, facts.lines = dict(dropped), dropped.lines
        if not facts.rows:
            raise UserError(f"No row of {facts.source} can be used ({dropped.words() or 'it is empty'}).")
        facts.splits = dict(connection.execute("SELECT DataSplit, count(*) FROM modelled GROUP BY 1").fetchall())
        facts.snapshot = snapshot(connection, "modelled", row_hash="ContentHash")
        write_facts(connection, facts)
    return facts


def cleaned(batch: pyarrow.RecordBatch, excluded: cleaning.Excluded, dropped: LeftOut) -> pyarrow.Table:
    """The usable rows of a chunk of ``raw`` with id and split; the others are counted."""
    import pyarrow

    kept: list[tuple[int, cleaning.Row]] = []
    columns = (column.to_pylist() for column in batch.columns)
    for position, line, question, given, answer, check, turns in zip(*columns, strict=True):
        raw = RawRow(question, given, answer, check, turns_from_json(turns), line)
        row = cleaning.clean_row(raw, excluded)
        if isinstance(row, str):
            dropped.add(row, line)
        else:
            kept.append((position, row))
    rows = [row for _, row in kept]
    texts = [[getattr(row, name) for row in rows] for name in ("id", *FIELDS)]
    turns = [turns_to_json(row.turns) for row in rows]
    made = ([cleaning.split_of(row) for row in rows], [cleaning.exact_digest(row) for row in rows])
    numbers = ([position for position, _ in kept], [row.line for row in rows])
    names = ["position", "line", "Id", *TEXTS, CONVERSATION, "DataSplit", "Exact"]
    values = (*numbers, *texts, turns, *made)
    kinds = [pyarrow.int64()] * 2 + [pyarrow.string()] * (len(values) - 2)
    return pyarrow.table([pyarrow.array(value, kind) for value, kind in zip(values, kinds, strict=True)], names)
