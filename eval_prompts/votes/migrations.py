"""How a ratings database of before becomes one of today: named functions, each done once, in this order.

A database's layout is the number of those it has behind it. Add a function at the end and never change an old one; what
it adds is named in ``ADDED``, so that older databases are known for what they are.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sql


def name_adapters_by_fingerprint(connection: sql.Connection) -> None:
    """Layout 1: ``pairs.adapter`` held a label, which two adapters may share."""
    pairs = sql.table("pairs", sql.column("adapter"), sql.column("tuned", sql.JSON))
    connection.execute(pairs.update().values(adapter=pairs.c.tuned["fingerprint"].as_string()))


def know_the_networks_of_votes(connection: sql.Connection) -> None:
    """Layout 2: which network a vote came from, as a keyed hash, and the key; unknown of the votes of before."""
    connection.exec_driver_sql("ALTER TABLE votes ADD COLUMN network VARCHAR(64) NOT NULL DEFAULT ''")
    connection.exec_driver_sql(
        "CREATE TABLE ratings_keys (name VARCHAR(64) NOT NULL PRIMARY KEY, value VARCHAR(64) NOT NULL)"
    )


def follow_conversations(connection: sql.Connection) -> None:
    """Layout 3: which conversation a pair is a turn of, and which turn; every pair of before is one by itself."""
    connection.exec_driver_sql("ALTER TABLE pairs ADD COLUMN conversation VARCHAR(64) NOT NULL DEFAULT ''")
    connection.exec_driver_sql("ALTER TABLE pairs ADD COLUMN turn INTEGER NOT NULL DEFAULT 1")
    connection.exec_driver_sql("CREATE INDEX pairs_by_conversation ON pairs (conversation)")


MIGRATIONS: tuple[Callable[[sql.Connection], None], ...] = (
    name_adapters_by_fingerprint,
    know_the_networks_of_votes,
    follow_conversations,
)
ADDED_TABLES = {2: {"ratings_keys"}}
ADDED_COLUMNS = {2: {("votes", "network")}, 3: {("pairs", "conversation"), ("pairs", "turn")}}


def tables_at(version: int, tables: set[str]) -> set[str]:
    """Those of today's tables that a database of that layout has."""
    return tables - {name for layout, names in ADDED_TABLES.items() if layout > version for name in names}


def columns_at(version: int, table: str, columns: set[str]) -> set[str]:
    """Those of a table's columns of today that a database of that layout has."""
    later = {
        name for layout, added in ADDED_COLUMNS.items() if layout > version for where, name in added if where == table
    }
    return columns - later
