"""One forward pass of a model over many tokens, its matrix products by the fastest way that this machine has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from tuning.models.device import has_bf16
from tuning.upstream.torch_operators import has_onednn, onednn_linear

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PLAIN = (torch.Tensor, torch.nn.Parameter)
"""Classes of what oneDNN multiplies; a weight of another one (a quantised one) keeps its own product."""
ROWS = 16
"""Rows are filled up to a multiple of this: oneDNN keeps a compiled kernel for every number of rows it has met, and
texts come in ever new lengths."""


class RoundedWeights:
    """A model's weights in bf16, each rounded when it is first used; the head's stay in fp32."""

    def __init__(self, model: PreTrainedModel) -> None:
        head = model.get_output_embeddings()
        self._exact = getattr(head, "weight", None)
        self._rounded: dict[int, torch.Tensor] = {}

    def of(self, weight: torch.Tensor) -> torch.Tensor | None:
        """``weight`` in bf16; None where it stays as it is."""
        if self._exact is not None and weight.data_ptr() == self._exact.data_ptr():
            return None
        found = self._rounded.get(weight.data_ptr())
        if found is None:
            found = self._rounded[weight.data_ptr()] = weight.bfloat16()
        return found


class OneDnnProducts(TorchFunctionMode):
    """While it is on, ``F.linear`` of this thread goes through oneDNN where all is in fp32 on the CPU: the same sums in
    another order. MKL, which torch takes by itself, leaves up to a quarter of an AMD processor's rate unused."""

    def __init__(self, weights: RoundedWeights | None = None) -> None:
        """With ``weights`` inputs, weights and outputs are rounded to bf16, and summed in fp32."""
        super().__init__()
        self._weights = weights

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, or what is faster."""
        if func is F.linear and not kwargs and len(args) in (2, 3) and all(map(_fits, args)):
            return self._linear(*args)
        return func(*args, **(kwargs or {}))

    def _linear(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        rounded = self._weights.of(weight) if self._weights is not None else None
        flat = x.reshape(-1, x.shape[-1])
        rows = len(flat)
        spare = -rows % ROWS
        if spare or rounded is not None:
            filled = flat.new_empty(rows + spare, flat.shape[1], dtype=(weight if rounded is None else rounded).dtype)
            filled[:rows], filled[rows:] = flat, 0
            flat = filled
        if rounded is None:
            found = onednn_linear(flat, weight, bias)
        else:
            found = onednn_linear(flat, rounded, None if bias is None else bias.bfloat16()).float()
        return found[:rows].view(*x.shape[:-1], len(weight))


def _fits(tensor: torch.Tensor | None) -> bool:
    return tensor is None or (
        type(tensor) in PLAIN and tensor.is_cpu and tensor.dtype == torch.float32 and tensor.numel() > 0
    )


def can_round(model: PreTrainedModel) -> bool:
    """Whether :class:`RoundedWeights` are read faster than the model's own: in fp32, where the CPU computes in bf16."""
    return model.device.type == "cpu" and model.dtype == torch.float32 and has_onednn() and has_bf16("cpu")


def forward(model: PreTrainedModel, weights: RoundedWeights | None = None, **inputs: Any) -> Any:
    """``model(**inputs)`` without gradients; with ``weights`` (see :func:`can_round`) by those."""
    fast = model.device.type == "cpu" and has_onednn()
    products: AbstractContextManager[object] = OneDnnProducts(weights) if fast else nullcontext()
    with torch.inference_mode(), products:
        return model(**inputs)
