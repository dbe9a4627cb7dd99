"""The work between a source and its table, in a DuckDB file of its own: what was read, what was made of it.

Two steps, each complete before the next begins: :func:`read_raw` copies the source as it is, :func:`model` makes
cleaned, split and hashed rows of it. Memory stays flat: one chunk is in Python at a time, and DuckDB spills what goes
over its limit to disk.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.data import dataset, sources
from tuning.data.place import FILE, Place
from tuning.data.probe_questions import PROBE_QUESTIONS
from tuning.errors import UserError
from tuning.ingest.chunks import Chunks, changed, open_source
from tuning.ingest.warehouse import connected, scalar

if TYPE_CHECKING:
    import pyarrow
    from duckdb import DuckDBPyConnection

STAGE_FILE = "stage.duckdb"
RAW = ("question", "input", "answer", "script")
FIELDS = ("question", "input", "answer", "check")
TURNS = ("conversation_id", "message_type", "message")
TEXTS = ("QuestionAsked", "QuestionInput", "OutputAnswer", "AnswerCheck")
HASH_DIGITS = 16
MODEL_ROWS = 2048
HASHED_ROWS = 65_536
DUPLICATE = "duplicate question"


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


def content_hash(texts: tuple[str, ...] = TEXTS) -> str:
    """SQL for the hash of a row's texts: sixteen hexadecimal digits of :func:`tuning.data.dataset.digest`."""
    parts = ", ".join(f"length(coalesce({name}, '')), ':', coalesce({name}, '')" for name in texts)
    return f"left(sha256(concat({parts})), {HASH_DIGITS})"


@contextmanager
def opened(folder: Path) -> Iterator[DuckDBPyConnection]:
    """The stage's database."""
    with connected(Place(FILE, str(folder / STAGE_FILE)), spill=folder / "spill") as connection:
        yield connection


def read_facts(connection: DuckDBPyConnection) -> Facts:
    """What the steps before have written down."""
    return Facts(**json.loads(scalar(connection, "SELECT facts FROM facts")))


def write_facts(connection: DuckDBPyConnection, facts: Facts) -> None:
    """Write down what is known now."""
    connection.execute("CREATE OR REPLACE TABLE facts AS SELECT ? AS facts", [json.dumps(asdict(facts))])


