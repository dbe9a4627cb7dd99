"""The training loop: setup, fit, validate. One page; every part it uses is a room of its own."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from tuning import files
from tuning.data import dataset
from tuning.data.template import chat_template
from tuning.errors import UserError
from tuning.kernels.memory import is_out_of_memory, used_megabytes
from tuning.models.weights import Weights, load_model, load_tokenizer
from tuning.presets import Config
from tuning.runs import start_adapter
from tuning.runs.run import record_of
from tuning.training import checkpoint, lora, sample, used_rows
from tuning.training.job import (
    Emit,
    Job,
    choose_device,
    describe,
    find_weights,
    held_out,
    held_out_words,
    identity,
    keep_adapter,
    longest_example,
    training_rows,
)
from tuning.training.parallel import Ranks, join
from tuning.training.reference import with_references
from tuning.training.step import StepStats, measured, open_session, train_step, try_longest


def setup(folder: Path, config: Config, ranks: Ranks, emit: Emit) -> Job:
    """Load model and data, put adapters on, restore the newest checkpoint. Raises UserError for whatever is amiss."""
    files.recover_folder(folder / "adapter")
    device = choose_device(config)
    weights = find_weights(config)
    join(ranks, device.name)
    if config.threads:
        torch.set_num_threads(config.threads)
    tokenizer = load_tokenizer(weights)
    rows = dataset.load(
        config.data,
        empty_input_only=config.empty_input_only,
        limit=config.limit,
        tokenizer=tokenizer,
        max_tokens=longest_example(config, weights),
        reading=config.reading,
        wish=config.format_wish,
        prompt_format=used_rows.prompt_format(folder),
    )
    train = training_rows(tokenizer, rows, config)
    config = config.in_steps(len(train.examples))
    before = used_rows.before(folder)
    validation = held_out(tokenizer, rows, "validation", config.validation_rows, config, before.get("validation", ()))
    test = held_out(tokenizer, rows, "test", config.test_rows, config, before.get("test", ()))
    base = load_model(weights, device, None if config.quantize == "none" else config.quantize)

    def say(message: str) -> None:
        emit("log", message=message)

    if config.epochs is not None:
        say(f"{config.epochs:g} epochs of {len(train.examples):,} examples are {config.max_steps:,} steps.")
    say(held_out_words(rows, validation, test))
    for note in chat_template(tokenizer).notes:
        say(note)
    session = open_session(base, config, train.examples, ranks=ranks, say=say)
    facts = describe(session, weights, rows, train, len(validation.examples), device)
    held = validation.examples, test.examples
    known = identity(config, weights, rows)
    job = Job(folder, emit, session, tokenizer, weights, *held, facts, known, rows.format)
    if config.from_adapter is not None:
        lora.begin_with(session.model, folder / start_adapter.FOLDER)
        say(start_words(folder / start_adapter.FOLDER, config, weights))
    if config.objective == "dpo":
        add_references(job, train.ids, validation.ids, test.ids)
    job.progress = checkpoint.restore(folder / "checkpoints", session, job.identity, say) or job.progress
    job.first_step = job.progress.step
    if ranks.first:
        used = {"train": train.ids, "validation": validation.ids, "test": test.ids}
        used_rows.record(folder, rows, used, config.max_steps)
    # What exists now lives as long as the run: the garbage collector need not look at it again.
    gc.collect()
    gc.freeze()
    return job


def start_words(folder: Path, config: Config, weights: Weights) -> str:
    """What is said of the adapter that a run goes on from. Raises UserError if it was trained on other base weights."""
    known = record_of(folder).get("base_fingerprint")
    if known not in (None, weights.fingerprint):
        raise UserError("The adapter to go on from was trained on another base: choose the model that it was made for.")
    scale = "rank-stabilised, " if config.rslora else ""
    name = start_adapter.called(config.from_adapter or "")
    told = f"It goes on from {name}: rank {config.rank}, alpha {config.alpha:g}, {scale}on "
    unsure = "" if known else " Its record names no base: whether it was made for this one cannot be told."
    return f"{told}{', '.join(config.target_modules)}.{unsure}"


def add_references(job: Job, *ids: Sequence[str]) -> None:
    """Give every pair of the run its reference."""
    parts = (job.session.examples, job.validation, job.test)
    units = {name: unit for part, names in zip(parts, ids, strict=True) for name, unit in zip(names, part, strict=True)}
    known = with_references(job.session, job.folder, units)
    found = [[known[name] for name in names] for names in ids]
    job.session.examples, job.validation, job.test = found


def fit(job: Job, should_stop: Callable[[], bool]) -> str:
    """Train to the end, or until ``should_stop``; returns 'finished' or 'stopped'. Everything is saved on return."""
    config, progress = job.config, job.progress
    if progress.step == 0:
        try_longest(job.session)
        validate(job)
        show_sample(job)
    job.steps_began = time.monotonic()
    for step in range(progress.step, config.max_steps):
        stats = train_step(job.session, step, should_stop())
        stop = stats.stop or (job.session.ranks.count == 1 and should_stop())  # several agree in the step after
        report(job, stats)
        last = stats.step == config.max_steps
        if last or due(config.validate_every, stats.step):
            validate(job)
        if due(config.sample_every, stats.step):
            show_sample(job)
        patience_is_over = 0 < config.patience <= progress.without_gain
        if last or stop or patience_is_over or due(config.save_every, stats.step):
            save(job)
        if stop and not last:
            return "stopped"
        if patience_is_over:
            job.session.say(f"Stopped early: {progress.without_gain} validations without a better loss.")
            break
    finish(job)
    return "finished"


def validate(job: Job) -> None:
    """Measure the validation loss, keep the adapter if it is the best so far, and count validations without gain.

    Without validation rows the newest adapter counts as the best.
    """
    progress = job.progress
    if not job.validation:
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
    progress.without_gain = 0 if best else progress.without_gain + 1
    if best:
        progress.best_loss, progress.best_step = loss, progress.step
        keep_adapter(job)
    seconds = round(time.monotonic() - began, 3)
    job.emit("validation", step=progress.step, validation_loss=loss, best=best, seconds=seconds, **found)


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
        epoch=round(stats.step * config.batch_size / len(job.session.examples), 4),
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
    if not job.validation:
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
    job.emit(
        "result",
        step=progress.step,
        best_step=progress.best_step,
        loss_before=progress.loss_before,
        best_loss=progress.best_loss,
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
    with job.session.model.disable_adapter():
        yield


def due(every: int, step: int) -> bool:
    """Whether something that happens every so many steps (0: never) happens after this one."""
    return bool(every) and step % every == 0
