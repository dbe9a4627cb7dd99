"""Attention of new tokens over stored keys and values, as a layer's plan has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from eval_prompts.decoding.layers.families import LayerPlan


def attend(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None, plan: LayerPlan
) -> torch.Tensor:
    """Mixed values [..., queries, head size] for ``queries`` of as many heads as ``keys`` has, or a multiple.

    ``keys`` and ``values`` are [..., key heads, positions, head size]; ``mask`` is true where a query may look, all
    where it is None.
    """
    groups = queries.shape[-3] // keys.shape[-3]
    if plan.cap is None:
        return F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, scale=plan.scale, enable_gqa=groups > 1
        )
    if groups > 1:
        keys, values = (stored.repeat_interleave(groups, dim=-3) for stored in (keys, values))
    scores = queries @ keys.transpose(-1, -2) * plan.scale
    scores = plan.cap * torch.tanh(scores / plan.cap)
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(dim=-1, dtype=torch.float32).to(values.dtype) @ values


def span_mask(start: int, count: int, window: int | None, device: torch.device) -> torch.Tensor:
    """What ``count`` tokens from position ``start`` on may see: [count, start + count], true for each up to itself."""
    mask = torch.ones(count, start + count, dtype=torch.bool, device=device).tril(start)
    return mask if window is None else mask.triu(start - window + 1)
