"""``python -m eval_prompts adapter`` and ``tokens``: what changed in the weights and in the words, for a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from eval_prompts.lens.token_lens import wanted_words

if TYPE_CHECKING:
    import argparse

    from eval_prompts.lens.token_lens import Reading
    from tuning.command_line import Parser

MOST_CHANGED = 10


def add_adapter_command(commands: argparse._SubParsersAction[Parser]) -> None:
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
    from eval_prompts.lens import adapter_report, report_words
    from eval_prompts.models.adapter_source import find
    from tuning.models.weights import resolve

    folder = find(options.adapter)
    base = None if options.no_base else resolve(options.model).path

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty() or done == total:
            print(f"\r{done} of {total} layers", end="\n" if done == total else "", file=sys.stderr, flush=True)

    found = adapter_report.report(folder, base, directions=options.directions, on_progress=show)
    print(report_words.table(found))
    if options.json is not None:
        adapter_report.write_json(found, options.json)
    return 0


def print_tokens(readings: Mapping[str, Reading], file: Path | None) -> None:
    """Print the figures of some texts, where two answers part, and the tokens that changed most; write all to ``file``.

    Raises UserError if the file cannot be written.
    """
    from tuning.errors import UserError

    for name, reading in readings.items():
        figures = reading.figures
        print(f"── {name} ── {reading.length}, after a prompt of {reading.prompt_tokens}")
        print(f"perplexity base {figures.perplexity_base:.3f}, tuned {figures.perplexity_tuned:.3f}")
        divergence = "" if figures.mean_kl is None else f"KL(base || tuned) {figures.mean_kl:.4f} nats a token, "
        print(f"{divergence}same first choice {figures.same_top:.1%}")
        print("".join(f"{note}\n" for note in reading.notes), end="")
        if name in ("base", "tuned") and len(readings) > 1:
            print(parting_words(reading))
        print(f"{'token':>16} {'log p':>8}  base wanted               tuned wanted")
        for place in most_changed(reading):
            entry = reading.scores[place]
            wanted = [
                " ".join(f"{reading.choices[side][token]!r} {odds:.0%}" for token, odds in thought.top[:2])
                for side, thought in entry.sides
            ]
            print(f"{reading.pieces[place]!r:>16} {entry.change:>+8.2f}  {wanted[0]:<25} {wanted[1]}")
        print()
    if file is not None:
        content = {name: reading.to_dict() for name, reading in readings.items()}
        try:
            file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise UserError(f"{file} cannot be written ({error.strerror}): choose another place.") from error


def most_changed(reading: Reading) -> list[int]:
    """The places whose tokens' log-probability changed most, in the order of the text."""
    places = sorted(range(len(reading.scores)), key=lambda place: -abs(reading.scores[place].change))
    return sorted(places[:MOST_CHANGED])


def parting_words(reading: Reading) -> str:
    """Where the two models' first choices part along an answer for the first time."""
    place = reading.parts_at
    if place is None:
        return "they never part: both models' first choice is the same at every token"
    return f"here they part, at {reading.pieces[place]!r}: {wanted_words(reading, place)}"
