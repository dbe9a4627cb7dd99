"""The ratings database's tables, and how a connection to it is set up. Imports SQLAlchemy; nothing here is public."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy import Boolean, Column, Float, String, Text

metadata = sql.MetaData()
pairs = sql.Table(
    "pairs",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("created", Float, nullable=False, index=True),
    Column("session", String(64), nullable=False),
    Column("question", Text, nullable=False),
    Column("probe", String(64)),
    Column("base", sql.JSON, nullable=False),
    Column("tuned", sql.JSON, nullable=False),
    Column("adapter", Text, nullable=False, index=True),
    Column("left", String(8), nullable=False),
    Column("blind", Boolean, nullable=False),
    Column("settings", sql.JSON, nullable=False),
)
votes = sql.Table(
    "votes",
    metadata,
    Column("pair_id", String(64), sql.ForeignKey(pairs.c.id), primary_key=True),
    Column("session", String(64), primary_key=True),
    Column("choice", String(16), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("streaming", Boolean, nullable=False),
    Column("blind", Boolean, nullable=False),
    Column("reasons", sql.JSON, nullable=False),
    Column("comment", Text, nullable=False),
    Column("created", Float, nullable=False),
    Column("changed", Float, nullable=False),
    Column("withdrawn", Boolean, nullable=False),
    sql.Index("votes_by_time", "created"),
)


def open_engine(url: sql.URL, busy_seconds: float) -> sql.Engine:
    """An engine whose SQLite connections write ahead and sync each commit; makes the file's folder."""
    if url.get_backend_name() != "sqlite":
        return sql.create_engine(url, pool_pre_ping=True)
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sql.create_engine(url, connect_args={"timeout": busy_seconds, "isolation_level": None})

    @sql.event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {setting}")

    @sql.event.listens_for(engine, "begin")
    def begin(connection: sql.Connection) -> None:
        # A transaction that reads first and writes later could not wait for another writer.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
