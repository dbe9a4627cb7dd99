"""Matrix products with few rows, as fast as the processor's memory allows, in exact fp32."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

BLOCKS = 8
FEW_ROWS = 6
SKINNY_ROWS = 16


def multiply(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """``x @ weight.T`` for ``x`` [rows, in] and ``weight`` [out, in].

    The CPU's matrix kernels are made for many rows. With few, a batched product over blocks of the weight's rows reads
    the weights two to four times as fast (``python -m tests.benchmarks.products``); the sums are the same.
    """
    rows, outputs = x.shape[0], weight.shape[0]
    if rows > SKINNY_ROWS or outputs % BLOCKS or not x.is_cpu or weight.dtype != torch.float32:
        return F.linear(x, weight)
    blocks = weight.view(BLOCKS, outputs // BLOCKS, -1)
    if rows <= FEW_ROWS:
        return torch.bmm(blocks, x.t().expand(BLOCKS, -1, -1)).view(outputs, rows).t()
    return torch.bmm(x.expand(BLOCKS, -1, -1), blocks.transpose(1, 2)).transpose(0, 1).reshape(rows, outputs)


class SideProduct:
    """A linear layer of both sides: one product for all rows where the weights are shared, one per side where not."""

    def __init__(self, base: Sequence[torch.nn.Module], tuned: Sequence[torch.nn.Module] | None) -> None:
        """``base`` and ``tuned`` are the modules that read the same input; their outputs are concatenated."""
        tuned = base if tuned is None else tuned
        self._shared = all(
            ours.weight.data_ptr() == theirs.weight.data_ptr() for ours, theirs in zip(base, tuned, strict=True)
        )
        self._base = stacked([module.weight for module in base])
        self._tuned = self._base if self._shared else stacked([module.weight for module in tuned])

    def __call__(self, x: torch.Tensor, base_rows: int) -> torch.Tensor:
        """Outputs [rows, out] for ``x`` [rows, in], of which the first ``base_rows`` belong to the base side."""
        if self._shared or base_rows == x.shape[0]:
            return product(x, self._base)
        if base_rows == 0:
            return product(x, self._tuned)
        return torch.cat((product(x[:base_rows], self._base), product(x[base_rows:], self._tuned)))


def product(x: torch.Tensor, weights: Sequence[torch.Tensor]) -> torch.Tensor:
    """Outputs of several weights side by side."""
    if len(weights) == 1:
        return multiply(x, weights[0])
    return torch.cat([multiply(x, weight) for weight in weights], dim=-1)


def stacked(weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The weights as one matrix without copying, if they lie one behind the other in memory; else as they are."""
    first = weights[0].detach()
    end = first.data_ptr()
    for weight in weights:
        if weight.data_ptr() != end or not weight.is_contiguous() or weight.shape[1] != first.shape[1]:
            return [weight.detach() for weight in weights]
        end += weight.nbytes
    outputs = sum(weight.shape[0] for weight in weights)
    return [first.as_strided((outputs, first.shape[1]), first.stride())]
