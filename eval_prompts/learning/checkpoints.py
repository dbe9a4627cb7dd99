"""``score --checkpoints RUN``: the checkpoints of a run, each scored on a task and on what is scored beside it.

The base is asked once. Every part is a scoring in the run's folder, which a later call goes on with or reads; what
came of it is kept with the run (:mod:`tuning.runs.scores`) and drawn on the Train tab.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval_prompts.learning import evidence
from eval_prompts.progress import Progress
from eval_prompts.scoring import plans
from eval_prompts.scoring import run as scoring_run
from eval_prompts.scoring.figures import task_figures
from eval_prompts.scoring.folder import PLAN, Scoring, State
from eval_prompts.scoring.pages import text_table
from eval_prompts.scoring.result import table_of
from eval_prompts.scoring.statistics import Interval
from eval_prompts.scoring.subject import Subject
from tuning.errors import UserError
from tuning.models import tiny
from tuning.models.weights import fingerprint
from tuning.runs import scores
from tuning.runs.record import record_of
from tuning.runs.run import Run, find, is_run
from tuning.runs.scores import TaskScore
from tuning.training.adapter import checkpoint_adapter

if TYPE_CHECKING:
    from eval_prompts.models.pair import Side
    from eval_prompts.serving.lens import Lens

FOLDER = "scored"
log = logging.getLogger(__name__)
Told = dict[str, Interval]
"""The score on each task."""


def score_checkpoints(
    options: argparse.Namespace,
    subjects: Sequence[Subject],
    new_lens: Callable[[argparse.Namespace], Lens],
    load: Callable[[Lens], Any],
) -> int:
    """Score all checkpoints that a run has kept, and print the table; the exit code. Raises UserError."""
    run = find(options.checkpoints)
    steps = checkpoint_adapter.steps(run)
    if not steps:
        raise UserError(f"Run {run.name} has kept no checkpoint: let it save one, or keep more (--keep-checkpoints).")
    adapters = [(step, checkpoint_adapter.write(run, step)) for step in steps]
    print(f"Checkpoints of {run.name} that are kept: {', '.join(map(str, steps))}.", file=sys.stderr)
    options.adapter = str(adapters[0][1])
    with new_lens(options) as lens:
        load(lens)
        base = scored(run, "base", subjects, lens, ("base",), options)
        plan = plans.of_subjects(subjects, options.samples, options.jail)
        for step, adapter in adapters:
            lens.reload(str(adapter))
            told = scored(run, f"step-{step:06d}", subjects, lens, ("tuned",), options)
            try:
                scores.keep(run.path, as_scores(step, subjects, told, base, plan))
            except OSError as error:
                raise UserError(f"The scores cannot be kept ({error.strerror}): make room and try again.") from error
    print_table(run, steps, subjects)
    return 0


def models_of_run(options: argparse.Namespace) -> None:
    """Have the options name the base and the adapter of the run whose checkpoints are scored. Raises UserError."""
    run = find(options.checkpoints)
    model = run.config().model
    options.model = str(tiny.build()) if model == tiny.NAME else model
    options.adapter, options.tuned_model = str(run.adapter), None
    if options.chat_template is None:
        options.chat_template = run.config().chat_template
    if options.thinking is None and run.config().thinking != "template":
        options.thinking = run.config().thinking
    options.sides = "both"


def scored(
    run: Run, name: str, subjects: Sequence[Subject], lens: Lens, sides: tuple[Side, ...], options: argparse.Namespace
) -> Told:
    """The scores of one side, asked as far as they are not there yet. Raises UserError where it does not end well."""
    folder = run.path / FOLDER / subjects[0].name / name
    found = Scoring(folder) if (folder / PLAN).is_file() else None
    if found is not None and not plans.same(
        found.plan(), subjects, lens.status(), options.samples, options.limit, options.jail
    ):
        shutil.rmtree(folder)
        found = None
    if found is None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)  # it was being made when everything ended
        found = plans.new_scoring(
            subjects, lens.status(), sides=sides, samples=options.samples, limit=options.limit, jail=options.jail,
            folder=folder,
        )  # fmt: skip
    if found.state()[0] is not State.FINISHED:
        print(name, file=sys.stderr)
        runner = scoring_run.Runner(found, subjects, lens)
        with Progress(runner.total) as progress:
            runner.on_progress = lambda state: progress.show(state.done)
            state, message = runner.run()
        if state is not State.FINISHED:
            raise UserError(f"{message} (the same command goes on)")
    side = sides[0]
    return {task.name: task_figures(task).sides[side].score for task in table_of(found).tasks.values()}


def as_scores(step: int, subjects: Sequence[Subject], told: Told, base: Told, plan: dict[str, Any]) -> list[TaskScore]:
    """What is kept with the run: the first task is its own, the others are scored beside it. The base's score is one of
    as many questions, or left out. Raises UserError where none of its own task's could be asked."""
    if not told[subjects[0].name].of:
        raise UserError(f"None of the questions of {subjects[0].title} could be asked at step {step}: choose another.")
    return [
        TaskScore(
            step=step,
            task=subject.name,
            title=subject.title,
            score=told[subject.name].value,
            low=told[subject.name].low,
            high=told[subject.name].high,
            questions=told[subject.name].of,
            base=base[subject.name].value if base[subject.name].of == told[subject.name].of else None,
            beside=at > 0,
            asked=scores.asked_of(plan, subject.name),
        )
        for at, subject in enumerate(subjects)
        if told[subject.name].of
    ]


