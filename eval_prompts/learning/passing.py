"""What a task can teach: a run that goes on from the adapter and trains its own answers that pass the task's checks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval_prompts.tasks.catalogue import BUILT_IN
from eval_prompts.tasks.task import Task
from tuning import presets
from tuning.errors import UserError
from tuning.file_names import RECORD_FILE, TEMPLATE_FILE

if TYPE_CHECKING:
    from eval_prompts.models.adapters import AdapterCard

DATA = (
    "data", "columns", "encoding", "train_on", "prompt_format", "system", "user_template", "empty_input_only", "limit",
    "max_tokens", "chat_template", "thinking",
)  # fmt: skip
"""Settings of the adapter's own run that say what it was trained on."""


def passing_settings(task: Task, card: AdapterCard | None, model: str) -> dict[str, Any]:
    """What a run changes of the quick preset that trains what passes: the training questions are those that the adapter
    was trained on, never the task's own, which measure. A task that judges Python leaves the checks to the data's
    assertions; any other judges with its scorers.

    Raises UserError where no adapter answers, or its record does not say what it was trained on.
    """
    if card is None or card.is_model:
        raise UserError("Training goes on from an adapter: put one on the tuned side first.")
    try:
        config = json.loads((card.path / RECORD_FILE).read_text(encoding="utf-8"))["config"]
        known = {name: config[name] for name in DATA if name in config}
        known["data"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"The record of {card.name} does not say what it was trained on: start the run on the Train tab instead, "
            "with the data named there (Learns from: verified)."
        ) from None
    kinds = presets.field_types()
    usual = presets.to_dict(presets.preset("quick"))
    changed = {name: value for name, value in known.items() if name in kinds and value != usual[name]}
    if (card.path / TEMPLATE_FILE).is_file():  # the run finds it with the adapter, wherever it was trained
        changed.pop("chat_template", None)
    place = task.name if task.name in BUILT_IN or task.file is None else str(Path(task.file).absolute())
    return {
        **changed,
        "data": known["data"],
        "model": model,
        "objective": "verified",
        "checked_by": None if task.judges_python else place,
        "from_adapter": str(card.path),
        "rounds": 1,
        "epochs": 1.0,
        "learning_rate": 3e-4,
        "warmup_steps": 2,
        "sample_every": 0,
    }
