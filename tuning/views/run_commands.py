"""``python -m tuning sweep|queue|runs|note``: several runs, one after the other, and beside each other."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tuning.errors import UserError
from tuning.runs import lock, queue, run
from tuning.runs.sweep import read_sweep
from tuning.views import run_table

COLUMNS = (
    ("", "mark"), ("run", "run"), ("settings that differ", "differs"), ("loss", "loss"), ("test", "test_loss"),
    ("score", "score"), ("on", "task"), ("base", "base"), ("forgot", "forgotten"), ("notes", "notes"),
)  # fmt: skip
WIDEST = 72


def add_run_commands(commands: Any) -> None:
    """Add the commands to a command line's."""
    sweep = commands.add_parser("sweep", help="queue the runs that a YAML file describes: a grid, a list, or both")
    sweep.add_argument("file", type=Path, help="such as {preset: quick, grid: {rank: [8, 16]}, runs: [{alpha: 64}]}")
    sweep.add_argument("--show", action="store_true", help="print the runs, and queue nothing")
    sweep.set_defaults(run=run_sweep)

    waiting = commands.add_parser("queue", help="the runs that wait; and: go, pause, clear")
    waiting.add_argument("do", nargs="?", choices=("show", "go", "pause", "clear", "work"), default="show")
    waiting.set_defaults(run=run_queue)

    table = commands.add_parser("runs", help="all runs beside each other: what differs, what came of it, the best")
    table.add_argument("names", nargs="*", metavar="RUN", help="these runs alone")
    table.set_defaults(run=run_runs)

    note = commands.add_parser("note", help="keep your words on a run with it")
    note.add_argument("name", help="the run's id or folder")
    note.add_argument("words", nargs="*", help="without any, those there are are printed")
    note.set_defaults(run=run_note)


def run_sweep(options: argparse.Namespace) -> int:
    """Queue a sweep's runs, or print them."""
    plans = read_sweep(options.file)
    for plan in plans:
        told = ", ".join(f"{name} {value}" for name, value in plan.overrides.items())
        print(f"{plan.name}: {plan.preset}{', ' if told else ''}{told}")
    if options.show:
        return 0
    count = queue.add(plans)
    told = f"{len(plans)} queued; {runs_wait(count)}"
    if queue.load().paused:
        print(f"{told}, and the queue is paused: python -m tuning queue go.")
    else:
        print(f"{told}. python -m tuning queue shows them, queue pause stops after one.")
    return 0


def run_queue(options: argparse.Namespace) -> int:
    """Show the queue, or change it."""
    if options.do == "work":
        queue.work()
        return 0
    if options.do == "clear":
        print(f"Taken out of the queue: {queue.clear()}.")
        return 0
    if options.do in ("go", "pause"):
        queue.pause(options.do == "pause")
    found = queue.load()
    for number, plan in enumerate(found.waiting, start=1):
        told = ", ".join(f"{name} {value}" for name, value in plan.overrides.items())
        print(f"{number}. {plan.name or plan.preset}: {told or 'as the preset has it'}")
    for problem in found.problems:
        print(f"not started: {problem}")
    print(queue_words(found))
    return 0


def queue_words(found: queue.Queue) -> str:
    """How the queue stands."""
    if not found.waiting:
        return "No run waits; the queue is paused: python -m tuning queue go." if found.paused else "No run waits."
    count = runs_wait(len(found.waiting))
    if found.paused:
        return f"{count}; the queue is paused: python -m tuning queue go."
    if not queue.working():
        return f"{count}, and nobody works on the queue: python -m tuning queue go."
    training = lock.current()
    return f"{count}; {training.name if training else 'another run'} goes first."


def runs_wait(count: int) -> str:
    """How many runs wait, in words."""
    return f"{count} {'run waits' if count == 1 else 'runs wait'}"


def run_runs(options: argparse.Namespace) -> int:
    """Print the table."""
    chosen = [run.find(name) for name in options.names] or run.all_runs()
    if not chosen:
        raise UserError(f"No runs in {run.runs_root()} yet: start one with python -m tuning train.")
    rows, why = run_table.table(chosen)
    cells = [[title for title, _ in COLUMNS]]
    for row in rows:
        told = row | {"mark": "*" if row["best"] else "", "differs": row["differs"] or "nothing"}
        cells.append([short(str(told[key])) for _, key in COLUMNS])
    kept = [at for at in range(len(COLUMNS)) if any(line[at] not in ("", "-") for line in cells[1:])]
    widths = {at: max(len(line[at]) for line in cells) for at in kept}
    for line in cells:
        print("  ".join(line[at].ljust(widths[at]) for at in kept).rstrip())
    print(f"* best by {why}" if why else "No best run is marked: no two runs can be compared yet.")
    return 0


def short(text: str) -> str:
    """A cell in one line."""
    line = " ".join(text.split())
    return line if len(line) <= WIDEST else f"{line[: WIDEST - 1]}…"


def run_note(options: argparse.Namespace) -> int:
    """Keep or print a run's notes."""
    chosen = run.find(options.name)
    if options.words:
        run.set_notes(chosen, " ".join(options.words))
    print(chosen.settings()["notes"] or f"{chosen.name} has no notes.")
    return 0
