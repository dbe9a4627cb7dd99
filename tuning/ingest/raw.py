"""The first half of a load: a source as it is, one question with its answer or one conversation a row of ``raw``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, groupby, islice
from typing import TYPE_CHECKING, Any

from tuning.data import cleaning
from tuning.data.reading.arrow_rows import rows_of_batch
from tuning.data.reading.layouts import Layout
from tuning.data.reading.records import Record
from tuning.data.reading.row_maker import NO_LAYOUT, RowMaker, identity_of
from tuning.data.reading.values import is_filled
from tuning.data.rows import RawRow, turns_to_json
from tuning.ingest.chunks import Chunks
from tuning.ingest.snapshot import count

if TYPE_CHECKING:
    import pyarrow
    from duckdb import DuckDBPyConnection

FIELDS = ("question", "input", "answer", "script", "conversation")
RAW = f"raw (position BIGINT, line BIGINT, {', '.join(f'{name} VARCHAR' for name in FIELDS)})"
TURNS = "turns (position BIGINT, line BIGINT, conversation VARCHAR, kind VARCHAR, message VARCHAR, trained BOOLEAN)"
SIMPLE_KINDS = ("instruction", "input", "output")
ROWS_AT_ONCE = 4096
BYTES_AT_ONCE = 8 << 20
JOINED_AT_ONCE = 100_000  # messages; DuckDB's joins take memory beyond its limit, the more the longer they are
PLAIN_ROLES = {"question", "input", "answer", "check"}


def copy_rows(connection: DuckDBPyConnection, chunks: Chunks, maker: RowMaker) -> None:
    """Append a source's rows to ``raw``; ``maker`` keeps the account. Raises UserError if nothing is understood."""
    connection.execute(f"CREATE TABLE {RAW}")
    if chunks.batches is not None:
        copy_batches(connection, chunks.name, chunks.batches, maker)
    else:
        copy_records(connection, chunks.records or iter(()), maker)


def copy_batches(
    connection: DuckDBPyConnection, name: str, batches: Iterator[pyarrow.RecordBatch], maker: RowMaker
) -> None:
    """Append Arrow chunks: whole columns at once where they are plain text, else row by row."""
    position = 0
    for batch in batches:
        if is_turns(batch, maker):
            others: list[RawRow] = []
            join_messages(connection, message_chunks(name, chain([batch], batches), maker, others), maker, others)
            return
        layout = plain_layout(batch, maker)
        if layout is None:
            append_rows(connection, maker.rows(rows_of_batch(name, batch, maker.read)), position)
        else:
            columns = [cells(batch, layout.column(role)) for role in ("question", "input", "answer", "check")]
            maker.use(layout)
            maker.read += batch.num_rows
            numbers = range(position + 1, position + batch.num_rows + 1)
            append(connection, "raw", position, [list(numbers), *columns, [""] * batch.num_rows])
        position += batch.num_rows


def message_chunks(
    name: str, batches: Iterable[pyarrow.RecordBatch], maker: RowMaker, others: list[RawRow]
) -> Iterator[list[Any]]:
    """Arrow chunks of one message a row as columns of ``turns``: whole columns at once where they are plain text.

    Rows of another layout go into ``others``.
    """
    for batch in batches:
        columns = plain_messages(batch, maker)
        if columns is None:
            yield from in_columns(message_rows(rows_of_batch(name, batch, maker.read), maker, others))
        else:
            yield columns


def plain_messages(batch: pyarrow.RecordBatch, maker: RowMaker) -> list[Any] | None:
    """The columns of ``turns`` that a chunk of plain messages gives, or None if any row wants a closer look."""
    import pyarrow
    from pyarrow import compute, types

    row: dict[str, Any] = dict.fromkeys(batch.schema.names, "filled")
    layout = maker.layout(row)
    if layout is None or layout.kind != "turn" or len(set(batch.schema.names)) < len(batch.schema.names):
        return None
    if layout.wanted or layout.media or layout.labels or len(maker.candidates(row)) > 1:
        return None
    conversation, kind, text = (batch.column(layout.column(role)) for role in ("conversation", "role", "content"))
    if not (types.is_string(kind.type) and types.is_string(text.type)) or conversation.null_count:
        return None
    if not (types.is_string(conversation.type) and is_full(conversation)) and not types.is_integer(conversation.type):
        return None
    kinds = kind.fill_null("").dictionary_encode()
    plain_kinds = [each.strip().lower() for each in kinds.dictionary.to_pylist()]
    maker.use(layout)
    numbers = range(maker.read + 1, maker.read + batch.num_rows + 1)
    maker.read += batch.num_rows
    taken = pyarrow.array(plain_kinds, pyarrow.string()).take(kinds.indices)
    mark = identity_of("" if types.is_string(conversation.type) else 0).removesuffix("0")
    named = compute.binary_join_element_wise(mark, conversation.cast(pyarrow.string()), "")
    return [list(numbers), named, taken, text.fill_null(""), [True] * batch.num_rows]


