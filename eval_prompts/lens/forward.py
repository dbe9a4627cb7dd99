"""One forward pass of a model over many tokens, its matrix products by the fastest way that this machine has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from tuning.upstream.torch_operators import has_onednn, onednn_linear

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PLAIN = (torch.Tensor, torch.nn.Parameter)
"""Classes of what oneDNN multiplies; a weight of another one (a quantised one) keeps its own product."""
ROWS = 16
"""Rows are filled up to a multiple of this: oneDNN keeps a compiled kernel for every number of rows it has met, and
texts come in ever new lengths."""


class OneDnnProducts(TorchFunctionMode):
    """While it is on, ``F.linear`` of this thread goes through oneDNN where all is in fp32 on the CPU: the same sums in
    another order. MKL, which torch takes by itself, leaves up to a quarter of an AMD processor's rate unused."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, or what is faster."""
        if func is F.linear and not kwargs and len(args) in (2, 3) and all(map(_fits, args)):
            return _linear(*args)
        return func(*args, **(kwargs or {}))


def _fits(tensor: torch.Tensor | None) -> bool:
    return tensor is None or (
        type(tensor) in PLAIN and tensor.is_cpu and tensor.dtype == torch.float32 and tensor.numel() > 0
    )


def _linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    flat = x.reshape(-1, x.shape[-1])
    rows = len(flat)
    spare = -rows % ROWS
    if spare:
        filled = flat.new_empty(rows + spare, flat.shape[1])
        filled[:rows], filled[rows:] = flat, 0
        flat = filled
    return onednn_linear(flat, weight, bias)[:rows].view(*x.shape[:-1], len(weight))


def forward(model: PreTrainedModel, **inputs: Any) -> Any:
    """``model(**inputs)`` without gradients."""
    fast = model.device.type == "cpu" and has_onednn()
    products: AbstractContextManager[object] = OneDnnProducts() if fast else nullcontext()
    with torch.inference_mode(), products:
        return model(**inputs)
