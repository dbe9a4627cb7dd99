"""What a table of questions is made of, and the hash that says which rows it holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tuning.ingest.warehouse import scalar

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

TEXTS = ("QuestionAsked", "QuestionInput", "OutputAnswer", "AnswerCheck")
CONVERSATION = "Conversation"
HASHED = frozenset({"Id", *TEXTS, "DataSplit"})
HASH_DIGITS = 16
HASHED_ROWS = 65_536


def content_hash(columns: Iterable[str] = (*TEXTS, CONVERSATION), prefix: str = "") -> str:
    """SQL for the hash of a row's texts: sixteen hexadecimal digits of :func:`tuning.data.cleaning.digest`.

    A conversation counts only where there is one, so that rows without one are the same in tables of earlier versions,
    which lack that column. ``prefix`` goes before each name.
    """
    have = set(columns)
    parts = [part(f"{prefix}{name}") for name in TEXTS]
    if CONVERSATION in have:
        name = f"{prefix}{CONVERSATION}"
        parts.append(f"CASE WHEN coalesce({name}, '') = '' THEN '' ELSE concat({part(name)}) END")
    return f"left(sha256(concat({', '.join(parts)})), {HASH_DIGITS})"


def part(name: str) -> str:
    """SQL for one text of a hash, with its length before it."""
    return f"length(coalesce({name}, '')), ':', coalesce({name}, '')"


def columns_of(connection: DuckDBPyConnection, table: str) -> list[str]:
    """The names of a table's columns."""
    return [row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()]


def count(connection: DuckDBPyConnection, table: str) -> int:
    """The rows of a table (or of a table and a condition)."""
    return int(scalar(connection, f"SELECT count(*) FROM {table}"))


def snapshot(connection: DuckDBPyConnection, table: str, row_hash: str = "") -> str:
    """Sixteen hexadecimal digits over split, id and texts of every row, whatever their order in the table.

    ``row_hash`` names a column that holds :func:`content_hash` for certain; without it every row is hashed anew.
    """
    row = row_hash or content_hash(columns_of(connection, table))
    lines = f"SELECT concat(DataSplit, ' ', Id, ' ', {row}, chr(10)) FROM {table} ORDER BY DataSplit, Id, 1"
    total = hashlib.sha256()
    for batch in connection.sql(lines).to_arrow_reader(HASHED_ROWS):
        total.update("".join(batch.column(0).to_pylist()).encode())
    return total.hexdigest()[:HASH_DIGITS]
