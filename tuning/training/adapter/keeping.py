"""What a run writes of its adapter: the factors as they are, with the record and card that tell of them."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from tuning import presets
from tuning.data.template import chat_template
from tuning.file_names import TEMPLATE_FILE
from tuning.files import without_folder
from tuning.training.adapter import lora

if TYPE_CHECKING:
    from tuning.training.setup import Job

LIBRARIES = ("torch", "transformers", "peft", "datasets")


def write_adapter(job: Job, folder: Path, steps: int, **tested: float) -> None:
    """Write the adapter as it is to ``folder``, with its card, as trained for ``steps``."""
    scored_on = job.config.score_on
    record = {
        "name": job.folder.name,
        "steps": steps,
        "loss_before": job.progress.loss_before,
        "loss_after": job.progress.kept_loss if scored_on else job.progress.best_loss,
        **({"score": job.progress.best_score, "scored_on": without_folder(scored_on)} if scored_on else {}),
        **tested,
        **job.facts,
        "prompt_format": job.prompt_format.to_dict(),
        "versions": {name: version(name) for name in LIBRARIES},
        "config": presets.to_dict(job.config),
    }
    base = job.weights.hub_id or job.config.model
    brought = {} if job.config.chat_template is None else {TEMPLATE_FILE: chat_template(job.tokenizer).text}
    lora.save_adapter(job.session.model, folder, base, record, brought)
