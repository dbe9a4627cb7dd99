"""A linear layer with a LoRA adapter that shares the weight it adapts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from eval_prompts.models.adapters import CONFIG_FILE, PEFT_PREFIX, WEIGHTS_FILE, read_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

UNDERSTOOD = {
    *("peft_type", "peft_version", "task_type", "base_model_name_or_path", "revision", "auto_mapping"),
    *("r", "lora_alpha", "use_rslora", "lora_dropout", "bias", "inference_mode", "init_lora_weights"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
    *("megatron_core", "qalora_group_size"),
}
"""Settings of peft's ``LoraConfig`` that leave a layer at ``W + scale * B @ A``. With any other, set to something,
peft is asked what the adapter means."""


@dataclass(frozen=True)
class LowRank:
    """A change ``up @ down`` of a weight [out, in]: ``down`` is [rank, in], ``up`` [out, rank], scaled."""

    down: torch.Tensor
    up: torch.Tensor


class AdaptedLinear(nn.Linear):
    """The outputs of a layer merged with its adapter, up to rounding, without a merged copy of the weight.

    ``weight`` is the very parameter of the untouched layer.
    """

    def __init__(self, untouched: nn.Linear, change: LowRank) -> None:
        super().__init__(untouched.in_features, untouched.out_features, bias=False, device="meta")
        self.weight = untouched.weight
        self.bias = untouched.bias
        self.register_buffer("down", change.down, persistent=False)
        self.register_buffer("up", change.up, persistent=False)

    @property
    def change(self) -> LowRank:
        """The two factors."""
        return LowRank(self.down, self.up)

    @property
    def merged_weight(self) -> torch.Tensor:
        """What merging gives, [out, in]; computed anew."""
        return self.weight + self.up @ self.down

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Outputs [..., out] for inputs [..., in]."""
        return super().forward(input) + F.linear(F.linear(input, self.down), self.up)


def plain_factors(adapter: Path, modules: Sequence[str]) -> dict[str, LowRank] | None:
    """The factors of plain LoRA for each of ``modules`` (dotted names), in fp32 with the scale in ``up``.

    None where the adapter is more than that, or does not fit together: then it takes peft to merge or to refuse it.
    The scale is alpha / rank (LoRA, https://arxiv.org/abs/2106.09685), with rsLoRA alpha / sqrt(rank)
    (https://arxiv.org/abs/2312.03732). Raises UserError if the configuration cannot be read.
    """
    config = read_json(adapter / CONFIG_FILE)
    further = {name for name, value in config.items() if value and name not in UNDERSTOOD}
    rank, alpha = int(config["r"]), float(config["lora_alpha"])
    if further or rank < 1 or isinstance(config.get("init_lora_weights"), str):
        return None
    tensors = {name: tensor.float() for name, tensor in load_file(adapter / WEIGHTS_FILE).items()}
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    factors = {}
    for name in modules:
        down, up = (tensors.pop(f"{PEFT_PREFIX}{name}.lora_{part}.weight") for part in "AB")
        if not down.shape[0] == up.shape[1] == rank or not (down.isfinite().all() and up.isfinite().all()):
            return None
        factors[name] = LowRank(down, up * scale)
    return None if tensors else factors


def can_share(layer: nn.Module) -> bool:
    """Whether an :class:`AdaptedLinear` can stand for this layer: a plain one in fp32."""
    return type(layer) is nn.Linear and layer.weight.dtype == torch.float32
