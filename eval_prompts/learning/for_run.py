"""``python -m eval_prompts.learning.for_run``: a training run has answers made and judged in a process of its own.

The request is one line of JSON on the standard input; the answers are a scoring in the folder that it names, which a
later request for the same goes on with. When the input closes, whoever asked is gone, and so is this process.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval_prompts.scoring import plans, run
from eval_prompts.scoring.folder import PLAN, Scoring, State
from eval_prompts.scoring.subject import Subject, of_task
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.local import LocalLoader
from eval_prompts.tasks.catalogue import find_task
from eval_prompts.tasks.held_out import as_questions
from eval_prompts.tasks.questions import make_questions
from eval_prompts.tasks.scorers.names import make
from eval_prompts.tasks.task import Task
from tuning.errors import UserError
from tuning.models import tiny
from tuning.models.weights import Choices
from tuning.presets import Config
from tuning.runs import helper_process
from tuning.runs.run import Run
from tuning.training import used_rows

if TYPE_CHECKING:
    from eval_prompts.answers import Settings
    from eval_prompts.tasks.scorers.base import Scorer

TRAINING = "training-questions"
NO_CHECK = (
    "No training row of {source} has an assertion to check answers by: name a task with --checked-by, or learn from "
    "the data alone (--objective sft)."
)


@dataclass(frozen=True)
class Request:
    """``adapter`` answers, or the base without one. ``task`` is what is asked; without it the run's training rows,
    which ``checked_by`` judges, or their own assertions. ``folder`` is where the answers lie."""

    run: str
    folder: str
    adapter: str | None = None
    task: str | None = None
    checked_by: str | None = None
    samples: int = 1
    temperature: float = 0.0
    seed: int = 0
    limit: int | None = None
    max_new_tokens: int | None = None


def loader_of(config: Config, adapter: str | None) -> LocalLoader:
    """What loads the run's base and an adapter as the run trains them: in full precision where that is on a CPU."""
    thinking = {"template": None, "on": True, "off": False}[config.thinking]
    device = None if config.device == "auto" else config.device
    return LocalLoader(
        str(tiny.build()) if config.model == tiny.NAME else config.model,
        adapter,
        device=device,
        quantize=None if config.quantize == "none" else config.quantize,
        precision="fp32" if device in (None, "cpu") and not has_accelerator() else "auto",
        choices=Choices(config.chat_template, thinking, config.trust_remote_code),
    )


def has_accelerator() -> bool:
    """Whether answers are computed elsewhere than on the CPU."""
    from tuning.models.device import pick_device

    return pick_device(None).name != "cpu"


def training_task(folder: Path, config: Config, checked_by: str | None) -> Task:
    """The training rows of a run that can be checked, as a task in the run's prompt format.

    Raises UserError where none can, and where a row is nothing that the task's scorers can judge.
    """
    from tuning.data.dataset import load

    data = load(
        config.data,
        empty_input_only=config.empty_input_only,
        reading=config.reading,
        wish=config.format_wish,
        prompt_format=used_rows.prompt_format(folder),
    )
    used = set(used_rows.before(folder).get("train", ()))
    rows = [row for row in data.train if row.id in used]
    judged_by = find_task(checked_by) if checked_by else None
    if judged_by is None:
        rows = [row for row in rows if row.check]
    if not rows:
        raise UserError(NO_CHECK.format(source=Path(config.data).name))
    asked = as_questions(rows, data)
    scorers = judged_by.scorers if judged_by else (make("python"),)
    usable = [(at, row) for at, row in enumerate(asked.rows, start=1) if can_judge(row, scorers)]
    if judged_by is None:
        usable = [(at, row) for at, row in usable if row.get("tests")]
    if not usable or not scorers:
        if judged_by is not None:
            raise UserError(
                f"The scorers of {judged_by.name} judge none of the training rows of {Path(config.data).name}: choose "
                "another task with --checked-by."
            )
        raise UserError(NO_CHECK.format(source=Path(config.data).name))
    file = judged_by.file if judged_by else None
    questions = make_questions(
        usable, asked.format, scorers, source=Path(config.data).name, unit="row", folder=file.parent if file else None
    )
    return Task(TRAINING, "Training questions", format=asked.format, questions=questions, scorers=scorers, file=file)


def can_judge(row: Mapping[str, Any], scorers: Sequence[Scorer]) -> bool:
    """Whether a row has what the scorers need."""
    return all(
        (not scorer.needs_reference or row.get("answer")) and all(row.get(column) for column in scorer.columns)
        for scorer in scorers
    )


def subject_of(request: Request, config: Config) -> Subject:
    """What is asked. Raises UserError where that cannot be."""
    from dataclasses import replace

    def settings(task: Task) -> Settings:
        changes: dict[str, Any] = {"temperature": request.temperature, "seed": request.seed}
        if request.max_new_tokens:
            changes["max_new_tokens"] = request.max_new_tokens
        return replace(task.settings, **changes)

    if request.task is not None:
        task = find_task(request.task)
        return of_task(task, {"task": request.task}, settings(task), request.limit)
    task = training_task(Path(request.run), config, request.checked_by)
    return of_task(task, {"run": request.run}, settings(task), request.limit)


def work(request: Request) -> tuple[State, str]:
    """Have everything answered and judged; how it ended. Raises UserError for what cannot be asked."""
    config = Run(Path(request.run)).config()
    subject = subject_of(request, config)
    folder = Path(request.folder)
    side: Any = "base" if request.adapter is None else "tuned"
    with Lens(loader_of(config, request.adapter)) as lens:
        lens.start()
        lens.wait_ready()
        scoring = Scoring(folder) if (folder / PLAN).is_file() else None
        if scoring is not None and not plans.same(
            scoring.plan(), [subject], lens.status(), request.samples, request.limit
        ):
            shutil.rmtree(folder)  # begun with a task, data or models that have changed since: nothing of it counts
            scoring = None
        if scoring is None:
            scoring = plans.new_scoring(
                [subject], lens.status(), sides=(side,), samples=request.samples, limit=request.limit, folder=folder
            )
        return run.Runner(scoring, [subject], lens).run()


def end_with_parent() -> None:
    """Wait for the end of the input in a thread, and then leave at once: answers that are written stay."""

    def wait() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="parent").start()


def main() -> int:
    """Answer one request; prints how it ended. The exit code is 0, or 2 for what the user can mend."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    request = Request(**json.loads(sys.stdin.readline()))
    end_with_parent()
    helper_process.step_back()
    try:
        state, message = work(request)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    if state is not State.FINISHED:
        print(f"error: {message}", file=sys.stderr, flush=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
