"""The training loop: setup, fit, validate. One page; every part it uses is a room of its own."""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tuning import checkpoint, data, lora, presets, sample, tiny
from tuning.batches import Encoded, encode_rows
from tuning.chat import SYSTEM_PROMPT, USER_PREFIX, Example
from tuning.checkpoint import Progress
from tuning.device import Device, pick_device
from tuning.memory import used_megabytes
from tuning.parallel import Ranks, join
from tuning.presets import Config
from tuning.step import Session, StepStats, mean_loss, open_session, train_step, try_longest
from tuning.weights import Weights, load_model, load_tokenizer, resolve

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LIBRARIES = ("torch", "transformers", "peft", "datasets")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Emit = Callable[..., Any]


@dataclass
class Job:
    """A run in one process: where it writes, what it trains, how far it is."""

    folder: Path
    config: Config
    emit: Emit
    session: Session
    tokenizer: PreTrainedTokenizerBase
    weights: Weights
    validation: Sequence[Example]
    test: Sequence[Example]
    facts: dict[str, Any]
    identity: dict[str, str]
    progress: Progress = field(default_factory=Progress)
    started: float = field(default_factory=time.monotonic)
    first_step: int = 0

    @property
    def adapter(self) -> Path:
        """Where the best adapter lies."""
        return self.folder / "adapter"


def setup(folder: Path, config: Config, ranks: Ranks, emit: Emit) -> Job:
    """Load model and data, put adapters on, restore the newest checkpoint. Raises UserError for whatever is amiss."""
    device = choose_device(config)
    join(ranks, device.name)
    torch.set_flush_denormal(True)
    if config.threads:
        torch.set_num_threads(config.threads)
    weights = resolve(str(tiny.build())) if config.model == tiny.NAME else resolve(config.model)
    tokenizer = load_tokenizer(weights)
    rows = data.load(
        config.data,
        empty_input_only=config.empty_input_only,
        limit=config.limit,
        tokenizer=tokenizer,
        max_tokens=config.max_tokens,
    )
    train = encode_rows(tokenizer, rows.train, config.max_tokens, "training")
    validation = held_out(tokenizer, rows.validation, config)
    base = load_model(weights, device, None if config.quantize == "none" else config.quantize)

    def say(message: str) -> None:
        emit("log", message=message)

    session = open_session(base, config, train.examples, ranks=ranks, say=say)
    facts = {
        "model": weights.origin,
        "data": rows.source,
        "data_fingerprint": rows.fingerprint,
        "base_fingerprint": weights.fingerprint,
        "train_rows": len(train.examples),
        "validation_rows": len(validation),
        "dropped": rows.dropped | {"without a label": train.unlabelled},
        "device": f"{device.label} x {ranks.count}" if ranks.count > 1 else device.label,
        "threads": torch.get_num_threads(),
        "forward": session.forward.name,
        "shared_prefix": session.forward.prefix,
        "trainable": sum(factor.numel() for factor in lora.trainable(session.model).values()),
    }
    identity = {"base model": weights.fingerprint, "data": rows.fingerprint, "settings": settings_text(config)}
    test = held_out(tokenizer, rows.test, config)
    job = Job(folder, config, emit, session, tokenizer, weights, validation, test, facts, identity)
    restored = checkpoint.restore(folder / "checkpoints", session, identity, say)
    job.progress = restored or job.progress
    job.first_step = job.progress.step
    # What exists now lives as long as the run: the garbage collector need not look at it again.
    gc.collect()
    gc.freeze()
    return job


