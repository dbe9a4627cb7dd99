"""``python -m tuning ingest``."""

from __future__ import annotations

import argparse

from tuning.command_line import Parser
from tuning.data.options import add_reading, reading


def add_ingest_command(commands: argparse._SubParsersAction[Parser]) -> None:
    """Hang ``ingest`` under ``python -m tuning``; it sets ``run(options)``."""
    command = commands.add_parser("ingest", help="load a data set into a DuckDB file or MotherDuck")
    command.add_argument("source", nargs="?", default="python_qa", help="python_qa, a file, a Hub id, or a table")
    command.add_argument(
        "--to",
        metavar="TARGET",
        help="a DuckDB file, or md:DATABASE (needs MOTHERDUCK_TOKEN); default: in the data folder",
    )
    command.add_argument("--table", help="the table's name (default: questions)")
    add_reading(command)
    command.set_defaults(run=run_ingest)


def run_ingest(options: argparse.Namespace) -> None:
    """Load, and say what was done."""
    from tuning.data.place import parse_target
    from tuning.ingest.load import ingest

    print(ingest(options.source, parse_target(options.to, options.table), reading(options)))
