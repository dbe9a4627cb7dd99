"""Save and restore everything that a run needs to go on exactly where it was.

A checkpoint is a folder with the state and a manifest of its digest. It is written under another name and moved into
place whole, so a kill or a full disk leaves the ones before untouched; a damaged one is recognised and passed over.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning import presets
from tuning.errors import UserError
from tuning.files import named_line, replacing
from tuning.presets import Config
from tuning.training.adapter.lora import trainable

if TYPE_CHECKING:
    from tuning.data.dataset import DataSet
    from tuning.models.weights import Weights
    from tuning.training.step import Session

STATE = "state.pt"
MANIFEST = "manifest.json"
VERSION = 1
TEMPLATE = "chat template"
"""What an identity calls the template's own text, where that is a file; identities of earlier versions lack it."""
FREE_SETTINGS = (
    "save_every",
    "keep_checkpoints",
    "sample_every",
    "sample_question",
    "sample_tokens",
    "threads",
    "device",
    "test_rows",
    "track",
)
# Checkpoints of earlier versions know nothing of these: only another value than the usual one is part of a run.
LATER_SETTINGS = (
    *("columns", "encoding", "train_on", "prompt_format", "system", "user_template"),
    *("chat_template", "thinking", "trust_remote_code"),
    *("objective", "beta", "length_normalised", "from_adapter", "rslora", "epochs", "dora"),
    *("lora_plus", "init", "neftune", "rounds", "samples", "keep", "temperature", "checked_by"),
    *("score_on", "score_every", "score_questions", "stop_when_score_falls"),
)


@dataclass
class Progress:
    """Where a run stands: ``step`` steps are done; losses are validation losses, None while there are none. The adapter
    that is kept is that of ``best_step``: of the lowest loss, or of the best score where a task is scored, the last
    time after ``scored_at`` steps; ``kept_loss`` is then the loss that was measured last before it."""

    step: int = 0
    loss_before: float | None = None
    best_loss: float | None = None
    best_step: int = 0
    without_gain: int = 0
    trained_tokens: int = 0
    seconds: float = 0.0
    last_loss: float | None = None
    kept_loss: float | None = None
    scored_at: int = -1
    best_score: float | None = None
    without_score_gain: int = 0


def identity(config: Config, weights: Weights, rows: DataSet) -> dict[str, str]:
    """What must be the same for a checkpoint to be continued; how often a run saves or samples need not be."""
    usual = presets.to_dict(Config())
    decisive = {
        name: value
        for name, value in presets.to_dict(config).items()
        if name not in FREE_SETTINGS and not (name in LATER_SETTINGS and value == usual[name])
    }
    settings = ", ".join(f"{name}={value}" for name, value in decisive.items())
    known = {"base model": weights.fingerprint, "data": rows.fingerprint, "settings": settings}
    template = Path(config.chat_template).expanduser() if config.chat_template else None
    return known | ({TEMPLATE: digest(template)[:16]} if template is not None and template.is_file() else {})


def save(folder: Path, session: Session, progress: Progress, identity: dict[str, str], keep: int) -> Path:
    """Write ``folder``/step-NNNNNN and remove all but the newest ``keep``. Raises OSError on a full disk."""
    import torch

    state = {
        "version": VERSION,
        "identity": identity,
        "progress": vars(progress),
        "adapter": {name: factor.detach() for name, factor in trainable(session.model).items()},
        "optimizer": session.optimizer.state_dict(),
        "learning_rate": [group["lr"] for group in session.optimizer.param_groups],
        "budget": session.budget.to_dict(),
        "random": {
            "python": random.getstate(),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        },
    }
    final = folder / f"step-{progress.step:06d}"
    with replacing(final) as fresh:
        fresh.mkdir()
        (fresh / STATE).write_bytes(packed(state))
        manifest = {"step": progress.step, "sha256": digest(fresh / STATE), "version": VERSION}
        (fresh / MANIFEST).write_text(json.dumps(manifest) + "\n", encoding="utf-8")
        for path in (fresh / STATE, fresh / MANIFEST, fresh):
            flush_to_disk(path)
        shutil.rmtree(final, ignore_errors=True)
    flush_to_disk(folder)
    for old in found(folder)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def packed(state: dict[str, Any]) -> bytes:
    """The state in torch's format. Made in memory, because torch reports a full disk as an error of its archive."""
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def found(folder: Path) -> list[Path]:
    """The checkpoints in ``folder``, newest first, looked at by name only."""
    return sorted(folder.glob("step-*"), reverse=True)


def restore(
    folder: Path, session: Session, identity: dict[str, str], say: Callable[[str], None] = print
) -> Progress | None:
    """Put the newest sound checkpoint into ``session`` and return where the run stands; None if there is none at all.

    Damaged ones are named through ``say`` and passed over. Raises UserError if all are damaged, or if model, data or
    settings (``identity``) are not those of the checkpoint.
    """
    candidates = found(folder)
    for path in candidates:
        state = load(path)
        if isinstance(state, str):
            say(f"Checkpoint {path.name} is damaged ({state}): falling back to the one before.")
            continue
        check_identity(state["identity"], identity)
        return put_back(state, session)
    if candidates:
        raise UserError(f"All {len(candidates)} checkpoints in {folder} are damaged: start a new run.")
    return None


def load(path: Path) -> dict[str, Any] | str:
    """A checkpoint's state, or what is wrong with it."""
    import torch

    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        if manifest["sha256"] != digest(path / STATE):
            return "its digest does not match"
        state: dict[str, Any] = torch.load(path / STATE, map_location="cpu", weights_only=True)
        return state
    except Exception as error:  # a damaged archive fails in as many ways as there are bytes
        return named_line(error)


def check_identity(saved: dict[str, str], now: dict[str, str]) -> None:
    """Raise UserError naming the first thing that is another than when the checkpoint was written."""
    for name, value in now.items():
        if saved.get(name) != value and not (name == TEMPLATE and name not in saved):
            raise UserError(
                f"This run cannot be resumed: its {name} was {saved.get(name)}, now it is {value}. Start a new run."
            )


def put_back(state: dict[str, Any], session: Session) -> Progress:
    """Load a state into the session's model, optimizer, budget and the random generators."""
    import torch

    factors = trainable(session.model)
    with torch.no_grad():
        for name, saved in state["adapter"].items():
            factors[name].copy_(saved)
    session.optimizer.load_state_dict(state["optimizer"])
    for group, rate in zip(session.optimizer.param_groups, state["learning_rate"], strict=True):
        group["lr"] = rate
    for name, value in state["budget"].items():
        setattr(session.budget, name, value)
    session.forward.checkpointing = session.budget.checkpointing
    version, words, gauss = state["random"]["python"]
    random.setstate((version, tuple(words), gauss))
    torch.set_rng_state(state["random"]["torch"])
    if torch.cuda.is_available() and len(state["random"]["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["random"]["cuda"])
    return Progress(**state["progress"])


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush_to_disk(path: Path) -> None:
    """Make a file's content, or a folder's entries, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
