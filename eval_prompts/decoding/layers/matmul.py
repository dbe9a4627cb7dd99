"""Matrix products with few rows, as fast as the memory allows; each way holds the weights as it likes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch.nn import functional as F

from eval_prompts.decoding.layers.quantized_linear import GroupedWeight, can_group
from tuning.upstream.torch_operators import onednn_layout, onednn_linear


class Product(Protocol):
    """Weights that rows are multiplied by."""

    @property
    def nbytes(self) -> int:
        """Bytes that the weights take, besides the model's own."""

    def __call__(self, x: torch.Tensor, /) -> torch.Tensor:
        """``x @ weight.T`` for ``x`` [rows, in]."""


Precision = Literal["fp32", "int8"]

LIKELY_ROWS = 10


class OneDnnWeight:
    """fp32 weights in oneDNN's own layout: exact, and read two to five times as fast as ``F.linear`` reads them.

    The layout made for ten rows is the best one for one to sixteen (``python -m tests.benchmarks.products``).
    """

    def __init__(self, weight: torch.Tensor) -> None:
        """``weight`` is [out, in] in fp32."""
        self._packed = onednn_layout(weight, LIKELY_ROWS)
        self.nbytes = weight.nbytes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``x @ weight.T`` for ``x`` [rows, in]."""
        return onednn_linear(x, self._packed)


class DenseWeight:
    """Weights as they are, no copy: for GPUs, and for processors that oneDNN does not know."""

    def __init__(self, weights: Sequence[torch.Tensor]) -> None:
        """``weights`` are [out, in] each, read the same input and have their outputs concatenated."""
        self._weights = stacked(weights)
        self.nbytes = 0

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``x @ weight.T`` for ``x`` [rows, in]."""
        if len(self._weights) == 1:
            return F.linear(x, self._weights[0])
        return torch.cat([F.linear(x, weight) for weight in self._weights], dim=-1)


def packed(weights: Sequence[torch.Tensor], precision: Precision) -> Product:
    """The fastest product this machine has for ``weights``, [out, in] each, whose outputs are concatenated."""
    first = weights[0]
    if precision == "int8" and can_group(first):
        return GroupedWeight(joined(weights))
    if has_onednn(first):
        return OneDnnWeight(joined(weights))
    return DenseWeight(weights)


def joined(weights: Sequence[torch.Tensor]) -> torch.Tensor:
    """The weights as one matrix; a single one is not copied."""
    return weights[0].detach() if len(weights) == 1 else torch.cat(list(weights))


def has_onednn(weight: torch.Tensor) -> bool:
    """True if oneDNN can hold such a weight."""
    return weight.is_cpu and weight.dtype == torch.float32 and torch.backends.mkldnn.is_available()


def stacked(weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The weights as one matrix without copying, if they lie one behind the other in memory; else as they are."""
    first = weights[0].detach()
    end, storage = first.data_ptr(), first.untyped_storage().data_ptr()
    for weight in weights:
        apart = weight.untyped_storage().data_ptr() != storage  # neighbours in a mapped file are
        if apart or weight.data_ptr() != end or not weight.is_contiguous() or weight.shape[1] != first.shape[1]:
            return [weight.detach() for weight in weights]
        end += weight.nbytes
    outputs = sum(weight.shape[0] for weight in weights)
    return [first.as_strided((outputs, first.shape[1]), first.stride())]
