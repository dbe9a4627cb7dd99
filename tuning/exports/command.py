"""``python -m tuning export``: a run's adapter, or any other, for use elsewhere, with its certificate."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, get_args

from tuning.command_line import Parser
from tuning.errors import UserError
from tuning.exports.kinds import KINDS, QUESTIONS, Kind

if TYPE_CHECKING:
    from tuning.exports.formats import Exported

RED = 3
"""The exit code of an export whose certificate is red."""


def add_export_command(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command to a command line."""
    export = commands.add_parser(
        "export",
        help="an adapter, a merged model or a GGUF for use elsewhere, checked by what will run it",
        epilog="docs/export.md has five lines for each target. Exit code 3: written, but its certificate is red.",
    )
    export.add_argument("name", help="the run's id or folder, or an adapter's folder")
    export.add_argument("out", type=Path, help="a folder, or for adapters a file ending in .zip; must not exist")
    export.add_argument(
        "--as", dest="kind", choices=get_args(Kind), help="; ".join(f"{k}: {w}" for k, w in KINDS.items())
    )
    export.add_argument(
        "--precision", "--type", metavar="TYPE", help="merged: fp32, bf16, fp16; gguf: F32, F16, BF16, Q8_0, Q4_0, ..."
    )
    export.add_argument("--model", metavar="MODEL", help="the adapter's base, where it does not say so itself")
    export.add_argument(
        "--questions", type=int, default=QUESTIONS, metavar="N", help=f"held-out questions to check it on ({QUESTIONS})"
    )
    export.add_argument("--no-certificate", action="store_true", help="write it without checking it")
    export.add_argument("--events", action="store_true", help="tell progress and outcome as JSON lines")
    form = export.add_mutually_exclusive_group()
    form.add_argument("--merged", action="store_true", help="as --as merged --precision fp32 --no-certificate")
    form.add_argument("--half", action="store_true", help="the adapter in bfloat16: half the size")
    export.set_defaults(run=run_export)


def run_export(options: argparse.Namespace) -> int:
    """Write what was asked for; the exit code. Raises UserError for what cannot be written."""
    if options.merged and options.kind not in (None, "merged"):
        raise UserError(f"--merged and --as {options.kind} are two exports: name one.")
    if options.questions < 1:
        raise UserError("--questions is at least 1; --no-certificate leaves the check out.")
    plain = options.kind in (None, "adapter") and not options.merged
    if plain and (options.half or options.kind is None or options.out.suffix == ".zip"):
        return export_plain(options)
    if options.half:
        raise UserError(f"--half is for adapters: choose a precision for --as {options.kind}.")
    signal.signal(signal.SIGTERM, interrupted)
    exported = export_checked(options)
    if options.events:
        proof = exported.certificate.to_dict() if exported.certificate else None
        print(json.dumps({"path": str(exported.path), "certificate": proof, "notes": exported.notes}), flush=True)
    else:
        for line in exported.certificate.lines() if exported.certificate else exported.notes:
            print(line, file=sys.stderr)
        print(exported.path)
    return RED if exported.certificate and exported.certificate.colour == "red" else 0


def export_checked(options: argparse.Namespace) -> Exported:
    """Write an export with its certificate, telling how far it is."""
    from tuning.exports import formats, subject
    from tuning.progress import reporting

    def tell(text: str, fraction: float | None) -> None:
        print(json.dumps({"text": text, "fraction": fraction}), flush=True)

    with reporting(tell if options.events else None) as report:
        found = subject.find(options.name, options.model, report)
        kind: Kind = "merged" if options.merged else options.kind
        precision = "fp32" if options.merged else options.precision
        check = not (options.no_certificate or options.merged)
        return formats.export(found, options.out, kind, precision, report=report, check=check, most=options.questions)


def export_plain(options: argparse.Namespace) -> int:
    """Copy or zip an adapter as it is, unchecked."""
    from tuning.exports.export import best_adapter, export_adapter_of
    from tuning.exports.subject import find_adapter
    from tuning.runs.run import find as find_run
    from tuning.runs.run import is_run

    if options.precision:
        raise UserError("An adapter keeps its own numbers: leave out --precision, or say --half.")
    place = find_adapter(options.name)
    adapter = best_adapter(find_run(str(place))) if is_run(place) else place
    print(export_adapter_of(adapter, options.out, half=options.half))
    return 0


def interrupted(number: int, frame: FrameType | None) -> None:
    """End as Ctrl+C does, so that nothing half written stays."""
    raise KeyboardInterrupt
