"""``python -m tuning data describe|export|rows``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tuning.errors import UserError
from tuning.files import replacing


def add_data_commands(commands: argparse._SubParsersAction) -> None:
    """Hang ``data`` with its subcommands under ``python -m tuning``; each sets ``run(options)``."""
    data = commands.add_parser("data", help="look at a data set, or export it")
    subcommands = data.add_subparsers(dest="data_command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("source", nargs="?", default="python_qa", help="python_qa, a file, a Hub data set, or a table")
    common.add_argument("--empty-input-only", action="store_true", help="keep only questions without an input")
    common.add_argument("--limit", type=int, help="keep this many training rows")

    describe = subcommands.add_parser("describe", parents=[common], help="counts, lengths, what was dropped, samples")
    describe.add_argument("--model", default="smollm2-135m", help="whose tokenizer counts")
    describe.add_argument("--max-tokens", type=int, default=1024, help="longer examples are dropped")
    describe.set_defaults(run=run_describe)

    export = subcommands.add_parser("export", parents=[common], help="write the training rows to a parquet file")
    export.add_argument("--out", type=Path, required=True, help="the file, compressed with zstd at its highest level")
    export.set_defaults(run=run_export)

    rows = subcommands.add_parser("rows", help="the rows that a run used: id, split, how often it was trained on")
    rows.add_argument("name", help="the run's id or folder")
    rows.set_defaults(run=run_rows)


def run_describe(options: argparse.Namespace) -> None:
    """Print what is in a data set."""
    from tuning.data.dataset import load
    from tuning.models.weights import load_tokenizer, resolve
    from tuning.views.describe import describe

    if options.max_tokens < 1:
        raise UserError(f"--max-tokens is {options.max_tokens}, but must be positive.")
    tokenizer = load_tokenizer(resolve(options.model))
    dataset = load(
        options.source,
        empty_input_only=options.empty_input_only,
        limit=options.limit,
        tokenizer=tokenizer,
        max_tokens=options.max_tokens,
    )
    print(describe(dataset, tokenizer, options.max_tokens, colour=sys.stdout.isatty()))


def run_export(options: argparse.Namespace) -> None:
    """Write the training rows as instruction, input and output."""
    from tuning.data.dataset import load

    dataset = load(options.source, empty_input_only=options.empty_input_only, limit=options.limit)
    count = export_parquet(dataset.train, options.out)
    print(f"{options.out}: {count} rows")


def run_rows(options: argparse.Namespace) -> None:
    """List a run's rows, tab-separated; where they come from goes to standard error."""
    from tuning.runs import run
    from tuning.training import used_rows

    chosen = run.find(options.name)
    rows = list(used_rows.listed(chosen))
    data = chosen.settings()["data"]
    state = f"snapshot {data['snapshot']}" if "snapshot" in data else f"fingerprint {data['fingerprint']}"
    met = sum(row.met > 0 for row in rows)
    print(f"{data['source']} ({state}): {met:,} of {len(rows):,} rows trained on so far", file=sys.stderr)
    print("id\tsplit\ttrained")
    for row in rows:
        print(f"{row.id}\t{row.split}\t{row.met}")


def export_parquet(rows: list, out: Path) -> int:
    """Write rows to a zstd parquet at its highest level, in one step. Raises UserError if that cannot be done."""
    import pyarrow
    from pyarrow import parquet

    columns = {
        "instruction": [row.question for row in rows],
        "input": [row.input for row in rows],
        "output": [row.answer for row in rows],
    }
    try:
        with replacing(out) as fresh:
            parquet.write_table(pyarrow.table(columns), fresh, compression="zstd", compression_level=22)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}.") from error
    return len(rows)
