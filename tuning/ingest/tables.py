"""The tables of the default DuckDB file that can be trained on, for the page to offer.

``python -m tuning.ingest.tables`` prints them as JSON for :func:`tuning.runs.helper_process.ask`: the file is opened
beside the web server, not in it.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from tuning.data.place import FILE, TABLE_NAME, Place, default_file
from tuning.data.reading.layouts import understood
from tuning.errors import UserError
from tuning.ingest.snapshot import count
from tuning.ingest.warehouse import connected
from tuning.runs import helper_process

SECONDS = 20.0


def offered() -> dict[str, Any]:
    """'tables', of which each has 'name', 'table' and 'rows'; and 'unread', which says why there are none to offer."""
    if not default_file().is_file():
        return {"tables": [], "unread": ""}
    try:
        return helper_process.ask("tuning.ingest.tables", {}, SECONDS)
    except UserError as error:
        return {"tables": [], "unread": str(error)}


def tables(place: Place) -> list[dict[str, Any]]:
    """The tables in the file of ``place`` that have columns to train on, by name. Raises UserError if it cannot be
    read."""
    with connected(place, read_only=True) as connection:
        found = connection.execute(
            "SELECT table_name, list(column_name) FROM information_schema.columns WHERE table_catalog = "
            "current_database() AND table_schema = current_schema() GROUP BY table_name ORDER BY table_name"
        ).fetchall()
        return [
            {
                "name": f"{FILE}:?table={table}",
                "table": table,
                "rows": count(connection, replace(place, table=table).identifier),
            }
            for table, columns in found
            if TABLE_NAME.fullmatch(table) and understood(columns)
        ]


def listed(_: dict[str, Any]) -> dict[str, Any]:
    """The tables of the default file, as :func:`offered` tells them. Raises UserError if it cannot be read."""
    return {"tables": tables(Place(FILE, str(default_file()))), "unread": ""}


if __name__ == "__main__":
    sys.exit(helper_process.answer(listed))
