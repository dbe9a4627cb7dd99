"""The training loop: fit, validate, finish. One page; every part it uses is a room of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tuning.errors import UserError
from tuning.files import without_folder
from tuning.kernels.memory import is_out_of_memory, used_megabytes
from tuning.runs import start_adapter
from tuning.training import answering, checkpoint, sample, task_score
from tuning.training.adapter import lora, pissa
from tuning.training.adapter.keeping import write_adapter
from tuning.training.rounds import Rounds
from tuning.training.setup import Job
from tuning.training.step import StepStats, measured, train_step, try_longest


def fit(job: Job, should_stop: Callable[[], bool]) -> str:
    """Train to the end, or until ``should_stop``; returns 'finished' or 'stopped'. Everything is saved on return."""
    config, progress = job.config, job.progress
    rounds = Rounds(job, job.rows, answering.answer) if config.objective == "verified" else None
    if progress.step == 0:
        try_longest(job.session)
        validate(job)
        show_sample(job)
    job.steps_began = time.monotonic()
    for step in range(progress.step, config.max_steps):
        if not score(job, should_stop):
            return "stopped"
        if falls(job) or patience_is_over(job):
            break
        if rounds and not rounds.enter(step, should_stop):
            return "stopped"
        stats = train_step(job.session, step, should_stop())
        stop = stats.stop or (job.session.ranks.count == 1 and should_stop())  # several agree in the step after
        report(job, stats)
        last = stats.step == config.max_steps
        scored_next = task_score.wanted(config, stats.step)
        asked_for = last or due(config.validate_every, stats.step)
        if asked_for or scored_next:
            validate(job, counts=asked_for)
        if due(config.sample_every, stats.step):
            show_sample(job)
        early = 0 < config.patience <= progress.without_gain
        next_round = rounds is not None and rounds.begins(stats.step)
        # What is asked next is asked of what is saved.
        if last or stop or early or next_round or scored_next or due(config.save_every, stats.step):
            save(job)
        if stop and not last:
            return "stopped"
    if not score(job, should_stop, last=True):
        return "stopped"
    finish(job)
    return "finished"


def score(job: Job, should_stop: Callable[[], bool], last: bool = False) -> bool:
    """Score the adapter as it stands on the run's task, where that is due, and keep it if none was better; False if it
    is to stop first."""
    progress = job.progress
    if not task_score.wanted(job.config, progress.step, last) or progress.scored_at == progress.step:
        return True
    if not task_score.measure(job, answering.answer, should_stop):
        return False
    if progress.best_step == progress.step:
        keep_adapter(job)
    return True


def falls(job: Job) -> bool:
    """Whether the run ends because its score has not got better for long enough; then that is said."""
    most, without = job.config.stop_when_score_falls, job.progress.without_score_gain
    if not 0 < most <= without:
        return False
    task = without_folder(str(job.config.score_on))
    job.session.say(f"Stopped early: {without} scores on {task} that were no better than the best.")
    return True


def patience_is_over(job: Job) -> bool:
    """Whether the run ends because its loss has not got better for long enough; then that is said."""
    without = job.progress.without_gain
    if not 0 < job.config.patience <= without:
        return False
    job.session.say(f"Stopped early: {without} validations without a better loss.")
    return True


def validate(job: Job, counts: bool = True) -> None:
    """Measure the validation loss, keep the adapter if it is the best so far, and count validations without gain, of
    which one beside a score ``counts`` for nothing.

    Without validation rows the newest adapter counts as the best.
    """
    progress = job.progress
    if not job.validation:
        if job.config.score_on is None:
            keep_adapter(job)
        return
    began = time.monotonic()
    found = measured(job.session, job.validation)
    loss = found.pop("loss")
    if not math.isfinite(loss):
        raise UserError(
            f"The validation loss after step {progress.step} is not a finite number: lower --learning-rate (now "
            f"{job.config.learning_rate:g}). The last good adapter is kept."
        )
    if progress.step == 0:
        progress.loss_before = loss
    best = progress.best_loss is None or loss < progress.best_loss
    progress.without_gain = 0 if best else progress.without_gain + counts
    progress.last_loss = loss
    kept = best and job.config.score_on is None
    if best:
        progress.best_loss = loss
    if kept:
        progress.best_step = progress.step
        keep_adapter(job)
    seconds = round(time.monotonic() - began, 3)
    job.emit("validation", step=progress.step, validation_loss=loss, best=best, kept=kept, seconds=seconds, **found)


def keep_adapter(job: Job, **tested: float) -> None:
    """Write the adapter as it is, with its card; only the first process does."""
    if not job.session.ranks.first:
        return
    progress = job.progress
    chosen = bool(job.validation) or job.config.score_on is not None
    write_adapter(job, job.adapter, progress.best_step if chosen else progress.step, **tested)


def report(job: Job, stats: StepStats) -> None:
    """Write a step's event."""
    config, progress = job.config, job.progress
    progress.step = stats.step
    progress.trained_tokens += stats.trained_tokens
    progress.seconds += stats.seconds
    per_step = (time.monotonic() - job.steps_began) / (stats.step - job.first_step)
    job.emit(
        "step",
        step=stats.step,
        max_steps=config.max_steps,
        epoch=round(stats.step * config.batch_size / job.train_rows, 4),
        loss=stats.loss,
        **stats.figures,
        learning_rate=stats.learning_rate,
        grad_norm=stats.grad_norm,
        trained_tokens=progress.trained_tokens,
        tokens=stats.tokens,
        computed_tokens=stats.computed_tokens,
        tokens_per_second=round(stats.tokens / stats.seconds, 1),
        seconds=round(stats.seconds, 3),
        memory_mb=used_megabytes(job.session.forward.head.device.type),
        eta_seconds=round(per_step * (config.max_steps - stats.step), 1),
    )


