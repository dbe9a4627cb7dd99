"""What is exported: an adapter, the base it changes, and the prompt it was trained in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.data.chat import PLAIN_FORMAT, PYTHON_FORMAT, PromptFormat
from tuning.errors import UserError
from tuning.exports.export import best_adapter
from tuning.file_names import CONFIG_FILE, TEMPLATE_FILE, WEIGHTS_FILE
from tuning.models.weights import Weights, resolve
from tuning.progress import Progress
from tuning.runs.record import record_of
from tuning.runs.run import Run, is_run, runs_root
from tuning.runs.run import find as find_run

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json")


@dataclass(frozen=True)
class Subject:
    """An adapter's folder in peft's layout with the base it belongs to; ``notes`` are sentences for people."""

    name: str
    weights: Weights
    adapter: Path
    config: Mapping[str, Any]
    prompt_format: PromptFormat = PLAIN_FORMAT
    record: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    run: Run | None = None

    def noting(self, *notes: str) -> Subject:
        """The same with further notes."""
        return replace(self, notes=(*self.notes, *notes))

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer that the tuned side is asked with: the adapter's own where it brings one, else the base's,
        with the chat template that the adapter brings. Raises UserError if it cannot be loaded."""
        from tuning.data.template import CHOICE, LISTED_ENDS
        from tuning.models.weights import load_tokenizer

        base = load_tokenizer(self.weights)
        template = self.adapter / TEMPLATE_FILE
        if any((self.adapter / name).is_file() for name in VOCABULARIES):
            own = load_tokenizer(self.adapter)
            for mark in (CHOICE, LISTED_ENDS):
                if hasattr(base, mark):
                    setattr(own, mark, getattr(base, mark))
            if own.chat_template is None:
                own.chat_template = base.chat_template
            return own
        if template.is_file() and self.weights.choices.chat_template is None:
            base.chat_template = template.read_text(encoding="utf-8")
        return base


def find(name: str, model: str | None = None, on_progress: Progress | None = None) -> Subject:
    """The run or adapter folder called ``name``; ``model`` names its base where it does not say so itself.

    Raises UserError if there is no such run or adapter, or its base cannot be had.
    """
    path = find_adapter(name)
    return of_run(Run(path), model, on_progress) if is_run(path) else of_adapter(path, model, on_progress)


def find_adapter(name: str) -> Path:
    """The folder of the run or adapter called ``name``. Raises UserError if there is none."""
    named = runs_root() / name
    path = named if "/" not in name and named.is_dir() else Path(name).expanduser()
    if path.is_file() and path.name in (CONFIG_FILE, WEIGHTS_FILE):
        path = path.parent
    if path.is_file():
        raise UserError(f"{path.name} is a file: unpack it, and name the adapter's folder.")
    if is_run(path) or not path.is_dir():
        return find_run(name).path  # says which runs there are, if it is none
    if not (path / CONFIG_FILE).is_file() or not (path / WEIGHTS_FILE).is_file():
        raise UserError(f"{path.name} is no adapter in peft's layout ({CONFIG_FILE} and {WEIGHTS_FILE}): name another.")
    return path.resolve()


def of_run(run: Run, model: str | None = None, on_progress: Progress | None = None) -> Subject:
    """A run's best adapter. Raises UserError if it has none yet, or its base cannot be had."""
    adapter = best_adapter(run)
    if model is not None:
        return replace(of_adapter(adapter, model, on_progress), name=run.name, run=run)
    from tuning.models.of_config import find_weights

    config = run.config()
    subject = described(adapter, find_weights(config), run.name)
    if config.quantize != "none":
        subject = subject.noting(
            f"The adapter was trained over weights in {config.quantize}; it is exported with the base's own weights."
        )
    return replace(subject, run=run)


def of_adapter(adapter: Path, model: str | None = None, on_progress: Progress | None = None) -> Subject:
    """An adapter's folder. Raises UserError if it cannot be read, names no base, or its base cannot be had."""
    record = record_of(adapter)
    settings = record.get("config")
    trained = settings.get("model") if isinstance(settings, dict) else None
    base = model or trained or read_config(adapter).get("base_model_name_or_path")
    if not base:
        raise UserError(f"The adapter {adapter.name} names no base: give it with --model.")
    return described(adapter, resolve(str(base), on_progress=on_progress), str(record.get("name") or adapter.name))


def described(adapter: Path, weights: Weights, name: str) -> Subject:
    """What the adapter's files say of it. Raises UserError if its configuration cannot be read."""
    record = record_of(adapter)
    notes = []
    trained_on = record.get("base_fingerprint")
    if trained_on and trained_on != weights.fingerprint:
        notes.append(
            f"The adapter was trained on other weights ({trained_on}) than those of {weights.name} "
            f"({weights.fingerprint}): answers may differ."
        )
    if "GGUF" in weights.origin or "Q4_1" in weights.origin:
        notes.append(f"The base is quantised and was dequantised first: {weights.origin}.")
    if not record:
        notes.append("The adapter does not say in which prompt it was trained: questions go out as they are.")
        prompt_format = PLAIN_FORMAT
    elif isinstance(record.get("prompt_format"), dict):
        prompt_format = PromptFormat.from_dict(record["prompt_format"])
    else:
        prompt_format = PYTHON_FORMAT
    return Subject(name, weights, adapter, read_config(adapter), prompt_format, record, tuple(notes))


def read_config(adapter: Path) -> dict[str, Any]:
    """The adapter's configuration. Raises UserError if it cannot be read."""
    try:
        content = json.loads((adapter / CONFIG_FILE).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UserError(f"The adapter's {CONFIG_FILE} cannot be read ({error}): copy it again.") from error
    if not isinstance(content, dict):
        raise UserError(f"The adapter's {CONFIG_FILE} does not hold a JSON object: copy it again.")
    return content
