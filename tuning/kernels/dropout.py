"""LoRA dropout whose mask is a pure function of seed, step, row, position and layer.

PyTorch's dropout draws from one global stream, so the same examples get other masks when they are cut into other
micro-batches, recomputed, resumed, or spread over devices. Here the mask is a counter-based hash (the finaliser of
SplitMix64, Steele, Lea and Flood 2014), so a step gives the same gradient however it is computed.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import nn

from tuning.upstream.torch_operators import apply

MULTIPLIERS = (-0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15)
COUNTER = -0x61C8864680B583EB
CHANCES = 256
SHARED_ROW = -1


def shifted(bits: torch.Tensor, places: int) -> torch.Tensor:
    """A logical right shift of int64, which torch only has for arithmetic ones."""
    return (bits >> places) & ((1 << (64 - places)) - 1)


def mix(bits: torch.Tensor) -> torch.Tensor:
    """SplitMix64's finaliser: int64 -> int64, every output bit depending on every input bit."""
    bits = (bits ^ shifted(bits, 30)) * MULTIPLIERS[0]
    bits = (bits ^ shifted(bits, 27)) * MULTIPLIERS[1]
    return bits ^ shifted(bits, 31)


def step_key(seed: int, step: int) -> int:
    """A 63-bit key for one optimizer step of one run."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}".encode()).digest()[:8], "big") >> 1


def token_keys(key: int, rows: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """One int64 key per token, for int64 tensors of one shape: its row in the step (SHARED_ROW for the prefix that
    rows share) and its position in that row."""
    return mix(((rows + 1) << 32 | positions) ^ key)


class Noise:
    """The keys of the micro-batch that is passing through a model's own forward, for its dropout layers; and how long
    the example of each token is, for noise on the embeddings. Both have one shape, or lengths that of a column."""

    keys: torch.Tensor | None = None
    lengths: torch.Tensor | None = None
    embeddings = False
    """Whether there is noise on the embeddings."""


class Dropped(torch.autograd.Function):
    """``x`` times ``scale`` where the mask bytes reach ``threshold``, else 0; keeps one byte per value."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, mask: torch.Tensor, threshold: int, scale: float) -> torch.Tensor:
        kept = mask >= threshold
        ctx.save_for_backward(kept)
        ctx.scale = scale
        return kept.to(x.dtype).mul_(x).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (kept,) = ctx.saved_tensors
        return kept.to(gradient.dtype).mul_(gradient).mul_(ctx.scale), None, None, None


class KeyedDropout(nn.Module):
    """Dropout over the last dimension with one key per token from ``noise``; ``salt`` tells layers apart.

    The rate is rounded to a 256th, and survivors are scaled by the rounded rate, so the mean stays exact. Layers that
    read the same input get the same salt and so the same mask.
    """

    def __init__(self, rate: float, salt: int, noise: Noise) -> None:
        super().__init__()
        self.threshold = round(rate * CHANCES)
        self.salt = salt
        self.noise = noise

    def forward(self, x: torch.Tensor, keys: torch.Tensor | None = None) -> torch.Tensor:
        """``x`` [..., features] with about ``rate`` of its values zeroed and the others scaled up, in training.

        ``keys`` [...] are the tokens' keys; those of ``noise`` unless given.
        """
        if not self.training or not self.threshold:
            return x
        keys = self.noise.keys if keys is None else keys
        if keys is None:
            raise RuntimeError("KeyedDropout needs keys in training mode")
        scale = CHANCES / (CHANCES - self.threshold)
        return apply(Dropped, x, self.mask(keys, x.shape[-1]), self.threshold, scale)

    def mask(self, keys: torch.Tensor, features: int) -> torch.Tensor:
        """A random byte for every feature of every token."""
        words = torch.arange(-(-features // 8), device=keys.device, dtype=torch.int64) + (self.salt << 20)
        return mix(keys.unsqueeze(-1) + words * COUNTER).view(torch.uint8)[..., :features]
