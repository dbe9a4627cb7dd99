"""NEFTune (Jain et al. 2023, arXiv 2310.05914): uniform noise on the embeddings of an example while it is trained.

Of size alpha / sqrt(L d) for an example of L tokens and d features. The noise is a pure function of seed, step, row and
position, as dropout's masks are, so a step gives the same gradient however it is cut into passes; and L are the
example's own tokens, where others count the padding of its batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tuning.kernels.dropout import COUNTER, Noise, mix, shifted

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SALT = 1 << 41
BITS = 24


class EmbeddingNoise:
    """A forward hook of the embeddings; the keys and lengths of the tokens that pass come from ``noise``."""

    def __init__(self, alpha: float, noise: Noise) -> None:
        self.alpha, self.noise = alpha, noise

    def __call__(self, module: nn.Module, _: Any, embedded: torch.Tensor) -> torch.Tensor:
        """``embedded`` [..., features] with noise in training, as it is otherwise."""
        keys, lengths = self.noise.keys, self.noise.lengths
        if not module.training:
            return embedded
        if keys is None or lengths is None:
            raise RuntimeError("EmbeddingNoise needs keys and lengths in training mode")
        features = embedded.shape[-1]
        size = self.alpha / (lengths.to(torch.float32) * features).sqrt()
        return (embedded + uniform(keys, features) * size.unsqueeze(-1)).to(embedded.dtype)


def uniform(keys: torch.Tensor, features: int) -> torch.Tensor:
    """Numbers from -1 to 1, [..., features], for tokens with the int64 ``keys`` [...]."""
    words = torch.arange(features, device=keys.device, dtype=torch.int64) + SALT
    bits = shifted(mix(keys.unsqueeze(-1) + words * COUNTER), 64 - BITS)
    return (bits.to(torch.float32) + 0.5) / (1 << (BITS - 1)) - 1


def add_noise(model: PreTrainedModel, alpha: float, noise: Noise) -> None:
    """Have a model's embeddings noised while it trains."""
    noise.embeddings = True
    model.get_input_embeddings().register_forward_hook(EmbeddingNoise(alpha, noise))
