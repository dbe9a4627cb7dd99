"""Names of tables: ``duckdb:FILE?table=T&where=SQL`` and ``md:DATABASE?table=T&where=SQL``.

A name never holds a token, because names are written into configs, logs and cards.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from tuning.errors import UserError

EMBEDDED = "python_qa"
BOOKINGS, QUERIES = "bookings_json", "tables_sql"
EMBEDDED_SETS = (EMBEDDED, BOOKINGS, QUERIES)
"""Data sets that come with LoRA Lens."""
HUB_DATA = "HydraLM/python-code-instructions-18k-alpaca-standardized"
PYTHON_SOURCES = (EMBEDDED, HUB_DATA)
FILE, MOTHERDUCK = "duckdb", "md"
DEFAULT_TABLE = "questions"
DEFAULT_FILE = "lora_lens.duckdb"
TABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
SCHEME = re.compile(r"\s*(duckdb|md|motherduck):", re.IGNORECASE)
DATABASE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")


@dataclass(frozen=True)
class Place:
    """A table in a DuckDB file (``database`` is its path) or in a MotherDuck database (its name).

    ``where`` is an SQL condition on the table's columns; empty for all rows.
    """

    scheme: str
    database: str
    table: str = DEFAULT_TABLE
    where: str = ""

    @property
    def path(self) -> Path | None:
        """The DuckDB file; None for MotherDuck."""
        return Path(self.database).expanduser() if self.scheme == FILE else None

    @property
    def identifier(self) -> str:
        """The table in SQL, where its name may be a word of the language."""
        return f'"{self.table}"'

    @property
    def label(self) -> str:
        """Database and table in the words of a message."""
        return f"table {self.table} of {self.database if self.scheme == FILE else f'md:{self.database}'}"

    @property
    def name(self) -> str:
        """What :func:`parse` reads, without the condition."""
        return f"{self.scheme}:{self.database}?table={self.table}"


def is_place(name: str) -> bool:
    """Whether a data source is a table rather than a file or a Hub data set."""
    return SCHEME.match(name) is not None


def parse(name: str) -> Place:
    """A place from its name; ``duckdb:`` alone is the default file. Raises UserError without repeating any value that
    may be a secret."""
    written, _, rest = name.partition(":")
    scheme = FILE if written.strip().lower() == FILE else MOTHERDUCK
    database, _, options = rest.partition("?")
    place = Place(scheme, database or (str(default_file()) if scheme == FILE else ""))
    if scheme == MOTHERDUCK and not DATABASE_NAME.fullmatch(database):
        raise UserError("md: takes the name of a MotherDuck database: md:DATABASE?table=TABLE.")
    while options:
        key, _, value = options.partition("=")
        if key == "where":  # the condition may hold & and =, so it reaches to the end
            return replace(place, where=value.strip())
        value, _, options = value.partition("&")
        refuse_token(key)
        if key != "table":
            raise UserError("After the ? of duckdb: and md: come table=TABLE and then where=SQL, nothing else.")
        place = replace(place, table=table_name(value))
    return place


def check_name(name: str) -> None:
    """Raise UserError for the name of a data source that can be none, or that holds a token, without repeating it."""
    if is_place(name):
        parse(name)
    else:
        refuse_token(name.partition("?")[2])


def refuse_token(options: str) -> None:
    """Raise UserError if what follows the ? of a name speaks of a token."""
    if "token" in options.lower():
        raise UserError("A token has no place in a name: put it into MOTHERDUCK_TOKEN.")


def parse_target(name: str | None, table: str | None) -> Place:
    """The place to load into: None for the default file, a file's path, ``duckdb:FILE`` or ``md:DATABASE``."""
    name = f"{FILE}:" if name is None else name
    place = parse(name if is_place(name) else f"{FILE}:{name}")
    if place.where:
        raise UserError("A target has no where=: give it to the source.")
    return place if table is None else replace(place, table=table_name(table))


def table_name(value: str) -> str:
    """A plain SQL name. Raises UserError for anything else."""
    if not TABLE_NAME.fullmatch(value):
        raise UserError(
            "The table's name must be letters, digits and underscores, at most 63, and not begin with a digit."
        )
    return value


def default_file() -> Path:
    """The embedded database in the data folder."""
    from tuning.files import data_root

    return data_root() / DEFAULT_FILE
