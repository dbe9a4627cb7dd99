"""The ratings database's tables, and how a connection to it is set up. Imports SQLAlchemy; nothing here is public."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy import Boolean, Column, Float, Integer, String, Text

from eval_prompts.votes.migrations import MIGRATIONS, columns_at, tables_at
from eval_prompts.votes.records import MAX_NAME
from tuning.errors import UserError

LAYOUT = len(MIGRATIONS)
"""Of the tables below: how many migrations are behind a database of today. 0 is from before that was written down."""
POLL_MILLISECONDS = 8
OPENING = 0x6C6F7261
"""The advisory lock under which PostgreSQL's tables are made."""

metadata = sql.MetaData()
pairs = sql.Table(
    "pairs",
    metadata,
    Column("id", String(MAX_NAME), primary_key=True),
    Column("created", Float, nullable=False, index=True),
    Column("session", String(MAX_NAME), nullable=False),
    Column("question", Text, nullable=False),
    Column("probe", String(64)),
    Column("base", sql.JSON, nullable=False),
    Column("tuned", sql.JSON, nullable=False),
    Column("adapter", Text, nullable=False, index=True),
    Column("left", String(8), nullable=False),
    Column("blind", Boolean, nullable=False),
    Column("settings", sql.JSON, nullable=False),
    Column("conversation", String(MAX_NAME), nullable=False, server_default=""),
    Column("turn", Integer, nullable=False, server_default="1"),
    sql.Index("pairs_by_conversation", "conversation"),
)
votes = sql.Table(
    "votes",
    metadata,
    Column("pair_id", String(MAX_NAME), sql.ForeignKey(pairs.c.id), primary_key=True),
    Column("session", String(MAX_NAME), primary_key=True),
    Column("choice", String(16), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("streaming", Boolean, nullable=False),
    Column("blind", Boolean, nullable=False),
    Column("reasons", sql.JSON, nullable=False),
    Column("comment", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("changed", Float, nullable=False),
    Column("withdrawn", Boolean, nullable=False),
    Column("network", String(MAX_NAME), nullable=False, server_default=""),
    sql.Index("votes_by_time", "created"),
)
keys = sql.Table(
    "ratings_keys",
    metadata,
    Column("name", String(MAX_NAME), primary_key=True),
    Column("value", String(MAX_NAME), nullable=False),
)
layout = sql.Table("ratings_layout", sql.MetaData(), Column("version", Integer, nullable=False))
"""Where PostgreSQL keeps what SQLite keeps in the file's header."""


def open_engine(url: sql.URL, busy_seconds: float) -> sql.Engine:
    """An engine whose SQLite connections write ahead and sync each commit; makes the file's folder.

    Raises UserError for a database of another kind, or one whose driver is not installed.
    """
    if url.get_backend_name() in ("postgresql", "postgres"):
        return _open_postgresql(url)
    if url.get_backend_name() != "sqlite":
        raise UserError(f"Votes are kept in SQLite or PostgreSQL, not in {url.get_backend_name()[:40]}: choose one.")
    if url.database and url.database != ":memory:" and "uri" not in url.query:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sql.create_engine(url, connect_args={"timeout": busy_seconds, "isolation_level": None})

    @sql.event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        _wait(lambda: connection.execute("PRAGMA journal_mode=WAL"), busy_seconds)
        for setting in ("synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {setting}")

    @sql.event.listens_for(engine, "begin")
    def begin(connection: sql.Connection) -> None:
        if not connection.get_execution_options().get("writes", False):
            connection.exec_driver_sql("BEGIN")
            return
        # A transaction that reads first and writes later could not wait for another writer. SQLite's own wait grows
        # longer with every try, so that of many processes one may starve: short waits give each the same chance.
        driver = connection.connection.driver_connection
        assert driver is not None, "the connection is open here"
        driver.execute(f"PRAGMA busy_timeout={POLL_MILLISECONDS}")
        try:
            _wait(lambda: driver.execute("BEGIN IMMEDIATE"), busy_seconds)
        finally:
            driver.execute(f"PRAGMA busy_timeout={round(busy_seconds * 1000)}")

    return engine


@contextmanager
def translated(name: str) -> Iterator[None]:
    """A context in which whatever the database ``name`` raises becomes a UserError in one line."""
    import sqlite3

    try:
        yield
    except (sql.exc.SQLAlchemyError, sqlite3.Error, OSError, ImportError) as error:
        reason = (str(getattr(error, "orig", None) or error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"The ratings database {name} cannot be used ({reason}): repair it or choose one with --ratings."
        ) from error


def _wait(work: Any, seconds: float) -> None:
    """Do ``work`` as soon as no other process is in its way, trying for so many seconds.

    Changing a new file to write-ahead is refused at once while another process does so: SQLite does not wait for that.
    """
    import sqlite3

    deadline = time.monotonic() + seconds
    while True:
        try:
            work()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(POLL_MILLISECONDS / 4000)


def _open_postgresql(url: sql.URL) -> sql.Engine:
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    try:
        return sql.create_engine(url, pool_pre_ping=True)
    except ImportError:
        raise UserError(
            "Votes are to be kept in PostgreSQL, whose driver is not installed: run "
            "pip install -r eval_prompts/requirements_postgresql.txt."
        ) from None


def make(engine: sql.Engine, name: str) -> None:
    """Make the tables where there are none, and bring those of an older layout up to date, in one transaction.

    Writes nothing where all is as it should be. Raises UserError for the database ``name`` if it is of a newer layout
    or holds something else.
    """
    with engine.connect() as connection:
        if _is_ready(connection, name):
            return
    with engine.execution_options(writes=True).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sql.select(sql.func.pg_advisory_xact_lock(OPENING)))
        if _is_ready(connection, name):
            return
        if not _tables(connection):
            metadata.create_all(connection)
        else:
            for migrate in MIGRATIONS[_layout(connection) :]:
                migrate(connection)
        _set_layout(connection)


def _is_ready(connection: sql.Connection, name: str) -> bool:
    """Whether nothing needs to be made; False for an empty database and one of an older layout."""
    version = _layout(connection)
    if version > LAYOUT:
        raise UserError(
            f"The ratings database {name} has layout {version}, and this LoRA Lens knows {LAYOUT}: update LoRA Lens "
            "or choose another database with --ratings."
        )
    if (version or _tables(connection)) and not _ours(connection, version):
        raise UserError(f"The database {name} holds something else than votes: choose another with --ratings.")
    return version == LAYOUT


def _tables(connection: sql.Connection) -> set[str]:
    """The tables that tell of a ratings database, and in SQLite, where a file is one program's, all others too."""
    found = set(sql.inspect(connection).get_table_names())
    return found if connection.dialect.name == "sqlite" else found & set(metadata.tables)


def _ours(connection: sql.Connection, version: int) -> bool:
    """Whether the tables are the ones above, as they were at that layout."""
    look = sql.inspect(connection)
    names = tables_at(version, set(metadata.tables))
    if not names <= set(look.get_table_names()):
        return False
    return all(
        {column["name"] for column in look.get_columns(name)}
        == columns_at(version, name, set(metadata.tables[name].columns.keys()))
        for name in names
    )


def _layout(connection: sql.Connection) -> int:
    if connection.dialect.name == "sqlite":
        return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    if not sql.inspect(connection).has_table(layout.name):
        return 0
    return connection.execute(sql.select(layout.c.version)).scalar() or 0


def _set_layout(connection: sql.Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA user_version={LAYOUT}")
        return
    layout.create(connection, checkfirst=True)
    connection.execute(layout.delete())
    connection.execute(layout.insert().values(version=LAYOUT))
