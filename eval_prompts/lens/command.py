"""``python -m eval_prompts adapter``: what an adapter does to the weights, in words and as a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_adapter_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to a command line."""
    adapter = commands.add_parser("adapter", help="what an adapter does to the weights, layer by layer")
    adapter.add_argument("adapter", help="adapter folder, Hub id, or 'starter'")
    adapter.add_argument("--model", default="smollm2-135m", help="its base: a preset, a local folder or a Hub id")
    adapter.add_argument(
        "--no-base", action="store_true", help="describe the adapter alone, without its base's weights"
    )
    adapter.add_argument(
        "--directions",
        action="store_true",
        help="also compare with the weights' own directions and look for intruder dimensions (a second a layer)",
    )
    adapter.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file as well")
    adapter.set_defaults(run=run_adapter)


def run_adapter(options: argparse.Namespace) -> int:
    """Print the report. Raises UserError if adapter or base cannot be read, or the file cannot be written."""
    from eval_prompts.lens import adapter_report
    from eval_prompts.models.adapter_source import find
    from tuning.models.weights import resolve

    folder = find(options.adapter)
    base = None if options.no_base else resolve(options.model).path

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty() or done == total:
            print(f"\r{done} of {total} layers", end="\n" if done == total else "", file=sys.stderr, flush=True)

    found = adapter_report.report(folder, base, directions=options.directions, on_progress=show)
    print(adapter_report.table(found))
    if options.json is not None:
        adapter_report.write_json(found, options.json)
    return 0
