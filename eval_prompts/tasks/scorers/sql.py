"""The scorer of SQL: a query runs on an in-memory SQLite database made from the question's schema and rows."""

from __future__ import annotations

import math
import re
import sqlite3
import time
from collections import Counter
from contextlib import closing
from typing import Any

from eval_prompts.tasks.scorers.base import Given, Judge, Score, number, quoted, said, unknown
from eval_prompts.tasks.scorers.structure import FENCE

SECONDS = 1.0
MOST_ROWS = 10_000
MOST_BYTES = 100_000
"""The longest value that a query may make; no single step of SQLite takes long on such."""
STEPS = 1_000
"""Steps of SQLite's machine between two looks at the clock."""
START = re.compile(r"\b(?:select|with|values)\b", re.IGNORECASE)
READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
Rows = list[tuple[Any, ...]]


class Failure(Exception):
    """Why a query has no result, in words."""


def query_in(text: str) -> str:
    """The query of an answer: its last fenced block of SQL, else from the first SELECT, WITH or VALUES to the first
    semicolon; '' where there is none."""
    blocks = [body for tag, body in FENCE.findall(text) if tag.lower() in ("", "sql", "sqlite")]
    source = next((block for block in reversed(blocks) if START.search(block)), None if blocks else text) or ""
    start = START.search(source)
    if start is None:
        return ""
    return _first_statement(source[start.start() :]).strip()


def _first_statement(source: str) -> str:
    """Up to the semicolon that completes a statement, or to an empty line where none does."""
    for match in re.finditer(";", source):
        if sqlite3.complete_statement(source[: match.end()]):
            return source[: match.end()]
    return re.split(r"\n\s*\n", source)[0]


def database(script: str) -> sqlite3.Connection:
    """A fresh database in memory. Raises Failure if the script does not run, or not in time."""
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 50 * MOST_BYTES)
    try:
        _limit(connection)
        connection.executescript(script)
        connection.commit()
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        connection.close()
        raise Failure(_words(error)) from None
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200)

    def allow(action: int, _: Any, name: Any, *__: Any) -> int:
        banned = action == sqlite3.SQLITE_FUNCTION and str(name).lower() == "load_extension"
        return sqlite3.SQLITE_OK if action in READING and not banned else sqlite3.SQLITE_DENY

    connection.set_authorizer(allow)
    return connection


def _limit(connection: sqlite3.Connection) -> None:
    until = time.monotonic() + SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > until, STEPS)


def run(connection: sqlite3.Connection, query: str) -> Rows:
    """A query's rows. Raises Failure for one that fails, writes, takes too long or gives too much."""
    _limit(connection)
    try:
        rows = connection.execute(query).fetchmany(MOST_ROWS + 1)
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
        raise Failure(_words(error)) from None
    if len(rows) > MOST_ROWS:
        raise Failure(f"it gives more than {MOST_ROWS:,} rows")
    return rows


def _words(error: Exception) -> str:
    words = str(error)
    if words == "interrupted":
        return f"it takes longer than {SECONDS:g} s"
    if "not authorized" in words or "prohibited" in words:
        return "it does more than read"
    return words


def rounded(row: tuple[Any, ...], digits: int) -> tuple[Any, ...]:
    """A row in which numbers can be compared: 2 is 2.0, and sums in another order are the same."""
    return tuple(
        float(f"{value:.{digits}g}") if isinstance(value, float) and math.isfinite(value) else value for value in row
    )


def equal(one: Rows, other: Rows, ordered: bool, digits: int = 9) -> bool:
    """Whether two results are the same, whatever their columns are called; the order counts where it was asked for."""
    ours, theirs = ([rounded(row, digits) for row in rows] for rows in (one, other))
    return ours == theirs if ordered else Counter(ours) == Counter(theirs)


def sql(column: Any = "schema", digits: Any = 9) -> Judge:
    """The answer's query gives the rows of the reference's query on the database of the column ``schema``."""
    column, exactness = str(column), int(number(digits, "digits", 1, 17))

    def judge(given: Given) -> Score:
        script = str(given.columns.get(column) or "")
        try:
            connection = database(script)
        except Failure as error:
            return unknown("sql", f"the question's {column} does not run: {error}")
        with closing(connection):
            try:
                wanted = run(connection, given.references[0])
            except Failure as error:
                return unknown("sql", f"the reference does not run: {error}")
            query = query_in(given.text)
            if not query:
                return said("sql", False, "it holds no query")
            try:
                rows = run(connection, query)
            except Failure as error:
                return said("sql", False, f"the query fails: {error}")
        passed = equal(rows, wanted, re.search(r"\border\s+by\b", given.references[0], re.I) is not None, exactness)
        return said("sql", passed, "" if passed else f"it gives {_shown(rows)}, not {_shown(wanted)}")

    return judge


def _shown(rows: Rows) -> str:
    first = quoted(", ".join(map(str, rows[0])), 60) if rows else "nothing"
    return f"{len(rows):,} rows, first {first}" if len(rows) > 1 else first