def is_turns(batch: pyarrow.RecordBatch, maker: RowMaker) -> bool:
    """Whether a chunk holds one message a row."""
    layout = maker.layout(dict.fromkeys(batch.schema.names, "filled"))
    return layout is not None and layout.kind == "turn"


def plain_layout(batch: pyarrow.RecordBatch, maker: RowMaker) -> Layout | None:
    """The layout of a chunk that is questions with answers in columns of text, nothing beside them."""
    from pyarrow import types

    if len(set(batch.schema.names)) < len(batch.schema.names):
        return None
    row: dict[str, Any] = dict.fromkeys(batch.schema.names, "filled")
    layout = maker.layout(row)
    if layout is None or layout.kind != "pair" or not set(layout.roles.values()) <= PLAIN_ROLES or layout.media:
        return None
    if len(layout.roles) > len(set(layout.roles.values())):
        return None
    kinds = [batch.schema.field(name).type for name in layout.roles]
    plain = all(types.is_string(kind) or types.is_large_string(kind) for kind in kinds)
    if not plain or any(looks_listed(batch, name) for name in layout.needed):
        return None
    candidates = maker.candidates(row)
    if len(candidates) == 1:
        return layout
    if any(not one.roles.keys() <= layout.roles.keys() for one in candidates):
        return None
    return layout if all(is_full(batch.column(name)) for name in layout.needed) else None


def is_full(column: pyarrow.Array) -> bool:
    """Whether a column of text is filled in every row, so that no other layout can be meant."""
    from pyarrow import compute

    return column.null_count == 0 and bool((compute.min(compute.binary_length(column)).as_py() or 0) > 0)


def looks_listed(batch: pyarrow.RecordBatch, name: str) -> bool:
    """Whether a text of a column may be a list of messages as JSON."""
    from pyarrow import compute

    return bool(compute.any(compute.match_substring_regex(batch.column(name), r"\A\s*\[")).as_py())


def copy_records(connection: DuckDBPyConnection, records: Iterator[Record], maker: RowMaker, position: int = 0) -> None:
    """Append rows one by one, from ``position`` on."""
    first = next(records, None)
    if first is None:
        return
    layout = maker.layout(first[1])
    whole = chain([first], records)
    if layout is not None and layout.kind == "turn":
        others: list[RawRow] = []
        join_messages(connection, in_columns(message_rows(whole, maker, others)), maker, others)
    else:
        append_rows(connection, maker.rows(whole), position)


def append_rows(connection: DuckDBPyConnection, rows: Iterable[RawRow], position: int) -> int:
    """Append rows in chunks of bounded size, numbered from ``position``; returns where the numbers go on."""
    waiting: list[RawRow] = []
    size = 0
    for row in rows:
        waiting.append(row)
        size += len(row.question) + len(row.input) + len(row.answer) + sum(len(turn.text) for turn in row.turns)
        if len(waiting) == ROWS_AT_ONCE or size > BYTES_AT_ONCE:
            position += append_chunk(connection, waiting, position)
            waiting, size = [], 0
    return position + append_chunk(connection, waiting, position) if waiting else position


def append_chunk(connection: DuckDBPyConnection, rows: list[RawRow], position: int) -> int:
    """Append some rows; returns how many."""
    columns = [list(column) for column in zip(*((r.question, r.input, r.answer, r.check) for r in rows), strict=True)]
    conversations = [turns_to_json(row.turns) for row in rows]
    return append(connection, "raw", position, [[row.line for row in rows], *columns, conversations])


