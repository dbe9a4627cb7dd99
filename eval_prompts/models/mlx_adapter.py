"""Adapters of MLX (``mlx_lm.lora``): the same LoRA with the factors the other way round and other words around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eval_prompts.models.adapter_files import PEFT_PREFIX, AdapterFiles, checked_number, read_json, stored_shapes
from tuning.errors import UserError
from tuning.file_names import CONFIG_FILE, MLX_FILE

ENDINGS = {".lora_a": ".lora_A.weight", ".lora_b": ".lora_B.weight", ".m": ".lora_magnitude_vector"}


def read_mlx(folder: Path) -> AdapterFiles:
    """An MLX adapter in peft's words: ``lora_a`` [in, rank] and ``lora_b`` [rank, out] are transposed when read, and
    the scale that MLX writes down itself becomes alpha = scale x rank.

    Raises UserError for one without a configuration, and for layers that were fine-tuned as a whole.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise UserError(f"The MLX adapter {folder.name} has no {CONFIG_FILE} beside its weights: copy both.")
    config = read_json(folder / CONFIG_FILE)
    kind = str(config.get("fine_tune_type") or "lora").lower()
    if kind not in ("lora", "dora"):
        raise UserError(
            f"The MLX adapter {folder.name} is of the kind {kind!r}: fuse it, and give the result as --model."
        )
    stored = stored_shapes(folder / MLX_FILE)
    names: dict[str, str] = {}
    for name in stored:
        ending = next((ending for ending in ENDINGS if name.endswith(ending)), None)
        if ending is None:
            raise UserError(f"The MLX adapter {folder.name} holds {name}, which is no LoRA factor: fuse it first.")
        names[PEFT_PREFIX + name.removesuffix(ending) + ENDINGS[ending]] = name
    shapes = {ours: stored[theirs][::-1] for ours, theirs in names.items()}
    ranks = {shape[0] for name, shape in shapes.items() if ".lora_A." in name}
    if len(ranks) != 1:
        raise UserError(f"The MLX adapter {folder.name} has {len(ranks) or 'no'} ranks, not one: train it again.")
    rank = ranks.pop()
    scale = float(checked_number("scale", scale_of(config)))
    layers = {name.removeprefix(PEFT_PREFIX).split(".lora_")[0] for name in names}
    peft_config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(config.get("model") or ""),
        "r": rank,
        "lora_alpha": scale * rank,
        "target_modules": sorted({layer.rpartition(".")[2] for layer in layers}),
        "use_dora": kind == "dora",
        "bias": "none",
    }
    notes = ("It is an MLX adapter, converted when read.",)
    return AdapterFiles(folder, peft_config, shapes, notes, transposed=True, file=MLX_FILE, names=names)


def scale_of(config: dict[str, Any]) -> Any:
    """What MLX multiplies the product of the factors with: its ``scale``, or alpha over rank in older files."""
    parameters = config.get("lora_parameters")
    parameters = parameters if isinstance(parameters, dict) else {}
    if parameters.get("scale") is not None:
        return parameters["scale"]
    if parameters.get("alpha") is not None and parameters.get("rank"):
        return checked_number("alpha", parameters["alpha"]) / checked_number("rank", parameters["rank"], whole=True)
    raise UserError("The MLX adapter's configuration names no scale (lora_parameters.scale): copy the whole folder.")
