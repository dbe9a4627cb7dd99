"""PiSSA (Meng et al. 2024, arXiv 2404.02948): factors that begin at the main part of each weight.

The base's weight W becomes W - s B0 A0, with B0 A0 from its largest singular values and s the adapter's scale, so the
model begins as it was. What a run writes is an ordinary adapter on the base as it is, of twice the rank:
s (B A - B0 A0) = s [B, -B0] [A; A0].
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from tuning.errors import UserError
from tuning.file_names import CONFIG_FILE, WEIGHTS_FILE
from tuning.files import replacing

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import nn

    from tuning.training.parallel import Ranks

FILE = "pissa.safetensors"
ADAPTER = "default"
INITIAL = "initial_factors"
Factors = dict[str, torch.Tensor]


def main_part(weight: torch.Tensor, rank: int, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A0 [rank, in] and B0 [out, rank] with ``scale`` B0 A0 the best approximation of ``weight`` [out, in]; fp32."""
    left, values, right = torch.linalg.svd(weight.float(), full_matrices=False)
    roots = (values[:rank] / scale).sqrt()
    return (roots[:, None] * right[:rank]).contiguous(), (left[:, :rank] * roots).contiguous()


def layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The layers that have an adapter, by name."""
    from peft.tuners.lora import LoraLayer

    for name, module in model.named_modules():
        if isinstance(module, LoraLayer) and ADAPTER in module.lora_A:
            yield name, module


@torch.no_grad()
def begin(model: PeftModel, folder: Path | None, ranks: Ranks) -> None:
    """Take the main part of each weight into its factors, and out of the weight. What that was is kept in ``folder``,
    and taken from there where it is: a resumed run then trains on the same weights to the last bit.

    Raises UserError for a layer that has fewer directions than the rank.
    """
    path = folder / FILE if folder is not None else None
    known: Factors = load_file(path) if path is not None and path.is_file() else {}
    initial: Factors = {}
    for name, module in layers(model):
        base = module.get_base_layer()
        weight = base.weight.T if module.fan_in_fan_out else base.weight
        rank, scale = module.r[ADAPTER], module.scaling[ADAPTER]
        if rank > min(weight.shape):
            raise UserError(
                f"--init pissa: {name} has {min(weight.shape)} directions, fewer than rank {rank}: lower it."
            )
        if f"{name}.A" in known:
            first, second = (known[f"{name}.{factor}"].to(weight.device) for factor in "AB")
        else:
            first, second = main_part(weight, rank, scale)
            first, second = (ranks.share(part.cpu()).to(weight.device) for part in (first, second))
        rest = (weight.float() - scale * second @ first).to(weight.dtype)
        base.weight.data = (rest.T if module.fan_in_fan_out else rest).contiguous()
        module.lora_A[ADAPTER].weight.copy_(first)
        module.lora_B[ADAPTER].weight.copy_(second)
        initial |= {f"{name}.A": first.cpu(), f"{name}.B": second.cpu()}
    if path is not None and not known and ranks.first:
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as fresh:
            save_file(initial, fresh)
    setattr(model, INITIAL, initial)


def initial_of(model: PeftModel) -> Factors:
    """The factors that a model began with; empty for one that did not begin so."""
    found: Factors = getattr(model, INITIAL, {})
    return found


@torch.no_grad()
def put_initial(model: PeftModel) -> None:
    """Put the factors that the model began with back: it is its base again."""
    initial = initial_of(model)
    for name, module in layers(model):
        module.lora_A[ADAPTER].weight.copy_(initial[f"{name}.A"])
        module.lora_B[ADAPTER].weight.copy_(initial[f"{name}.B"])


def as_plain(model: PeftModel, folder: Path) -> None:
    """Turn the adapter that peft has written to ``folder`` into one on the base as it is."""
    initial = initial_of(model)
    path = folder / WEIGHTS_FILE
    factors = load_file(path)
    for name in initial:
        layer, _, factor = name.rpartition(".")
        key = f"{layer}.lora_{factor}.weight"
        both = [factors[key], initial[name] if factor == "A" else -initial[name]]
        factors[key] = torch.cat(both, dim=0 if factor == "A" else 1).contiguous()
    save_file(factors, path, metadata={"format": "pt"})
    settings = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    grown = math.sqrt(2) if settings["use_rslora"] else 2
    settings |= {"r": settings["r"] * 2, "lora_alpha": settings["lora_alpha"] * grown, "init_lora_weights": True}
    (folder / CONFIG_FILE).write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")


def own_half(factors: Factors, rank: int) -> Factors:
    """What :func:`as_plain` has written as the factors of the model that is trained."""
    return {
        name: (factor[:rank] if "lora_A" in name else factor[:, :rank]).contiguous() for name, factor in factors.items()
    }
