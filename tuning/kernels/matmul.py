"""Products with frozen weights: no gradient for the weight is ever computed, and the CPU's fastest kernel is used."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch.nn import functional as F

from tuning.upstream.torch_operators import apply, has_onednn, onednn_linear

# oneDNN keeps the compiled kernels of the last 1,024 shapes. Rows of text come in ever new lengths, so that these alone
# would grow to hundreds of megabytes in a run; read at its first product, and a user's own figure is left alone.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")

ONEDNN = has_onednn()


def multiply(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """``x @ weight.T`` for ``x`` [..., in] and ``weight`` [out, in], neither recorded for a gradient.

    ``F.linear`` calls the BLAS that torch was built with, MKL, which leaves half of an AMD processor's fp32 rate
    unused; oneDNN, which torch brings as well, reaches it on both makes.
    """
    if ONEDNN and x.is_cpu and x.dtype == weight.dtype == torch.float32:
        return onednn_linear(x, weight)
    return F.linear(x, weight)


def wide(x: torch.Tensor) -> torch.Tensor:
    """Half precision as fp32; anything else as it is."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


class FrozenProduct(torch.autograd.Function):
    """``x @ weight.T`` with a gradient for ``x`` alone, in ``x``'s dtype whatever the weight's."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(weight)
        return multiply(x.to(weight.dtype), weight).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (weight,) = ctx.saved_tensors
        return multiply(gradient.to(weight.dtype), weight.t()).to(gradient.dtype), None


def frozen_product(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """``x`` [..., in] times a frozen ``weight`` [out, in] -> [..., out]."""
    return apply(FrozenProduct, x, weight)