def join_messages(
    connection: DuckDBPyConnection, chunks: Iterator[list[Any]], maker: RowMaker, others: list[RawRow]
) -> None:
    """Messages, as columns of ``turns``, to ``raw``, joined by conversation as :meth:`RowMaker.joined` does; and
    ``others``, the rows of other layouts that stood among them.

    The grouping sees positions only, so that long messages stay on disk.
    """
    connection.execute(f"CREATE TABLE {TURNS}")
    position = 0
    for columns in chunks:
        position += append(connection, "turns", position, columns)
    # Counted by kind: DuckDB keeps a set for every conversation to count DISTINCT ones, beyond its memory limit.
    kinds_met = " + ".join(f"bool_or(kind = '{kind}')::INT" for kind in SIMPLE_KINDS)
    connection.execute(
        f"""CREATE TABLE conversations AS SELECT conversation, min(position) AS first, min(line) AS line,
        max(position) FILTER (kind = 'instruction') AS question, max(position) FILTER (kind = 'input') AS input,
        max(position) FILTER (kind = 'output') AS answer,
        bool_and(trained AND kind IN {SIMPLE_KINDS}) AND count(*) = {kinds_met} AS simple,
        max(position) - min(position) AS reach
        FROM turns GROUP BY conversation"""
    )
    for start in range(0, position, JOINED_AT_ONCE):
        here = f"position >= {start} AND position < {start + 2 * JOINED_AT_ONCE}"
        begun = f"first >= {start} AND first < {start + JOINED_AT_ONCE}"
        join_simple(connection, f"reach <= {JOINED_AT_ONCE} AND {begun}", here)
    join_simple(connection, f"reach > {JOINED_AT_ONCE}")
    incomplete = "simple AND (question IS NULL OR answer IS NULL)"
    missing = count(connection, f"conversations WHERE {incomplete}")
    if missing:
        line = connection.execute(f"SELECT min(line) FROM conversations WHERE {incomplete}").fetchall()[0][0]
        maker.left_out.add("incomplete conversation", line, missing)
    position = append_rows(connection, other_conversations(connection, maker), position)
    append_rows(connection, others, position)
    connection.execute("DROP TABLE turns")
    connection.execute("DROP TABLE conversations")


def join_simple(connection: DuckDBPyConnection, chosen: str, here: str = "true") -> None:
    """Append the ``chosen`` conversations of one question and answer, whose messages all stand ``here``."""
    turns = f"(SELECT position, message FROM turns WHERE {here})"
    connection.execute(
        f"""INSERT INTO raw SELECT first, c.line, q.message, coalesce(i.message, ''), a.message, '', ''
        FROM (SELECT * FROM conversations WHERE simple AND {chosen}) AS c JOIN {turns} AS q ON q.position = c.question
        JOIN {turns} AS a ON a.position = c.answer LEFT JOIN {turns} AS i ON i.position = c.input"""
    )


def in_columns(messages: Iterator[tuple[int, str, str, str, bool]]) -> Iterator[list[Any]]:
    """Messages as columns, in chunks of bounded length."""
    while waiting := list(islice(messages, ROWS_AT_ONCE)):
        yield [list(column) for column in zip(*waiting, strict=True)]


def message_rows(
    records: Iterator[Record], maker: RowMaker, others: list[RawRow]
) -> Iterator[tuple[int, str, str, str, bool]]:
    """Line, conversation, kind and text of every message, and whether it may be trained; those that belong to no
    conversation are counted, and rows of another layout go into ``others``."""
    for line, row in records:
        maker.read += 1
        layout = maker.layout(row)
        if layout is None:
            maker.left_out.add(NO_LAYOUT, line)
            continue
        if layout.kind != "turn":
            if (made := maker.row(line, row, layout)) is not None:
                others.append(made)
            continue
        maker.use(layout)
        maker.note_beside(line, row, layout)
        identity = row[layout.column("conversation") or ""]
        if not is_filled(identity):
            maker.left_out.add("a message without a conversation_id", line)
            continue
        _, kind, text, is_trained = maker.message(line, row, layout)
        yield line, identity_of(identity).encode("utf-8", "backslashreplace").decode(), kind, text, is_trained


def other_conversations(connection: DuckDBPyConnection, maker: RowMaker) -> Iterator[RawRow]:
    """Conversations of more than one question and answer, in the order of their first messages."""
    if not count(connection, "conversations WHERE NOT simple"):
        return
    query = (
        "SELECT t.conversation, t.line, t.kind, t.message, t.trained FROM turns AS t "
        "JOIN conversations AS c USING (conversation) WHERE NOT c.simple ORDER BY c.first, t.position"
    )
    reader = connection.cursor().sql(query).to_arrow_reader(ROWS_AT_ONCE)
    messages = (tuple(row.values()) for batch in reader for row in batch.to_pylist())
    for _, group in groupby(messages, key=lambda message: message[0]):
        made = maker.joined_row([(line, kind, text, trained) for _, line, kind, text, trained in group])
        if made is not None:
            yield made


def cells(batch: pyarrow.RecordBatch, name: str | None) -> Any:
    """A column of text without nulls; a missing column is empty. What is too long is cut one character later, which is
    enough to leave it out afterwards."""
    import pyarrow
    from pyarrow import compute

    if name is None:
        return pyarrow.nulls(batch.num_rows, pyarrow.string()).fill_null("")
    column = batch.column(name)
    if (compute.max(compute.binary_length(column)).as_py() or 0) > cleaning.MAX_CHARACTERS:
        column = compute.utf8_slice_codeunits(column, 0, cleaning.MAX_CHARACTERS + 1)
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
