"""A run inside its process: what it trains, where it writes, how far it is; and how all of that is set up."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tuning import files
from tuning.data import dataset
from tuning.data.batches import Encoded
from tuning.data.chat import PromptFormat, Unit
from tuning.data.dataset import DataSet
from tuning.data.template import chat_template
from tuning.errors import UserError
from tuning.models.device import Device
from tuning.models.of_config import choose_device, find_weights, longest_example
from tuning.models.weights import Weights, load_model, load_tokenizer
from tuning.presets import Config
from tuning.runs import start_adapter
from tuning.runs.record import record_of
from tuning.training import checkpoint, used_rows
from tuning.training.adapter import lora
from tuning.training.checkpoint import Progress, identity
from tuning.training.objectives import unused_words
from tuning.training.optimizer import warm_up_warning
from tuning.training.parallel import Ranks, join
from tuning.training.reference import with_references
from tuning.training.step import Session, open_session
from tuning.training.used_rows import held_out, held_out_words, training_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tuning.data.cleaning import Row

Emit = Callable[..., Any]


@dataclass
class Job:
    """A run in one process: where it writes, what it trains, how far it is."""

    folder: Path
    emit: Emit
    session: Session
    tokenizer: PreTrainedTokenizerBase
    weights: Weights
    validation: Sequence[Unit]
    test: Sequence[Unit]
    facts: dict[str, Any]
    identity: dict[str, str]
    prompt_format: PromptFormat
    progress: Progress = field(default_factory=Progress)
    started: float = field(default_factory=time.monotonic)
    steps_began: float = 0.0
    first_step: int = 0
    rows: Sequence[Row] = ()
    """The training rows, where the run asks the model about them."""
    train_rows: int = 0
    """How many examples the data itself has."""

    @property
    def config(self) -> Config:
        """The run's settings."""
        return self.session.config

    @property
    def adapter(self) -> Path:
        """Where the best adapter lies."""
        return self.folder / "adapter"


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
    for words in filter(None, (warm_up_warning(config), unused_words(config))):
        say(words)
    say(held_out_words(rows, validation, test))
    for note in chat_template(tokenizer).notes_for(rows.format.system):
        say(note)
    session = open_session(base, config, train.examples, ranks=ranks, say=say, start=folder / start_adapter.FOLDER)
    facts = describe(session, weights, rows, train, len(validation.examples), device)
    held = validation.examples, test.examples
    known = identity(config, weights, rows)
    job = Job(folder, emit, session, tokenizer, weights, *held, facts, known, rows.format)
    job.train_rows = len(train.examples)
    if config.objective == "verified":
        if config.max_steps < config.rounds:
            raise UserError(
                f"--rounds is {config.rounds}, but the run has {config.max_steps} steps: take fewer rounds."
            )
        trained = set(train.ids)
        job.rows = [row for row in rows.train if row.id in trained]
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
    known = with_references(job.session, job.folder, units, job.identity)
    found = [[known[name] for name in names] for names in ids]
    job.session.examples, job.validation, job.test = found


def describe(
    session: Session, weights: Weights, rows: DataSet, train: Encoded, held: int, device: Device
) -> dict[str, Any]:
    """What a run says of itself in its first event and in its adapter's card."""
    ranks = session.ranks
    return {
        "model": weights.origin,
        "data": rows.source,
        "data_revision": rows.revision,
        "data_fingerprint": rows.fingerprint,
        "base_fingerprint": weights.fingerprint,
        "train_rows": len(train.examples),
        "validation_rows": held,
        "dropped": rows.dropped | {"without a label": train.unlabelled},
        "device": f"{device.label} x {ranks.count}" if ranks.count > 1 else device.label,
        "threads": torch.get_num_threads(),
        "forward": session.forward.name,
        "shared_prefix": session.forward.prefix,
        "trainable": sum(factor.numel() for factor in lora.trainable(session.model).values()),
    }
