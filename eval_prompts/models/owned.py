"""Copies of single layers in fp32, decoded where bitsandbytes holds them in 4 or 8 bits, and tensors shared again."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

from tuning.upstream.bitsandbytes_parts import dequantised, is_quantised, same_scales

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel


def own_module(module: nn.Module, zero_bias: bool = False) -> nn.Module:
    """A copy of ``module`` in fp32 with parameters of its own, decoded if they are held in 4 or 8 bits.

    With ``zero_bias`` a linear layer without a bias gets one of zeros.
    """
    import torch
    from torch import nn

    own: Any = own_linear(module) if is_quantised(module) else copy.deepcopy(module).float()
    if zero_bias and getattr(own, "bias", "") is None:
        outputs = own.nf if hasattr(own, "nf") else own.out_features
        own.bias = nn.Parameter(torch.zeros(outputs, device=own.weight.device), requires_grad=False)
    kept: nn.Module = own.requires_grad_(False)
    return kept


def own_linear(module: nn.Module) -> nn.Linear:
    """A plain fp32 linear layer with a copy of ``module``'s weights, whatever precision they are held in."""
    import torch
    from torch import nn

    weight, bias = dequantised(module), cast("torch.Tensor | None", module.bias)
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    linear.weight = nn.Parameter(weight.to(torch.float32, copy=True), requires_grad=False)
    if bias is not None:
        linear.bias = nn.Parameter(bias.detach().to(torch.float32, copy=True), requires_grad=False)
    return linear


def share_equal(tuned: PreTrainedModel, base: PreTrainedModel) -> int:
    """Have ``tuned`` hold the very parameters and buffers of ``base`` wherever the numbers are the same.

    Returns how many of its parameters differ from the base's of the same name, or have none.
    """
    theirs: dict[str, torch.Tensor] = dict(base.named_parameters(remove_duplicate=False))
    buffers = dict(base.named_buffers(remove_duplicate=False))
    differing = 0
    for path, module in tuned.named_modules():
        for name, parameter in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            other = theirs.get(f"{path}.{name}" if path else name)
            if other is parameter:
                continue
            if same_numbers(other, parameter):
                setattr(module, name, other)
            else:
                differing += 1
        for name, buffer in list(module.named_buffers(recurse=False, remove_duplicate=False)):
            other = buffers.get(f"{path}.{name}" if path else name)
            if other is not buffer and same_numbers(other, buffer):
                setattr(module, name, other)
    return differing


def same_numbers(one: torch.Tensor | None, other: torch.Tensor) -> bool:
    """Whether two tensors are equal bit for bit: of one kind, dtype and shape, minus zero not being zero."""
    import torch

    if one is None or type(one) is not type(other) or one.dtype != other.dtype or one.shape != other.shape:
        return False
    if not same_scales(one, other):
        return False
    if not one.is_contiguous() or not other.is_contiguous() or one.dim() == 0:
        return torch.equal(one, other)
    return torch.equal(one.detach().view(torch.uint8), other.detach().view(torch.uint8))
