"""Helpers of the pipeline's tests: rows, files, and a look into a table."""

from __future__ import annotations

import json
from pathlib import Path

from tuning.__main__ import USAGE_ERROR, main
from tuning.data import cleaning
from tuning.data.place import FILE, Place

LOCK = ".t.duckdb.loading.lock"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJlbWFpbCI6ImFubkBleGFtcGxlLmNvbSJ9.dGhlLXNpZ25hdHVyZQ"


def questions(count, start=0, answer="answer"):
    """Rows with an input in every third."""
    return [
        {"instruction": f"Question number {n}?", "input": "x = 1" if n % 3 == 0 else "", "output": f"{answer} {n}"}
        for n in range(start, start + count)
    ]


def write_jsonl(path: Path, rows) -> str:
    """A JSONL file; returns its name as a source."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def write_parquet(path: Path, rows) -> str:
    """A Parquet file; returns its name as a source."""
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return str(path)


def file_place(path: Path, table="questions") -> Place:
    """A table in a DuckDB file."""
    return Place(FILE, str(path), table)


def query(path: Path, sql: str):
    """The rows that a query gives on a DuckDB file."""
    import duckdb

    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def content(path: Path, table="questions"):
    """Everything in a table, in the order of ids."""
    return query(path, f"SELECT * FROM {table} ORDER BY Id")


def names(folder: Path):
    """What lies in a folder."""
    return {path.name for path in folder.iterdir()}


def refused(capsys, *arguments):
    """The one line of a command that is refused."""
    capsys.readouterr()
    assert main(list(arguments)) == USAGE_ERROR
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    return told.err


class Cloud:
    """What ``duckdb.connect`` is replaced by: ``md:shop`` is a file; ``refusal`` answers every connection."""

    def __init__(self, folder):
        import duckdb

        self.folder, self.refusal, self.opened, self.connect_file, self.error = (
            folder,
            "",
            [],
            duckdb.connect,
            duckdb.IOException,
        )

    def connect(self, name=":memory:", read_only=False, config=None):
        config = dict(config or {})
        if not name.startswith("md:"):
            return self.connect_file(name, read_only=read_only, config=config)
        self.opened.append(name)
        secret = config.pop("motherduck_token")
        if self.refusal:
            raise self.error(f"IO Error: {self.refusal}".replace("TOKEN", secret))
        return self.connect_file(str(self.folder / f"{name[3:].partition('?')[0]}.duckdb"), config=config)


def rows_of(data):
    """A data set's rows by their ids, each with its split."""
    return {row.id: (name, row) for name in cleaning.SPLITS for row in data.split(name)}