def show_sample(job: Job) -> None:
    """Answer the sample question with the adapter as it is, where samples are wished."""
    config = job.config
    if not config.sample_every or not job.session.ranks.first:
        return
    try:
        found = sample.answer(
            job.session.model, job.tokenizer, config.sample_question, config.sample_tokens, job.prompt_format
        )
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        job.session.say("No memory for a sample answer: training goes on without it.")
        return
    job.emit(
        "sample",
        step=job.progress.step,
        question=config.sample_question,
        answer=found.text,
        tokens=found.tokens,
        ended=found.ended,
    )


def save(job: Job) -> None:
    """Write a checkpoint; only the first process does."""
    if not job.session.ranks.first:
        return
    folder = job.folder / "checkpoints"
    folder.mkdir(exist_ok=True)
    path = checkpoint.save(folder, job.session, job.progress, job.identity, job.config.keep_checkpoints)
    if not job.validation and job.config.score_on is None:
        keep_adapter(job)
    job.emit("checkpoint", step=job.progress.step, checkpoint=path.name)


def finish(job: Job) -> None:
    """Measure the base and the best adapter on the test split, and write both into the adapter's card."""
    progress = job.progress
    job.session.ranks.wait()
    tested = {}
    if job.test:
        with beginning(job):
            tested["test_loss_before"] = measured(job.session, job.test)["loss"]
    lora.load_factors(job.session.model, job.adapter)
    if job.test:
        after = measured(job.session, job.test)
        tested["test_loss_after"] = after.pop("loss")
        tested |= {f"test_{name}": value for name, value in after.items()}
    keep_adapter(job, **tested)
    scored_on = job.config.score_on
    job.emit(
        "result",
        step=progress.step,
        best_step=progress.best_step,
        loss_before=progress.loss_before,
        best_loss=progress.kept_loss if scored_on else progress.best_loss,
        **({"score": progress.best_score, "scored_on": without_folder(scored_on)} if scored_on else {}),
        **tested,
        seconds=round(time.monotonic() - job.started, 1),
    )


@contextmanager
def beginning(job: Job) -> Iterator[None]:
    """A context in which the model is as the run began: the base, or with the adapter that it goes on from."""
    if job.config.from_adapter is not None:
        lora.begin_with(job.session.model, job.folder / start_adapter.FOLDER)
        yield
        return
    if job.config.init == "pissa":
        pissa.put_initial(job.session.model)
        yield
        return
    with job.session.model.disable_adapter():
        yield


def due(every: int, step: int) -> bool:
    """Whether something that happens every so many steps (0: never) happens after this one."""
    return bool(every) and step % every == 0
