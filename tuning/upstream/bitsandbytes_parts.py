"""How bitsandbytes holds a weight in 4 or 8 bits, which it says in attributes of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuning.upstream.expected import expect, parameters

if TYPE_CHECKING:
    import torch
    from torch import nn


def keep_weight_layout(model: nn.Module) -> None:
    """Stop bitsandbytes from repacking 4-bit weights in place at the first inference on CPUs with AVX-512's bf16.

    Why: the repacked weights can be decoded for no merge, have no backward pass, and their products are rounded to
    bf16; nothing public switches it off. Versions before 0.49 repack nothing and lack the switch.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010


def is_quantised(module: nn.Module) -> bool:
    """Whether bitsandbytes holds a layer's weight in 4 or 8 bits."""
    weight = getattr(module, "weight", None)
    if weight is None:
        return False
    return getattr(weight, "quant_state", None) is not None or int8_row_scales(module) is not None


def dequantised(module: Any) -> torch.Tensor:
    """The weight of a linear layer, [out, in], decoded if bitsandbytes holds it in 4 or 8 bits. Changes nothing.

    Why: layers have no public way to give their weight in full. Raises UserError for a bitsandbytes that decodes
    otherwise.
    """
    weight = module.weight
    if getattr(weight, "quant_state", None) is not None:
        from bitsandbytes.functional import dequantize_4bit

        expect(parameters(dequantize_4bit)[:2] == ["A", "quant_state"], "bitsandbytes", "dequantize_4bit")
        whole: torch.Tensor = dequantize_4bit(weight.data, weight.quant_state)
        return whole
    row_scales = int8_row_scales(module)
    if row_scales is not None:
        from bitsandbytes.functional import int8_vectorwise_dequant

        expect(parameters(int8_vectorwise_dequant) == ["A", "stats"], "bitsandbytes", "int8_vectorwise_dequant")
        whole = int8_vectorwise_dequant(weight.data, row_scales)
        return whole
    plain: torch.Tensor = weight.detach()
    return plain


def int8_row_scales(module: Any) -> torch.Tensor | None:
    """The absolute maximum of each row of an 8-bit layer, [out]: bitsandbytes moves it at the first product."""
    kept: torch.Tensor | None = getattr(module.weight, "SCB", None)
    return kept if kept is not None else getattr(getattr(module, "state", None), "SCB", None)


def same_scales(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether what bitsandbytes keeps beside two weights is the same; True for weights that it does not hold.

    Of weights in 8 bits whose scales it has moved away already this cannot be told: they count as different.
    """
    import torch

    if one.dtype == torch.int8:
        mine, other_scales = getattr(one, "SCB", None), getattr(other, "SCB", None)
        return mine is not None and other_scales is not None and torch.equal(mine, other_scales)
    state, other_state = getattr(one, "quant_state", None), getattr(other, "quant_state", None)
    if state is None or other_state is None:
        return state is other_state
    ours, theirs = state.as_dict(packed=True), other_state.as_dict(packed=True)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
