"""The scorer of SQL: a query runs on an in-memory SQLite database made from the question's schema and rows."""

from __future__ import annotations

import math
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from itertools import islice
from typing import Any

from eval_prompts.tasks.scorers.base import Given, Judge, Score, number, quoted, said, unknown

SECONDS = 1.0
MOST_ROWS = 10_000
MOST_BYTES = 100_000
"""The longest value that a query may make; no single step of SQLite takes long on such."""
STEPS = 1_000
"""Steps of SQLite's machine between two looks at the clock."""
START = re.compile(r"\b(?:select|with|values)\b", re.IGNORECASE)
BLOCK = re.compile(r"```[ \t]*([\w+#-]*)(.*?)(?:```|\Z)", re.DOTALL)
DIALECTS = frozenset({"", "sql", "sqlite", "sqlite3", "mysql", "postgresql", "postgres", "tsql", "plsql"})
SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
AFRESH = re.compile(r"(?::|\n[ \t]*\n)\s*\Z")
SENTENCE = re.compile(
    r"\n[ \t]*(?:\n|(?=(?:This|That|These|The|It|Here|Note|Explanation|Output|Result|Results|You|In|Where)\b)|```)|```"
)
"""Where text goes on behind a query. SQL that begins a line in this mix of cases, nobody writes."""
PLACES, SEMICOLONS = 20, 200
"""Beginnings and ends of a query that are looked at."""
QUOTED = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
REMARK = re.compile(r"/\*.*?\*/|^[ \t]*--[^\n]*", re.DOTALL | re.MULTILINE)
READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
Rows = list[tuple[Any, ...]]


class Failure(Exception):
    """Why a query has no result, in words."""


def query_in(text: str, is_sql: Callable[[str], bool] | None = None) -> str:
    """The query of an answer; '' where there is none.

    It stands in the last block of SQL, else between backticks, else in the text, and goes from a SELECT, WITH or VALUES
    to the semicolon that completes it. Words such as "you can select it with this query:" are none: where several
    places can be its beginning, ``is_sql`` says whether what begins there is written in SQL at all.
    """
    blocks = [block for tag, body in BLOCK.findall(text) if START.search(block := _body_in(tag, body))]
    spans = [] if blocks else [span for span in SPAN.findall(text) if START.match(span.strip())]
    sources = [
        *((source, True) for source in blocks[::-1] or spans),
        *([] if blocks else [(REMARK.sub(" ", text), False)]),
    ]
    found = [
        _statement(source[start:], is_code) for source, is_code in sources for start in beginnings(source)[:PLACES]
    ]
    if is_sql is None or len(found) < 2:
        return found[0] if found else ""
    return next(filter(is_sql, found), found[0])


def _body_in(tag: str, body: str) -> str:
    """What a block holds, without its comments; '' where it says that it is in another language."""
    if START.fullmatch(tag):
        body = tag + body
    elif tag.lower() not in DIALECTS:
        return ""
    return QUOTED.sub(lambda found: " " if found.group().startswith(("--", "/*")) else found.group(), body)


def beginnings(source: str) -> list[int]:
    """Where a query may begin: at the first word that begins one, and at others behind a colon or an empty line."""
    places = [match.start() for match in START.finditer(source)]
    return [place for at, place in enumerate(places) if not at or AFRESH.search(source[max(0, place - 80) : place])]


def _statement(rest: str, is_code: bool) -> str:
    """What a text begins with, up to the semicolon that completes a statement; where none does, up to an empty line or
    a line that begins like a sentence, but for code, which is its author's to the end."""
    for match in islice(re.finditer(";", rest), SEMICOLONS):
        if sqlite3.complete_statement(rest[: match.end()]):
            return rest[: match.end()].strip()
    return rest.strip() if is_code else SENTENCE.split(rest)[0].strip().rstrip(".")


def is_ordered(query: str) -> bool:
    """Whether a query asks for its rows in an order: within brackets, texts and comments it does not."""
    bare, before = QUOTED.sub(" ", query), ""
    while bare != before:
        bare, before = re.sub(r"\([^()]*\)", " ", bare), bare
    return re.search(r"\border\s+by\b", bare, re.IGNORECASE) is not None


def is_sql(connection: sqlite3.Connection, query: str) -> bool:
    """Whether a query is written in SQL, be there such tables and columns or not."""
    try:
        connection.execute(f"explain {query}").close()
    except sqlite3.OperationalError as error:
        return not any(words in str(error) for words in ("syntax error", "incomplete input", "unrecognized token"))
    except (sqlite3.Error, sqlite3.Warning, ValueError):
        pass  # it says so itself where it is run
    return True


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
            wanted: list[tuple[str, Rows]] = []
            failed = ""
            for reference in given.references:
                try:
                    wanted.append((reference, run(connection, reference)))
                except Failure as error:
                    failed = failed or str(error)
            if not wanted:
                return unknown("sql", f"the reference does not run: {failed}")
            query = query_in(given.text, lambda text: is_sql(connection, text))
            if not query:
                return said("sql", False, "it holds no query")
            try:
                rows = run(connection, query)
            except Failure as error:
                return said("sql", False, f"the query fails: {error}")
        passed = any(equal(rows, good, is_ordered(reference), exactness) for reference, good in wanted)
        return said("sql", passed, "" if passed else _odd(rows, wanted[0][1]))

    return judge


def _odd(rows: Rows, wanted: Rows) -> str:
    if equal(rows, wanted, False):
        return "its rows are right, but not their order"
    return f"it gives {_shown(rows)}, not {_shown(wanted)}"


def _shown(rows: Rows) -> str:
    first = quoted(", ".join(map(str, rows[0])), 60) if rows else "nothing"
    return f"{len(rows):,} rows, first {first}" if len(rows) > 1 else first
