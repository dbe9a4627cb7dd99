"""``python -m eval_prompts strength``: a task's score, and what is forgotten, at several strengths of the adapter."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval_prompts.asking import chosen
from eval_prompts.progress import Progress
from eval_prompts.report import check_writable, write_text
from eval_prompts.surveys.curve import STRENGTHS, check_scored, measure, strengths_of
from eval_prompts.surveys.texts import Work
from eval_prompts.tasks.catalogue import find_task
from tuning.errors import UserError
from tuning.exports.strength import export_at_strength

if TYPE_CHECKING:
    import argparse

    from eval_prompts.answers import Settings
    from eval_prompts.serving.lens import Lens
    from eval_prompts.tasks.task import Task
    from tuning.command_line import Parser

BARS = 30


def add(commands: argparse._SubParsersAction[Parser], common: Parser) -> None:
    """Add the command to a command line; ``common`` has the options that name the pair and the task."""
    command = commands.add_parser("strength", parents=[common], help="score and forgetting at several strengths")
    command.add_argument(
        "--strengths", default=",".join(f"{each:g}" for each in STRENGTHS), help="numbers from 0 to 2, with commas"
    )
    command.add_argument("--limit", type=int, help="only the first questions")
    command.add_argument("--jail", action="store_true", help="run what the sandbox lacks under bubblewrap")
    command.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file as well")
    command.add_argument("--keep", type=Path, metavar="FOLDER", help="write the adapter at the best strength here")


def run(
    options: argparse.Namespace,
    lens: Lens,
    load: Callable[[Lens], object],
    settings_of: Callable[[argparse.Namespace, Task], Settings],
) -> None:
    """Ask the task at every strength and print score and forgetting. Raises UserError where that cannot be done."""
    if not options.task:
        raise UserError("Name what is scored: --task NAME or FILE.")
    if options.sides != "both":
        raise UserError("The curve compares the adapter with its base: leave --sides out.")
    task = find_task(options.task)
    check_scored(task)
    strengths = strengths_of(options.strengths)
    if options.json is not None:
        check_writable(options.json.parent)
    questions = chosen(task, options.limit)
    with lens:
        load(lens)
        with Progress(0) as progress:
            work = Work(progress.of)
            found = measure(lens, task, questions, settings_of(options, task), strengths, work, options.jail)
        card = lens.status().adapter
    points, best = found["points"], found["best"]
    print("\n".join(curve(task.name, points, best, found.pop("tied"))))
    if options.json is not None:
        write_text(options.json, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
        print(options.json)
    if options.keep is not None:
        if best is None or card is None:
            raise UserError("No strength has a score, so none is the best: nothing was kept.")
        print(export_at_strength(card.path, options.keep, best))


def curve(task: str, points: Sequence[dict[str, Any]], best: float | None, tied: bool) -> list[str]:
    """The figures for a terminal, one line for each strength with a bar, the best one marked."""
    lines = [f"{task}: score with its 95% interval, and KL(base || tuned) on general questions (nats a token)"]
    for each in points:
        score, forgotten = each["score"], each["forgetting"]
        value = score["value"] if score else 0.0
        within = f"{score['interval'][0]:.2f} to {score['interval'][1]:.2f}" if score and score["interval"] else ""
        bar = "#" * round(BARS * min(1.0, max(0.0, value)))
        kl = f"{forgotten['value']:.4f}" if forgotten else "-"
        mark = "  <- best" if each["strength"] == best else ""
        told = f"{value:.3f}" if score else "-"
        lines.append(f"{each['strength']:>5g}  {told:>6} {within:>14}  KL {kl:>7}  {bar:<{BARS}}{mark}")
        if each["not_scored"]:
            lines.append(f"       {each['not_scored']} answers have no score")
    if tied:
        lines.append("The best point's interval overlaps others: more questions would be needed to tell them apart.")
    lines += [f"note: {note}" for note in dict.fromkeys(note for each in points for note in each["notes"])]
    return lines
