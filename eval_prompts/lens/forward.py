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
    """Weights in bf16, each rounded when it is first used, and kept with the weight it was made of."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def of(self, weight: torch.Tensor) -> torch.Tensor:
        """``weight`` in bf16."""
        _, rounded = self._kept.get(id(weight), (None, None))
        if rounded is None:
            rounded = weight.bfloat16()
            self._kept[id(weight)] = weight, rounded  # while it is kept, no other weight has its identity
        return rounded

    def clear(self) -> None:
        """Forget them all."""
        self._kept.clear()


ROUNDED = RoundedWeights()


class OneDnnProducts(TorchFunctionMode):
    """While it is on, ``F.linear`` of this thread goes through oneDNN where all is in fp32 on the CPU: the same sums in
    another order. MKL, which torch takes by itself, leaves up to a quarter of an AMD processor's rate unused."""

    def __init__(self, weights: RoundedWeights | None = None, exact: torch.Tensor | None = None) -> None:
        """With ``weights`` inputs, weights and outputs are rounded to bf16, and summed in fp32; but for those of the
        weight ``exact``."""
        super().__init__()
        self._weights, self._exact = weights, exact

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
        rounded = self._weights.of(weight) if self._weights is not None and weight is not self._exact else None
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
    """``model(**inputs)`` without gradients; with ``weights`` (see :func:`can_round`) by those, the head's excepted."""
    fast = model.device.type == "cpu" and has_onednn()
    head = getattr(model.get_output_embeddings(), "weight", None)
    products: AbstractContextManager[object] = OneDnnProducts(weights, head) if fast else nullcontext()
    with torch.inference_mode(), products:
        return model(**inputs)
