"""``python -m eval_prompts score``: a scoring from the terminal, resumed where it was killed, and its gate."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval_prompts.judging import suite
from eval_prompts.learning.checkpoints import keep_with_run, models_of_run, score_checkpoints
from eval_prompts.models.adapters import read_card
from eval_prompts.progress import Progress
from eval_prompts.report import check_writable, write_text
from eval_prompts.scoring import plans, run
from eval_prompts.scoring.battery import battery_of, beside
from eval_prompts.scoring.card import card_of
from eval_prompts.scoring.figures import figures_of
from eval_prompts.scoring.folder import Scoring, State, find
from eval_prompts.scoring.forgetting import FORGETTING
from eval_prompts.scoring.gate import checks, exit_code, junit
from eval_prompts.scoring.judge.command import people_of
from eval_prompts.scoring.judge.pairs import kept_lines
from eval_prompts.scoring.pages import (
    difference_line,
    figures_rows,
    forgetting_rows,
    parts_line,
    parts_rows,
    side_titles,
    text_table,
)
from eval_prompts.scoring.result import copy_results, report, table_of
from eval_prompts.scoring.subject import Subject, named_subject, of_suite
from eval_prompts.tasks.catalogue import find_task
from eval_prompts.tasks.of_adapter import suite_prompt, take_adapter_of
from eval_prompts.tasks.task import Task
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.answers import Settings
    from eval_prompts.models.adapters import AdapterCard
    from eval_prompts.models.pair import Side
    from eval_prompts.serving.lens import Lens

SIDES: dict[str, tuple[Side, ...]] = {
    "both": ("base", "tuned"),
    "base,tuned": ("base", "tuned"),
    "base": ("base",),
    "tuned": ("tuned",),
}
KEPT = (
    "model", "adapter", "tuned_model", "device", "precision", "quantize", "prefer_hub", "chat_template", "thinking",
    "generation_defaults", "trust_remote_code",
)  # fmt: skip
"""Options that load the same models again."""
OF_THE_PLAN = {
    "task": None, "suite": None, "limit": None, "samples": 1, "also": None, "alone": False, "forgetting": None,
    "jail": False, "sides": "both", "max_new_tokens": None, "temperature": None, "top_p": None, "seed": None,
}  # fmt: skip
"""Options that a scoring is begun with, and their defaults: whoever goes on with it has them already."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What ``score`` takes beside the options of all commands."""
    parser.add_argument("--suite", type=Path, help="questions with tests, in the format of MBPP or HumanEval")
    parser.add_argument("--limit", type=int, help="only the first questions")
    parser.add_argument("--samples", type=int, default=1, help="answers to each question; more than one need warmth")
    parser.add_argument(
        "--also", "--battery", action="append", metavar="TASK", help="score this task too, to see what got worse"
    )
    parser.add_argument("--alone", action="store_true", help="this task alone, without its battery")
    parser.add_argument(
        "--forgetting",
        action=argparse.BooleanOptionalAction,
        help="read neutral prose and code under both sides; done with --task unless --alone",
    )
    parser.add_argument("--jail", action="store_true", help="run what the sandbox lacks under bubblewrap")
    parser.add_argument("--out", type=Path, help="write the score as JSON to this file, and every answer as CSV")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report as one HTML page")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="append the summary in Markdown to this file")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write what the gate found as JUnit XML")
    parser.add_argument("--checkpoints", metavar="RUN", help="score every checkpoint that this training run has kept")
    parser.add_argument("--resume", metavar="NAME|FOLDER", help="go on with a scoring that was stopped or killed")
    parser.add_argument(
        "--fail-if-worse",
        nargs="?",
        type=float,
        const=0.0,
        metavar="POINTS",
        help="exit with 1 where a task is shown to have lost (that many points or more), or a habit got worse",
    )
    parser.add_argument(
        "--fail-unless-better", action="store_true", help="exit with 3 unless the task is shown to be better"
    )


def score(
    options: argparse.Namespace,
    settings_of: Callable[[argparse.Namespace, Task], Settings],
    new_lens: Callable[[argparse.Namespace], Lens],
    load: Callable[[Lens], Any],
) -> int:
    """Score, tell and gate; returns the exit code. Raises UserError, also where the scoring did not come to its end."""
    gated = options.fail_if_worse is not None or options.fail_unless_better
    if options.junit is not None and not gated:
        raise UserError("--junit writes what a gate found: add --fail-if-worse or --fail-unless-better.")
    if options.fail_if_worse is not None and not 0 <= options.fail_if_worse <= 100:
        raise UserError("The points of --fail-if-worse are from 0 to 100.")
    sides = SIDES[options.sides]
    if options.checkpoints:
        wrong = [name for name in ("resume", "out", "report", "summary", "forgetting") if getattr(options, name)]
        if wrong or gated or len(sides) < 2:
            name = wrong[0] if wrong else "sides" if len(sides) < 2 else "fail-if-worse"
            told = "each checkpoint is asked by itself"
            told = told if name == "forgetting" else "its table is printed and kept with the run"
            raise UserError(f"--checkpoints does not go with --{name}: {told}.")
        models_of_run(options)
        return score_checkpoints(options, chosen(options, settings_of), new_lens, load)
    if len(sides) < 2 and gated:
        raise UserError("A gate compares both sides: leave out --sides.")
    if len(sides) < 2 and options.forgetting:
        raise UserError("--forgetting compares both sides: leave out --sides.")
    for path in filter(None, (options.out, options.report, options.summary, options.junit)):
        check_writable(path.parent)
    if options.resume:
        scoring = find(options.resume)
        plan = scoring.plan()
        if told := not_used(options, plan):
            print(told, file=sys.stderr)
        if scoring.state()[0] is State.FINISHED:
            return tell(scoring, options)
        subjects = plans.subjects_of(plan)
        options = argparse.Namespace(**vars(options) | plan["command"])
        options.sides = ",".join(plan["sides"])
    else:
        scoring, subjects = None, chosen(options, settings_of)
    with new_lens(options) as lens:
        status = load(lens)
        if scoring is None:
            kept = {name: getattr(options, name) for name in KEPT}
            scoring = plans.new_scoring(
                subjects, status, sides=sides, samples=options.samples, limit=options.limit, jail=options.jail,
                command=kept, figures=figures_asked(options),
            )  # fmt: skip
        print(f"scoring {scoring.name} (kept in {scoring.path})", file=sys.stderr)
        runner = run.Runner(scoring, subjects, lens)
        with Progress(runner.total) as progress:
            runner.on_progress = lambda state: progress.show(state.done, left(state))
            state, message = runner.run()
        if state is State.FINISHED and status.adapter is not None:
            keep_with_run(scoring, status.adapter.path)
    if state is not State.FINISHED:
        raise UserError(f"{message} (score --resume {scoring.name})")
    return tell(scoring, options)


