"""Connections to DuckDB files and MotherDuck, and their errors in one line that never holds the token."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.data.place import Place
from tuning.errors import UserError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection, Error

TOKEN_VARIABLE = "MOTHERDUCK_TOKEN"
INSTALL = "python -m pip install -r tuning/ingest/requirements.txt"
MEMORY_LIMIT = "256MB"
REFUSED = re.compile(
    r"jwt|(not |un)authenticated|unauthori[sz]ed|authentication|(motherduck|access|invalid|expired)[ _]token"
    r"|permission_denied|forbidden"
)
UNREACHABLE = re.compile(r"download extension|establish connection|failed to connect|could not connect|unavailable|dns")
FULL = re.compile(r"no space left|disk (is )?full|not enough (disk )?space|max_temp_directory_size")


def driver() -> Any:
    """The module ``duckdb``. Raises UserError with the command that installs it."""
    try:
        import duckdb
    except ImportError as error:
        raise UserError(f"Tables need the package duckdb: {INSTALL}") from error
    return duckdb


def token() -> str:
    """MotherDuck's token. Raises UserError if there is none: without one the driver would open a browser and wait."""
    found = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not found:
        raise UserError(f"MotherDuck needs a token: set {TOKEN_VARIABLE} in the environment.")
    return found


@contextmanager
def connected(place: Place, *, read_only: bool = False, spill: Path | None = None) -> Iterator[DuckDBPyConnection]:
    """A connection to the database of ``place`` in bounded memory; what does not fit is spilled to ``spill``.

    Raises UserError for whatever the database refuses, also inside the context.
    """
    config: dict[str, Any] = {"memory_limit": MEMORY_LIMIT}
    if spill is not None:
        config["temp_directory"] = str(spill)
    with translated(place):
        connection = (
            open_file(place, read_only, config) if place.path else open_motherduck(place.database, read_only, config)
        )
        try:
            yield connection
        finally:
            connection.close()


def open_file(place: Place, read_only: bool, config: dict[str, Any]) -> DuckDBPyConnection:
    """Open a DuckDB file; only for writing is a missing one made."""
    path = Path(place.database).expanduser()
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a DuckDB file.")
    if read_only:
        present(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    connection: DuckDBPyConnection = driver().connect(str(path), read_only=read_only, config=config)
    return connection


def present(path: Path) -> None:
    """Raise UserError if there is no file."""
    if not path.is_file():
        raise UserError(f"There is no DuckDB file {path}: load one with python -m tuning ingest.")


def open_motherduck(database: str, read_only: bool, config: dict[str, Any]) -> DuckDBPyConnection:
    """Open a MotherDuck database. The token goes to the driver alone, apart from the name.

    The driver is told to forget the database when the connection is closed, because it refuses to open one that it
    still holds with other settings. For reading it shows this database alone and neither files nor settings ("SaaS
    mode").
    """
    options = "dbinstance_inactivity_ttl=0s" + ("&attach_mode=single&saas_mode=true" if read_only else "")
    settings = {**config, "motherduck_token": token()}
    connection: DuckDBPyConnection = driver().connect(f"md:{database}?{options}", config=settings)
    return connection


def scalar(connection: DuckDBPyConnection, query: str, values: Sequence[Any] = ()) -> Any:
    """The one value that a query gives; the result is read to its end, which the next query asks for."""
    return connection.execute(query, list(values)).fetchall()[0][0]


def table_exists(connection: DuckDBPyConnection, table: str) -> bool:
    """Whether the connection's database has a table or view of that name, however it is spelled."""
    query = (
        "SELECT count(*) FROM information_schema.tables WHERE table_catalog = current_database() "
        "AND table_schema = current_schema() AND lower(table_name) = lower(?)"
    )
    return bool(scalar(connection, query, [table]) > 0)


@contextmanager
def translated(place: Place) -> Iterator[None]:
    """A context in which errors of the database become a UserError without cause, so that no trace holds the token."""
    duckdb = driver()
    message = ""
    try:
        yield
    except (duckdb.Error, OSError) as error:
        message = explain(error, place)
    if message:
        raise UserError(message)


def explain(error: Error | OSError, place: Place) -> str:
    """An error of the driver in words that say what to do."""
    text = str(error)
    low = text.lower()
    where = place.database if place.path else f"md:{place.database}"
    if FULL.search(low):
        return f"The disk that holds {where} is full: free some space, then load again. The old table is unchanged."
    if place.path is None and REFUSED.search(low):
        return f"MotherDuck refused the token: make a new one and set {TOKEN_VARIABLE}."
    if place.path is None and UNREACHABLE.search(low):
        return f"MotherDuck cannot be reached for {where}: check the network."
    if "lock on file" in low:
        holder = re.search(r"\(pid (\d+)\)", low)
        by = f" (process {holder.group(1)})" if holder else ""
        return f"{where} is in use by another program{by}: close it there, then try again."
    if "not a valid duckdb database" in low:
        return f"{where} is no DuckDB file: name another."
    if "out of memory" in low:
        return f"{where} needs more memory than the {MEMORY_LIMIT} it may use: shorten the rows or filter them."
    line = redacted((text.strip().splitlines() or [type(error).__name__])[0])
    return f"{where} cannot be used: {line}"


def redacted(text: str) -> str:
    """Text without the token, should an error repeat it."""
    secret = os.environ.get(TOKEN_VARIABLE, "").strip()
    return text.replace(secret, "***") if secret else text
