"""Operators of torch that have no public name. Each is looked up once, at its first use, by its name and arguments."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch

from tuning.upstream.expected import expect


def apply(function: type[torch.autograd.Function], *inputs: Any) -> torch.Tensor:
    """``function.apply(*inputs)``, which torch gives no types."""
    output: torch.Tensor = function.apply(*inputs)
    return output


class Operator:
    """One overload of ``torch.ops.space.name``, which must take ``arguments``."""

    def __init__(self, space: str, name: str, overload: str, arguments: str) -> None:
        self._space, self._name, self._overload = space, name, overload
        self._arguments = arguments.split()

    @cached_property
    def call(self) -> Any:
        """The operator itself. Raises UserError if torch has none of that name and those arguments."""
        packet = getattr(getattr(torch.ops, self._space), self._name, None)
        found = getattr(packet, self._overload, None)
        names = [argument.name for argument in found._schema.arguments] if found is not None else None
        expect(names == self._arguments, "torch", f"torch.ops.{self._space}.{self._name}")
        return found


ONEDNN_LINEAR = Operator("mkldnn", "_linear_pointwise", "default", "X W B attr scalars algorithm")
ONEDNN_LAYOUT = Operator("mkldnn", "_reorder_linear_weight", "default", "self batch_size")
INT4_LINEAR = Operator("aten", "_weight_int4pack_mm_for_cpu", "default", "self mat2 qGroupSize qScaleAndZeros")
INT4_LAYOUT = Operator("aten", "_convert_weight_to_int4pack_for_cpu", "default", "self innerKTiles")
SOFTMAX_GRADIENT = Operator("aten", "_softmax_backward_data", "default", "grad_output output dim input_dtype")
SILU_GRADIENT = Operator("aten", "silu_backward", "default", "grad_output self")
DIVIDE_ALL = Operator("aten", "_foreach_div_", "Scalar", "self scalar")
MULTIPLIED_ALL = Operator("aten", "_foreach_mul", "Tensor", "self other")


def onednn_linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """``x @ weight.T + bias`` in fp32 on the CPU by oneDNN; ``weight`` is [out, in], or made by :func:`onednn_layout`.

    Why: ``F.linear`` takes the BLAS that torch was built with, and nothing public chooses oneDNN for fp32.
    """
    product: torch.Tensor = ONEDNN_LINEAR.call(x, weight, bias, "none", [], "")
    return product


def onednn_layout(weight: torch.Tensor, rows: int) -> torch.Tensor:
    """A weight, [out, in] in fp32, laid out as oneDNN reads it fastest for products with ``rows`` rows.

    Why: public layers are laid out by ``torch.utils.mkldnn.to_mkldnn`` alone, as tensors that only its own layers take.
    """
    packed: torch.Tensor = ONEDNN_LAYOUT.call(weight, rows)
    return packed


def has_onednn() -> bool:
    """Whether this build of torch brings oneDNN."""
    return bool(torch.backends.mkldnn.is_available())


def int4_layout(codes: torch.Tensor) -> torch.Tensor:
    """Codes of 0 to 15, [out, in] as int32, in the layout of :func:`int4_linear`.

    Why: weights of 4 bits have no public operator; torchao calls these two by the same names.
    """
    packed: torch.Tensor = INT4_LAYOUT.call(codes, 1)
    return packed


def int4_linear(x: torch.Tensor, codes: torch.Tensor, group: int, scales: torch.Tensor) -> torch.Tensor:
    """``x`` [rows, in] in bf16 times codes from :func:`int4_layout`, with a scale and an offset for every ``group``
    inputs, [groups, out, 2] in bf16. Why: as there."""
    product: torch.Tensor = INT4_LINEAR.call(x, codes, group, scales)
    return product


def softmax_gradient(gradient: torch.Tensor, chances: torch.Tensor) -> torch.Tensor:
    """The gradient of scores whose softmax over the last dimension is ``chances``, from that of the chances.

    Why: a backward pass written by hand has no public call for it, and in single steps reads everything three times.
    """
    scores: torch.Tensor = SOFTMAX_GRADIENT.call(gradient, chances, -1, chances.dtype)
    return scores


def silu_gradient(gradient: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The gradient of ``x`` from that of ``silu(x)``. Why: as :func:`softmax_gradient`."""
    before: torch.Tensor = SILU_GRADIENT.call(gradient, x)
    return before


def divide_all(tensors: Sequence[torch.Tensor], number: float) -> None:
    """Divide many tensors in place, in as few launches as the device allows.

    Why: the optimizers' way over lists of tensors has no public name.
    """
    DIVIDE_ALL.call(tensors, number)


def multiplied_all(tensors: Sequence[torch.Tensor], factor: torch.Tensor) -> list[torch.Tensor]:
    """Each tensor times ``factor``, a single number in a tensor. Why: as :func:`divide_all`."""
    products: list[torch.Tensor] = MULTIPLIED_ALL.call(tensors, factor)
    return products