def not_used(options: argparse.Namespace, plan: Mapping[str, Any]) -> str:
    """Which of the options a scoring that is gone on with does not heed, in a sentence; '' where it heeds all."""
    names = [name for name, default in OF_THE_PLAN.items() if getattr(options, name, default) != default]
    defaults = {"model": "smollm2-135m", "precision": "auto"}
    for name in KEPT:
        value = getattr(options, name, None)
        if value not in (None, False, defaults.get(name)) and value != plan["command"].get(name, value):
            names.append(name)
    if not names:
        return ""
    flags = ", ".join("--" + name.replace("_", "-") for name in names)
    return f"--resume goes on as the scoring was begun, so this is not used: {flags}."


def tuned_card(options: argparse.Namespace) -> AdapterCard | None:
    """What the adapter of the options says of itself; None where none answers. Raises UserError for a bad one."""
    if options.tuned_model or options.sides == "base":
        return None
    return read_card(options.adapter or "starter")


def left(progress: run.Progress) -> str:
    """How long the rest takes, in words."""
    if progress.seconds_left is None:
        return ""
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    return f"{minutes} min left" if minutes else f"{seconds} s left"


def chosen(options: argparse.Namespace, settings_of: Callable[[argparse.Namespace, Task], Settings]) -> list[Subject]:
    """What the options name. Raises UserError."""

    def settings(task: Task) -> Settings:
        return settings_of(options, task)

    if options.suite is None and options.task is None:
        raise UserError("Name what is to be scored: --suite FILE, or --task NAME or FILE.")
    if options.suite is not None:
        if options.task:
            prompt = find_task(options.task)
        else:
            prompt, said = suite_prompt(tuned_card(options))
            print(said, file=sys.stderr)
        own, names = of_suite(options.suite, prompt, settings(prompt), options.limit), list(options.also or ())
    else:
        own = named_subject(options.task, settings, options.limit)
        take_adapter_of(own.task, options)
        # Many checkpoints are scored one after the other: beside each, only what the task's own file names.
        battery = own.task.battery if options.checkpoints else battery_of(own.task)
        names = [*(() if options.alone else battery), *(options.also or ())]
    if len(own.questions) < own.whole:
        print(f"Only the first {len(own.questions):,} of {own.whole:,} questions are asked.", file=sys.stderr)
    return beside(own, names, settings, options.limit)


def figures_asked(options: argparse.Namespace) -> list[str]:
    """What is measured besides: forgetting, with a task's battery, or where it is asked for."""
    wanted = options.forgetting
    if wanted is None:
        wanted = options.suite is None and not options.alone
    return [FORGETTING] if wanted else []


def tell(scoring: Scoring, options: argparse.Namespace) -> int:
    """Print what a finished scoring came to, write what was asked for, and return the gate's exit code."""
    table = table_of(scoring)
    figures = figures_of(table)
    card = card_of(figures)
    titles = side_titles(table.plan)
    content = json.loads((scoring.path / "score.json").read_text("utf-8"))
    if "p_value" in content:
        print(suite.as_table(content))
    for task in figures.tasks:
        lines = text_table(figures_rows(task, titles))
        print("\n".join(["", f"{task.title}: {task.questions:,} questions", *lines]))
        if told := difference_line(task):
            print(told)
        if task.parts:
            print("\n".join(["", *text_table(parts_rows(task, titles)), parts_line(task)]))
    if forgotten := forgetting_rows(figures, titles):
        print("\n".join(["", *text_table(forgotten)]))
    print()
    for line in card.lines:
        print(line)
    for line in kept_lines(scoring):
        print(f"  judge: {line}")
    if options.out is not None:
        for path in copy_results(scoring, options.out):
            print(path)
    if options.report is not None:
        write_text(options.report, report(scoring, people_of(table.plan)))
        print(options.report)
    if options.summary is not None:
        before = options.summary.read_text("utf-8") if options.summary.is_file() else ""
        write_text(options.summary, before + (scoring.path / "summary.md").read_text("utf-8") + "\n")
        print(options.summary)
    found = checks(figures, card, options.fail_if_worse, options.fail_unless_better)
    if options.junit is not None:
        write_text(options.junit, junit(found, figures, card))
        print(options.junit)
    for check in found:
        if check.problem:
            print(f"gate: {check.problem}", file=sys.stderr)
    return int(exit_code(found))
