"""``python -m tuning data describe|export|rows``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.command_line import Parser
from tuning.data.options import add_reading
from tuning.errors import UserError
from tuning.files import replacing
from tuning.views.data_options import add_format, add_objective, loaded

if TYPE_CHECKING:
    from tuning.data.cleaning import Row

SAMPLES = 3


def add_data_commands(commands: argparse._SubParsersAction[Parser]) -> None:
    """Hang ``data`` with its subcommands under ``python -m tuning``; each sets ``run(options)``."""
    data = commands.add_parser("data", help="look at a data set, or export it")
    subcommands = data.add_subparsers(dest="data_command", required=True)
    common = Parser(add_help=False)
    common.add_argument("source", nargs="?", default="python_qa", help="python_qa, a file, a Hub data set, or a table")
    common.add_argument("--empty-input-only", action="store_true", help="keep only questions without an input")
    common.add_argument("--limit", type=int, help="keep this many training rows")
    add_reading(common)
    add_format(common)

    describe = subcommands.add_parser("describe", parents=[common], help="counts, lengths, what was dropped, samples")
    describe.add_argument("--model", default="smollm2-135m", help="whose tokenizer counts")
    describe.add_argument("--chat-template", metavar="NAME|FILE", help="plain, a template's name, or a Jinja file")
    describe.add_argument("--max-tokens", type=int, default=1024, help="longer examples are dropped")
    describe.add_argument("--json", action="store_true", help="everything as one JSON object")
    describe.add_argument("--samples", default=str(SAMPLES), metavar="N", help="rows shown with --json, or all")
    describe.add_argument(
        "--against",
        metavar="SUITE",
        help="count rows near its questions: python, python-suite, a task, a file, a table, a Hub data set",
    )
    describe.add_argument("--against-column", metavar="COLUMN", help="the suite's questions; else found by its name")
    add_objective(describe)
    describe.set_defaults(run=run_describe)

    export = subcommands.add_parser("export", parents=[common], help="write the training rows to a parquet file")
    export.add_argument("--out", type=Path, required=True, help="the file, compressed with zstd at its highest level")
    export.set_defaults(run=run_export)

    rows = subcommands.add_parser("rows", help="the rows that a run used: id, split, how often it was trained on")
    rows.add_argument("name", help="the run's id or folder")
    rows.set_defaults(run=run_rows)


def run_describe(options: argparse.Namespace) -> None:
    """Print what is in a data set."""
    from tuning.data.template import chat_template
    from tuning.models import tiny
    from tuning.models.weights import Choices, load_tokenizer, resolve
    from tuning.views.contamination import near_suite, near_test
    from tuning.views.describe import as_json, describe
    from tuning.views.suite_questions import suite_of

    if options.max_tokens < 1:
        raise UserError(f"--max-tokens is {options.max_tokens}, but must be positive.")
    count = sample_count(options.samples)
    name = str(tiny.build()) if options.model == tiny.NAME else options.model
    tokenizer = load_tokenizer(resolve(name, choices=Choices(options.chat_template)))
    template = chat_template(tokenizer)
    suite = suite_of(options.against, options.against_column) if options.against else None
    dataset = loaded(options, tokenizer=tokenizer, max_tokens=options.max_tokens)
    for note in template.notes_for(dataset.format.system):
        print(note, file=sys.stderr)
    found = [near_test(dataset)]
    if suite is not None:
        found.append(near_suite(dataset, options.against, suite.questions, suite.words()))
    if options.json:
        told = as_json(dataset, tokenizer, options.max_tokens, count)
        print(json.dumps(told | {"contamination": [each.to_dict() for each in found]}, ensure_ascii=True, indent=2))
        return
    print(describe(dataset, tokenizer, options.max_tokens, colour=sys.stdout.isatty()))
    print("\n" + "\n".join(str(each) for each in found))


def sample_count(text: str) -> int | None:
    """How many samples are wished for; None for all. Raises UserError for what is no number."""
    if text == "all":
        return None
    if not text.isdecimal():
        raise UserError(f"--samples is {text!r}, but must be a whole number or all.")
    return int(text)


def run_export(options: argparse.Namespace) -> None:
    """Write the training rows as instruction, input and output, or as messages where there are conversations."""
    dataset = loaded(options)
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


def export_parquet(rows: list[Row], out: Path) -> int:
    """Write rows to a zstd parquet at its highest level, in one step. Raises UserError if that cannot be done."""
    import pyarrow
    from pyarrow import parquet

    columns: dict[str, list[Any]] = {
        "instruction": [row.question for row in rows],
        "input": [row.input for row in rows],
        "output": [row.answer for row in rows],
    }
    if any(row.turns for row in rows):
        columns = exported_conversations(rows)
    try:
        with replacing(out) as fresh:
            parquet.write_table(pyarrow.table(columns), fresh, compression="zstd", compression_level=22)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}.") from error
    return len(rows)


def exported_conversations(rows: list[Row]) -> dict[str, list[Any]]:
    """Rows of which some are conversations or texts, as the columns ``messages`` (and ``text``) of a file."""
    columns: dict[str, list[Any]] = {"messages": []}
    texts = [row.turns[0].text if row.turns and row.turns[0].role == "text" else None for row in rows]
    for row, text in zip(rows, texts, strict=True):
        if text is not None:
            columns["messages"].append(None)
        elif row.turns:
            turns = [
                {
                    "role": turn.role,
                    "content": turn.text,
                    "weight": int(turn.trained) if turn.role == "assistant" else None,
                }
                for turn in row.turns
            ]
            columns["messages"].append(turns)
        else:
            asked = "\n".join(part for part in (row.question, row.input) if part)
            columns["messages"].append(
                [
                    {"role": "user", "content": asked, "weight": None},
                    {"role": "assistant", "content": row.answer, "weight": 1},
                ]
            )
    if any(text is not None for text in texts):
        columns["text"] = texts
    return columns