def read_raw(source: str, folder: Path) -> Facts:
    """Copy a source into the table ``raw`` of a new stage in ``folder``.

    Raises UserError if the source cannot be read, has no columns that are understood, or changes meanwhile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STAGE_FILE).unlink(missing_ok=True)
    chunks = open_source(source)
    facts, unusable = Facts(source), sources.Source(source, [])
    before = chunks.state()
    with opened(folder) as connection:
        connection.execute(f"CREATE TABLE raw (position BIGINT, {', '.join(f'{name} VARCHAR' for name in RAW)})")
        try:
            if set(chunks.columns) >= sources.MESSAGE_COLUMNS:
                facts.read = join_messages(connection, chunks, unusable)
            else:
                facts.read = copy_questions(connection, chunks, unusable)
            facts.revision = chunks.revision()
        except (OSError, ValueError, UnicodeError) as error:
            if chunks.state() != before:
                raise changed(source) from error
            raise UserError(
                f"The data source {source} cannot be read: it is damaged, or its text is not UTF-8."
            ) from error
        if chunks.state() != before:
            raise changed(source)
        facts.dropped = dict(unusable.unusable)
        write_facts(connection, facts)
    return facts


def copy_questions(connection: DuckDBPyConnection, chunks: Chunks, unusable: sources.Source) -> int:
    """Append each row with its position to ``raw``; returns how many rows the source has."""
    chat = "messages" in chunks.columns
    columns = () if chat else sources.question_columns(chunks.columns, chunks.name)
    read = position = 0
    for batch in chunks.batches:
        if chat:
            rows = list(sources.rows_of(batch.to_pylist(), chunks.columns, unusable))
            texts = [[getattr(row, name) for row in rows] for name in FIELDS]
        else:
            texts = [cells(batch, name) for name in columns]
        position += append(connection, "raw", position, texts)
        read += batch.num_rows
    return read


def join_messages(connection: DuckDBPyConnection, chunks: Chunks, unusable: sources.Source) -> int:
    """One message per row to ``raw``, joined by conversation as :func:`tuning.data.sources.join_messages` does; returns
    how many messages there are. The grouping sees positions only, so that long messages stay on disk."""
    connection.execute("CREATE TABLE turns (position BIGINT, conversation VARCHAR, kind VARCHAR, message VARCHAR)")
    read = 0
    for batch in chunks.batches:
        read += append(connection, "turns", read, [cells(batch, name) for name in TURNS])
    connection.execute(
        """CREATE TEMP TABLE conversations AS SELECT min(position) AS first,
        max(position) FILTER (kind = 'instruction') AS question, max(position) FILTER (kind = 'input') AS input,
        max(position) FILTER (kind = 'output') AS answer FROM turns GROUP BY conversation"""
    )
    connection.execute(
        """INSERT INTO raw SELECT first, q.message, coalesce(i.message, ''), a.message, '' FROM conversations AS c
        JOIN turns AS q ON q.position = c.question JOIN turns AS a ON a.position = c.answer
        LEFT JOIN turns AS i ON i.position = c.input"""
    )
    incomplete = count(connection, "conversations WHERE question IS NULL OR answer IS NULL")
    if incomplete:
        unusable.unusable["incomplete conversation"] += incomplete
    connection.execute("DROP TABLE turns")
    return read


def cells(batch: pyarrow.RecordBatch, name: str) -> Any:
    """A column as text without nulls, as :func:`tuning.data.sources.text` has it; a missing column is empty. What is
    too long is cut one character later, which is enough to leave it out afterwards."""
    import pyarrow
    from pyarrow import compute, types

    if name not in batch.schema.names:
        return pyarrow.nulls(batch.num_rows, pyarrow.string()).fill_null("")
    column = batch.column(name)
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not (types.is_string(column.type) or types.is_large_string(column.type)):
        column = pyarrow.array([sources.text(value) for value in column.to_pylist()], pyarrow.string())
    if (compute.max(compute.binary_length(column)).as_py() or 0) > dataset.MAX_CHARACTERS:
        column = compute.utf8_slice_codeunits(column, 0, dataset.MAX_CHARACTERS + 1)
    return column.fill_null("")


def append(connection: DuckDBPyConnection, table: str, position: int, columns: list[Any]) -> int:
    """Append a chunk whose rows are numbered from ``position``; returns how many they are."""
    import pyarrow

    names = [f"c{at}" for at in range(len(columns))]
    length = len(columns[0])
    chunk = pyarrow.table([pyarrow.array(range(position, position + length), pyarrow.int64()), *columns], ["p", *names])
    insert(connection, table, chunk)
    return length


def insert(connection: DuckDBPyConnection, table: str, chunk: pyarrow.Table, select: str = "*") -> None:
    """Append Arrow rows to a table."""
    connection.register("chunk", chunk)
    try:
        connection.execute(f"INSERT INTO {table} SELECT {select} FROM chunk")
    finally:
        connection.unregister("chunk")


def count(connection: DuckDBPyConnection, table: str) -> int:
    """The rows of a table (or of a table and a condition)."""
    return scalar(connection, f"SELECT count(*) FROM {table}")


def model(folder: Path) -> Facts:
    """Make the table ``modelled`` of ``raw``: cleaned, without duplicates, split, hashed.

    Rows, ids and splits are those of :func:`tuning.data.dataset.load` on the same source. Raises UserError if nothing
    is left.
    """
    with opened(folder) as connection:
        facts = read_facts(connection)
        dropped = Counter(facts.dropped)
        columns = ", ".join(f"{name} VARCHAR" for name in ("Id", *TEXTS, "DataSplit", "ContentHash"))
        connection.execute(f"CREATE OR REPLACE TABLE cleaned (position BIGINT, {columns})")
        phrases = [dataset.phrases_of(question) for question in PROBE_QUESTIONS.values()]
        reader = connection.cursor()
        for batch in reader.sql("SELECT * FROM raw").to_arrow_reader(MODEL_ROWS):
            insert(connection, "cleaned", cleaned(batch, phrases, dropped), f"*, {content_hash()}")
        before = count(connection, "cleaned")
        connection.execute(
            "CREATE OR REPLACE TABLE modelled AS SELECT * EXCLUDE (position) FROM cleaned "
            "WHERE position IN (SELECT min(position) FROM cleaned GROUP BY Id)"
        )
        connection.execute("DROP TABLE cleaned")
        facts.rows = count(connection, "modelled")
        if before > facts.rows:
            dropped[DUPLICATE] += before - facts.rows
        facts.dropped = dict(dropped)
        if not facts.rows:
            reasons = ", ".join(f"{reason}: {number}" for reason, number in dropped.items())
            raise UserError(f"No row of {facts.source} can be used ({reasons or 'it is empty'}).")
        facts.splits = dict(connection.execute("SELECT DataSplit, count(*) FROM modelled GROUP BY 1").fetchall())
        facts.snapshot = snapshot(connection, "modelled")
        write_facts(connection, facts)
    return facts


def cleaned(batch: pyarrow.RecordBatch, phrases: list[dataset.Phrases], dropped: Counter[str]) -> pyarrow.Table:
    """The usable rows of a chunk of ``raw`` with id and split; the others are counted."""
    import pyarrow

    kept: list[tuple[int, dataset.Row]] = []
    for position, *texts in zip(*(column.to_pylist() for column in batch.columns), strict=True):
        row = dataset.clean_row(sources.RawRow(*texts), phrases)
        if isinstance(row, str):
            dropped[row] += 1
        else:
            kept.append((position, row))
    rows = [row for _, row in kept]
    texts = ([getattr(row, name) for row in rows] for name in ("id", *FIELDS))
    values = ([position for position, _ in kept], *texts, [dataset.split_of(row) for row in rows])
    kinds = [pyarrow.int64()] + [pyarrow.string()] * (len(values) - 1)
    names = ["position", "Id", *TEXTS, "DataSplit"]
    return pyarrow.table([pyarrow.array(value, kind) for value, kind in zip(values, kinds, strict=True)], names)


def snapshot(connection: DuckDBPyConnection, table: str) -> str:
    """Sixteen hexadecimal digits over split, id and texts of every row, whatever their order in the table."""
    lines = f"SELECT concat(DataSplit, ' ', Id, ' ', {content_hash()}, chr(10)) FROM {table} ORDER BY DataSplit, Id, 1"
    total = hashlib.sha256()
    for batch in connection.sql(lines).to_arrow_reader(HASHED_ROWS):
        total.update("".join(batch.column(0).to_pylist()).encode())
    return total.hexdigest()[:HASH_DIGITS]
