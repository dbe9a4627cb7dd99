"""A linear layer with a LoRA adapter that shares the weight it adapts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Iterable

TOLERANCE = 1e-5


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


def factors_of(layer: nn.Module) -> LowRank | None:
    """The factors of one of peft's LoRA layers with a single adapter; None for a layer of another kind."""
    downs, ups, scalings = (getattr(layer, name, {}) for name in ("lora_A", "lora_B", "scaling"))
    if len(downs) != 1 or set(downs) != set(ups):
        return None
    (name,) = downs
    down, up = downs[name].weight.detach(), ups[name].weight.detach()
    return LowRank(down.clone(), up * scalings[name])


def share_what_is_shared(tuned: nn.Module, base: nn.Module, factors: Iterable[tuple[str, LowRank | None]]) -> None:
    """Replace merged layers of ``tuned`` (by dotted name) by ones that share the weight of ``base``.

    Only where both are plain layers in fp32 and the factors alone lead from one weight to the other: DoRA and other
    kinds of adapters change a weight in other ways too, and their layers stay as they are.
    """
    for name, change in factors:
        ours, theirs = base.get_submodule(name), tuned.get_submodule(name)
        plain = type(ours) is type(theirs) is nn.Linear and ours.weight.dtype == theirs.weight.dtype == torch.float32
        if change is None or not plain:
            continue
        adapted = AdaptedLinear(ours, change)
        if (adapted.merged_weight - theirs.weight).abs().max() <= TOLERANCE * theirs.weight.abs().max():
            tuned.set_submodule(name, adapted.eval().requires_grad_(False))
