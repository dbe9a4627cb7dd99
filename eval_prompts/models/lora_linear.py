"""A linear layer with a LoRA adapter that shares the weight it adapts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from eval_prompts.models.adapter_files import PEFT_PREFIX

if TYPE_CHECKING:
    from eval_prompts.models.adapter_files import AdapterFiles

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

    down: torch.Tensor
    up: torch.Tensor

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

    def merged(self) -> nn.Linear:
        """A plain layer with a merged weight of its own."""
        linear = nn.Linear(self.in_features, self.out_features, bias=False, device="meta")
        linear.weight, linear.bias = nn.Parameter(self.merged_weight, requires_grad=False), self.bias
        return linear

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Outputs [..., out] for inputs [..., in]."""
        return super().forward(input) + F.linear(F.linear(input, self.down), self.up)


def says_plain(files: AdapterFiles) -> bool:
    """Whether an adapter's settings leave every layer at ``W + scale * B @ A``; its tensors are not looked at."""
    config = files.config
    further = {name for name, value in config.items() if value and name not in UNDERSTOOD}
    if files.kind != "LORA" or further or config.get("bias", "none") not in ("none", None):
        return False
    return not isinstance(config.get("init_lora_weights"), str) or config["init_lora_weights"] == "gaussian"


def plain_factors(files: AdapterFiles) -> dict[str, LowRank] | None:
    """The factors of plain LoRA for each layer (by dotted name), in fp32 with the scale in ``up``.

    None where the adapter is more than that, or does not fit together: then it takes peft to merge or to refuse it.
    The scale is alpha / rank (LoRA, https://arxiv.org/abs/2106.09685), with rsLoRA alpha / sqrt(rank)
    (https://arxiv.org/abs/2312.03732). Raises UserError if the file cannot be read or holds NaN.
    """
    if not says_plain(files):
        return None
    config = files.config
    rank, alpha = int(config["r"]), float(config["lora_alpha"])
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    modules = {name.removeprefix(PEFT_PREFIX).partition(".lora_")[0] for name in files.shapes}
    parts = {f"{PEFT_PREFIX}{path}.lora_{part}.weight" for path in modules for part in "AB"}
    if parts != set(files.shapes) or any(len(shape) != 2 for shape in files.shapes.values()):
        return None
    tensors = {name: tensor.float() for name, tensor in files.tensors().items()}
    factors = {}
    for path in sorted(modules):
        down, up = (tensors[f"{PEFT_PREFIX}{path}.lora_{part}.weight"] for part in "AB")
        if not down.shape[0] == up.shape[1] == rank:
            return None
        factors[path] = LowRank(down, up * scale)
    return factors


def can_share(layer: nn.Module | None, change: LowRank) -> bool:
    """Whether an :class:`AdaptedLinear` can stand for this layer: a plain one in fp32, of the change's shape."""
    if type(layer) is not nn.Linear or layer.weight.dtype != torch.float32:
        return False
    return layer.weight.shape == (change.up.shape[0], change.down.shape[1])