def fit(job: Job, should_stop: Callable[[], bool]) -> str:
    """Train to the end, or until ``should_stop``; returns 'finished' or 'stopped'. Everything is saved on return."""
    config, progress = job.config, job.progress
    if progress.step == 0:
        try_longest(job.session)
        validate(job)
        show_sample(job)
    for step in range(progress.step, config.max_steps):
        stats = train_step(job.session, step, should_stop())
        report(job, stats)
        last = stats.step == config.max_steps
        if last or due(config.validate_every, stats.step):
            validate(job)
        if due(config.sample_every, stats.step):
            show_sample(job)
        patience_is_over = 0 < config.patience <= progress.without_gain
        if last or stats.stop or patience_is_over or due(config.save_every, stats.step):
            save(job)
        if stats.stop and not last:
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
    loss = mean_loss(job.session, job.validation)
    if progress.step == 0:
        progress.loss_before = loss
    best = progress.best_loss is None or loss < progress.best_loss
    progress.without_gain = 0 if best else progress.without_gain + 1
    if best:
        progress.best_loss, progress.best_step = loss, progress.step
        keep_adapter(job)
    seconds = round(time.monotonic() - began, 3)
    job.emit("validation", step=progress.step, validation_loss=loss, best=best, seconds=seconds)


def report(job: Job, stats: StepStats) -> None:
    """Write a step's event."""
    config, progress = job.config, job.progress
    progress.step = stats.step
    progress.trained_tokens += stats.trained_tokens
    progress.seconds += stats.seconds
    per_step = (time.monotonic() - job.started) / (stats.step - job.first_step)
    job.emit(
        "step",
        step=stats.step,
        max_steps=config.max_steps,
        epoch=round(stats.step * config.batch_size / len(job.session.examples), 4),
        loss=stats.loss,
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
    found = sample.answer(job.session.model, job.tokenizer, config.sample_question, config.sample_tokens)
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
    job.emit("checkpoint", step=job.progress.step, path=path.name)


def finish(job: Job) -> None:
    """Measure the base and the best adapter on the test split, and write both into the adapter's card."""
    progress = job.progress
    job.session.ranks.wait()
    lora.load_factors(job.session.model, job.adapter)
    tested = {}
    if job.test:
        with job.session.model.disable_adapter():
            tested["test_loss_before"] = mean_loss(job.session, job.test)
        tested["test_loss_after"] = mean_loss(job.session, job.test)
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


def keep_adapter(job: Job, **tested: float) -> None:
    """Write the adapter as it is, with its card; only the first process does."""
    if not job.session.ranks.first:
        return
    progress = job.progress
    record = {
        "name": job.folder.name,
        "steps": progress.best_step if job.validation else progress.step,
        "loss_before": progress.loss_before,
        "loss_after": progress.best_loss,
        **tested,
        **job.facts,
        "system_prompt": SYSTEM_PROMPT,
        "user_prefix": USER_PREFIX,
        "versions": {name: version(name) for name in LIBRARIES},
        "config": presets.to_dict(job.config),
    }
    base = job.weights.hub_id or job.config.model
    lora.save_adapter(job.session.model, job.adapter, base, record)


def due(every: int, step: int) -> bool:
    """Whether something that happens every so many steps (0: never) happens after this one."""
    return bool(every) and step % every == 0


def held_out(tokenizer: PreTrainedTokenizerBase, rows: Sequence[data.Row], config: Config) -> Sequence[Example]:
    """Encoded rows of a held-out split, at most ``validation_rows``; none if there are none."""
    chosen = rows[: config.validation_rows]
    encoded = encode_rows(tokenizer, chosen, config.max_tokens, "held-out") if chosen else Encoded([])
    return encoded.examples


def choose_device(config: Config) -> Device:
    """The device of a config, in its precision."""
    device = pick_device(None if config.device == "auto" else config.device)
    if config.precision == "auto":
        return device
    return dataclasses.replace(device, dtype=PRECISIONS[config.precision])


def settings_text(config: Config) -> str:
    """The settings that decide a run's numbers, as text to compare; how often it saves or samples is not among them."""
    free = ("save_every", "keep_checkpoints", "sample_every", "sample_question", "sample_tokens", "threads", "device")
    return ", ".join(f"{name}={value}" for name, value in presets.to_dict(config).items() if name not in free)
