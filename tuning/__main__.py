"""``python -m tuning``: train, resume, watch, list, stop, sweep, queue, runs, note, export, data, ingest."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuning import presets
from tuning.command_line import Parser, add_version, program
from tuning.errors import UserError
from tuning.exports.command import add_export_command
from tuning.ingest.cli import add_ingest_command
from tuning.runs import helper_process, run, start_adapter
from tuning.runs.progress import Reporter, duration, number
from tuning.training import parallel
from tuning.views.data_cli import add_data_commands
from tuning.views.run_commands import add_run_commands

USAGE_ERROR = 2
STOPPED = 130
WATCH_SECONDS = 0.2


def build_parser() -> argparse.ArgumentParser:
    """All commands; ``train`` has one option per field of :class:`presets.Config`."""
    parser = Parser(prog=program("python -m tuning"), description="Train LoRA adapters, and look after the runs.")
    add_version(parser)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)

    train = commands.add_parser("train", help="start a run here and watch it", epilog=preset_list())
    train.add_argument("--preset", default="quick", metavar="NAME", help="the recipe (default: quick)")
    train.add_argument("--run-dir", type=Path, metavar="DIR", help="the run's folder, which must not exist")
    train.add_argument("--name", metavar="NAME", help="what the run is called (default: date and preset)")
    train.add_argument("--notes", metavar="TEXT", default="", help="your words on the run, which are kept with it")
    train.add_argument("--quiet", action="store_true", help="print nothing but the run's folder")
    kinds = presets.field_types()
    for field in dataclasses.fields(presets.Config):
        add_option(train, field, kinds[field.name])
    train.set_defaults(run=run_train)

    resume = commands.add_parser("resume", help="go on from the newest checkpoint")
    resume.add_argument("name", help="the run's id or folder")
    resume.add_argument("--quiet", action="store_true", help="print nothing, and leave the processor to others first")
    resume.set_defaults(run=run_resume)

    watch = commands.add_parser("watch", help="follow a run until it ends")
    watch.add_argument("name", nargs="?", help="the run's id or folder (default: the newest)")
    watch.set_defaults(run=run_watch)

    commands.add_parser("list", help="all runs, newest first").set_defaults(run=run_list)

    stop = commands.add_parser("stop", help="let a run save and end")
    stop.add_argument("name", help="the run's id or folder")
    stop.set_defaults(run=run_stop)

    add_run_commands(commands)
    add_export_command(commands)
    add_data_commands(commands)
    add_ingest_command(commands)
    return parser


def add_option(parser: argparse.ArgumentParser, field: dataclasses.Field[Any], kind: Any) -> None:
    """The command-line option of one field. Values are checked by ``setting_values.convert``, with everything else."""
    option = "--" + field.name.replace("_", "-")
    help_text = field.metadata["help"].replace("%", "%%")
    if kind is bool:
        parser.add_argument(option, action=argparse.BooleanOptionalAction, default=None, help=help_text)
        return
    choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
    metavar = "{" + ",".join(choices) + "}" if choices else "VALUE"
    parser.add_argument(option, default=None, metavar=metavar, help=help_text)


def preset_list() -> str:
    """The presets in words."""
    return "Presets: " + "; ".join(f"{name} ({text})" for name, text in presets.DESCRIPTIONS.items()) + "."


def run_train(options: argparse.Namespace) -> int:
    """Make the run folder, print it, train."""
    overrides = {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(presets.Config)
        if getattr(options, field.name) is not None
    }
    config = presets.configure(options.preset, overrides)
    if options.name and options.run_dir:
        raise UserError("A run in a folder of its own has that folder's name: give --name or --run-dir.")
    folder = run.named_folder(options.name) if options.name else options.run_dir
    ranks = parallel.from_environment()
    if ranks.count > 1:
        from tuning.models.of_config import find_weights

        # Once the processes have met, transformers writes a converted model in the first of them alone.
        find_weights(config)
    if ranks.first:
        created = run.create(options.preset, config, folder, options.notes)
        if told := start_adapter.in_vain(config, created.config(), overrides):
            print(told, file=sys.stderr)
    if ranks.count > 1:
        parallel.join(ranks, parallel.device_name(config.device))
        created = run.Run(Path(ranks.share(str(created.path) if ranks.first else "")))
    if ranks.first:
        print(f"run {created.path}", flush=True)
    return work(created, ranks, options.quiet)


def run_resume(options: argparse.Namespace) -> int:
    """Go on with a run in this process."""
    found = run.find(options.name)
    found.config()
    ranks = parallel.from_environment()
    state = found.state().state if ranks.first else ""
    if state == "finished":
        raise UserError(f"Run {found.name} has finished already: start a new one.")
    if state == "running":
        raise UserError(f"Run {found.name} is running already: python -m tuning watch {found.name}")
    if options.quiet:
        helper_process.step_back()
    return work(found, ranks, options.quiet)


def work(chosen: run.Run, ranks: parallel.Ranks, quiet: bool) -> int:
    """Train in this process; the exit code."""
    from tuning.training.worker import work as train

    outcome = train(chosen, ranks, quiet=quiet)
    return 0 if outcome == "finished" else STOPPED


def run_watch(options: argparse.Namespace) -> int:
    """Show a run's events from the first to the last."""
    runs = run.all_runs()
    if options.name is None and not runs:
        raise UserError("There is no run to watch: start one with python -m tuning train.")
    chosen = run.find(options.name) if options.name else runs[0]
    reporter = Reporter(sys.stdout)
    offset = 0
    while True:
        working = chosen.working()
        news, offset = chosen.follow(offset)
        for event in news:
            reporter.show(event)
        if not working and not news:
            break
        time.sleep(WATCH_SECONDS)
    reporter.close()
    state = chosen.state()
    print(f"{chosen.name}: {state.state}. {state.message}")
    return 1 if state.state == "failed" else 0


def run_list(options: argparse.Namespace) -> int:
    """One line per run."""
    states = [found.state() for found in run.all_runs()]
    if not states:
        print(f"No runs in {run.runs_root()} yet.")
        return 0
    print(f"{'run':32} {'state':9} {'steps':>11} {'best loss':>9} {'took':>12}  data")
    for state in states:
        steps = f"{state.step}/{state.max_steps}"
        took = duration(state.seconds)
        print(f"{state.name:32} {state.state:9} {steps:>11} {number(state.best_loss):>9} {took:>12}  {state.data}")
    return 0


def run_stop(options: argparse.Namespace) -> int:
    """Ask a run's worker to save and end."""
    chosen = run.find(options.name)
    if not chosen.working():
        raise UserError(f"Run {chosen.name} is not running.")
    chosen.stop()
    print(f"{chosen.name} saves after its present step and ends.")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; a UserError becomes one line on standard error and exit code 2."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        options = build_parser().parse_args(arguments)
        return options.run(options) or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return USAGE_ERROR
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return STOPPED


if __name__ == "__main__":
    sys.exit(main())