def print_table(run: Run, steps: Sequence[int], subjects: Sequence[Subject]) -> None:
    """Print losses, scores and what was forgotten by step, and where the best one lies."""
    losses = {event["step"]: event["validation_loss"] for event in run.history() if event["event"] == "validation"}
    own, tasks = subjects[0].name, {subject.name for subject in subjects}
    # What else a step was scored on before would be another sum of what was forgotten.
    found = [one for one in scores.read(run.path) if one.step in steps and one.task in tasks]
    rows = [["step", "validation loss", subjects[0].title, "95%", *(["forgot, points"] if len(subjects) > 1 else [])]]
    for one in (one for one in found if one.task == own):
        loss, lost = losses.get(one.step), scores.forgotten(found, one.step)
        row = [
            f"{one.step:,}",
            "–" if loss is None else f"{loss:.4f}",
            f"{100 * one.score:.1f}%",
            f"{100 * one.low:.1f} to {100 * one.high:.1f}",
        ]
        rows.append(row + (["–" if lost is None else f"{100 * lost:+.1f}"] if len(subjects) > 1 else []))
    print("\n".join(text_table(rows)))
    best = max((one for one in found if one.task == own), key=lambda one: one.score)
    count = sum(one.score == best.score for one in found if one.task == own)
    also = f", as {count - 1} other{'s' if count > 2 else ''} did" if count > 1 else ""
    if len({one.questions for one in found if one.task == own}) > 1:
        also += " (not all steps could be asked as many, so that is not sure)"
    base = "" if best.base is None else f"; the base scores {100 * best.base:.1f}%"
    print(f"Step {best.step} scored best{also}, on {best.questions:,} questions{base}.")
    print(f"Use it: --adapter {checkpoint_adapter.place(run, best.step)}")


def keep_with_run(scoring: Scoring, adapter: Path | None) -> None:
    """Keep a finished scoring of both sides with the run whose best adapter answered; nothing is done for other
    adapters, where another adapter stood in for the base, the adapter was stronger or weaker than it was trained, or
    another one lies there by now."""
    plan = scoring.plan()
    run = run_of(adapter) if adapter is not None else None
    if run is None or set(plan["sides"]) != {"base", "tuned"} or plan["against"]:
        return
    if plan["fingerprints"]["adapter"] != fingerprint(run.adapter):
        log.warning("The scoring %s is not kept with the run %s: it is of another adapter", scoring.name, run.name)
        return
    step = int(record_of(run.adapter).get("steps") or 0)
    found = []
    for at, task in enumerate(table_of(scoring).tasks.values()):
        sides = task_figures(task).sides
        tuned, base = sides["tuned"].score, sides["base"].score
        if not tuned.of:
            continue
        found.append(
            TaskScore(
                step, task.name, task.title, tuned.value, tuned.low, tuned.high, tuned.of, base.value, at > 0,
                asked=scores.asked_of(plan, task.name),
            )
        )  # fmt: skip
    evidence.keep(scoring, run.adapter)
    try:
        scores.keep(run.path, found)
    except OSError:
        log.exception("The scores could not be kept with the run %s", run.name)


def run_of(adapter: Path) -> Run | None:
    """The run whose best adapter this is; None for any other."""
    folder = adapter.resolve()
    return Run(folder.parent) if folder.name == "adapter" and is_run(folder.parent) else None
