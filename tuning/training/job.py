"""A run inside its process: what it trains, where it writes, what it says of itself; and how it is set up."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tuning import presets
from tuning.data.batches import Encoded, encode_rows
from tuning.data.chat import PromptFormat, Unit
from tuning.data.cleaning import digest
from tuning.data.dataset import DataSet
from tuning.data.template import chat_template
from tuning.errors import UserError
from tuning.models import tiny
from tuning.models.device import Device, pick_device
from tuning.models.weights import Choices, Weights, resolve
from tuning.presets import Config
from tuning.training import lora
from tuning.training.checkpoint import Progress
from tuning.training.step import Session

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LIBRARIES = ("torch", "transformers", "peft", "datasets")
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
TEMPLATE_FILE = "chat_template.jinja"
FREE_SETTINGS = (
    "save_every",
    "keep_checkpoints",
    "sample_every",
    "sample_question",
    "sample_tokens",
    "threads",
    "device",
    "test_rows",
)
# Checkpoints of earlier versions know nothing of these: only another value than the usual one is part of a run.
LATER_SETTINGS = (
    *("columns", "encoding", "train_on", "prompt_format", "system", "user_template"),
    *("chat_template", "thinking", "trust_remote_code"),
    *("objective", "beta", "length_normalised", "from_adapter", "rslora", "epochs", "dora"),
    "lora_plus",
)
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

    @property
    def config(self) -> Config:
        """The run's settings."""
        return self.session.config

    @property
    def adapter(self) -> Path:
        """Where the best adapter lies."""
        return self.folder / "adapter"


def choose_device(config: Config) -> Device:
    """The device of a config, in its precision."""
    device = pick_device(None if config.device == "auto" else config.device)
    if config.precision == "auto":
        return device
    return dataclasses.replace(device, dtype=PRECISIONS[config.precision])


def find_weights(config: Config) -> Weights:
    """The base weights of a config."""
    thinking = {"template": None, "on": True, "off": False}[config.thinking]
    choices = Choices(config.chat_template, thinking, config.trust_remote_code)
    return resolve(str(tiny.build()) if config.model == tiny.NAME else config.model, choices=choices)


def longest_example(config: Config, weights: Weights) -> int:
    """Tokens that an example of the run may have: ``max_tokens``, or the model's context where that is shorter."""
    described = json.loads((weights.path / "config.json").read_text(encoding="utf-8"))
    return min(config.max_tokens, described.get("max_position_embeddings") or config.max_tokens)


def held_out(
    tokenizer: PreTrainedTokenizerBase, data: DataSet, split: str, most: int, config: Config, before: Sequence[str] = ()
) -> Encoded:
    """Encoded rows of a held-out split: those of ``before`` where a run goes on, else at most ``most``, chosen by their
    ids, so that the order of the data does not matter; none if there are none."""
    rows = data.split(split)
    if before:
        known = set(before)
        chosen = [row for row in rows if row.id in known]
    else:
        numbers = sorted(range(len(rows)), key=lambda at: digest("held-out", rows[at].id))[:most]
        chosen = [rows[at] for at in sorted(numbers)]
    if not chosen:
        return Encoded([])
    return encode_rows(tokenizer, chosen, config.max_tokens, "held-out", data.format, data.encoded)


def held_out_words(data: DataSet, validation: Encoded, test: Encoded) -> str:
    """What is said of the held-out rows before training."""
    words = []
    for name, used in (("validation", validation), ("test", test)):
        count, whole = len(set(used.ids)), len(data.split(name))
        if not whole:
            words.append(f"the data has no {name} rows")
        elif not count:
            words.append(f"none of {whole:,} {name} rows is used")
        else:
            words.append(f"{count:,} of {whole:,} {name} rows" + (", chosen by their ids" if count < whole else ""))
    told = "Held out: " + "; ".join(words) + "."
    return told if validation.ids else f"{told} Without validation rows the newest adapter counts as the best."


def training_rows(tokenizer: PreTrainedTokenizerBase, data: DataSet, config: Config) -> Encoded:
    """The encoded training rows. Raises UserError, saying where the rows are, if there are none."""
    if not data.train:
        rows = "its only row" if len(data) == 1 else f"all of its {len(data):,} rows"
        raise UserError(
            f"{data.source} has no training rows: {rows} fell into the "
            f"{' and '.join(name for name in ('validation', 'test') if data.split(name))} split, which a row's text "
            "decides (80% train, 10% validation, 10% test): add more rows."
        )
    return encode_rows(tokenizer, data.train, config.max_tokens, "training", data.format, data.encoded)


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


def identity(config: Config, weights: Weights, rows: DataSet) -> dict[str, str]:
    """What must be the same for a checkpoint to be continued; how often a run saves or samples need not be."""
    usual = presets.to_dict(Config())
    decisive = {
        name: value
        for name, value in presets.to_dict(config).items()
        if name not in FREE_SETTINGS and not (name in LATER_SETTINGS and value == usual[name])
    }
    settings = ", ".join(f"{name}={value}" for name, value in decisive.items())
    return {"base model": weights.fingerprint, "data": rows.fingerprint, "settings": settings}


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
        "prompt_format": job.prompt_format.to_dict(),
        "versions": {name: version(name) for name in LIBRARIES},
        "config": presets.to_dict(job.config),
    }
    base = job.weights.hub_id or job.config.model
    brought = {} if job.config.chat_template is None else {TEMPLATE_FILE: chat_template(job.tokenizer).text}
    lora.save_adapter(job.session.model, job.adapter, base, record, brought)
