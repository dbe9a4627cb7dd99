"""Causal attention over a packed micro-batch, each row by itself, the shared prefix computed once.

On the CPU every row is a few plain products through oneDNN, which is more than twice as fast as torch's own fused
kernel at the lengths that training examples have; elsewhere torch's kernel runs over the padded grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional as F

from tuning.frozen import multiply
from tuning.packed import FromGrid, Packed, Span, ToGrid


def attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, packed: Packed, scale: float
) -> torch.Tensor:
    """Grouped-query attention of every row over the prefix and itself.

    ``query`` is [tokens, heads, size], ``key`` and ``value`` [tokens, groups, size], flat as ``packed`` says; the
    result is [tokens, heads * size].
    """
    if runs_by_rows(query):
        return RowAttention.apply(query, key, value, packed, scale)
    grids = []
    for states in (query, key, value):
        grid = ToGrid.apply(states.flatten(1), packed)
        grids.append(grid.view(packed.rows, packed.width, *states.shape[1:]).transpose(1, 2))
    # Rows are padded on the right, where causal attention looks at nothing that matters: no mask is needed.
    mixed = F.scaled_dot_product_attention(*grids, is_causal=True, scale=scale, enable_gqa=True)
    return FromGrid.apply(mixed.transpose(1, 2).flatten(0, 1).flatten(1), packed)


def runs_by_rows(query: torch.Tensor) -> bool:
    """Whether row by row is the faster way here."""
    return query.is_cpu


class RowAttention(torch.autograd.Function):
    """Attention row by row and group by group, all heads of a group in one product.

    The backward pass computes the probabilities again: keeping them, which grow with the square of a row's length,
    costs more memory than it saves time.
    """

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, packed: Packed, scale: float
    ) -> torch.Tensor:
        groups = key.shape[1]
        out = torch.empty_like(query)
        keys, values = key.transpose(0, 1).contiguous(), value.transpose(0, 1).contiguous()
        for span in packed.spans:
            asked = gather_queries(query, span, groups) * scale
            answers = torch.empty_like(asked)
            for group, row_keys, row_values in row_groups(keys, values, span):
                answers[group] = multiply(probabilities(asked[group], row_keys, span), row_values.t())
            scatter_queries(answers, out, span)
        ctx.packed, ctx.scale = packed, scale
        ctx.save_for_backward(query, keys, values)
        return out.flatten(1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, keys, values = ctx.saved_tensors
        groups = keys.shape[0]
        gradient = gradient.view_as(query)
        into_query = torch.empty_like(query)
        into_keys, into_values = torch.zeros_like(keys), torch.zeros_like(values)
        for span in ctx.packed.spans:
            asked = gather_queries(query, span, groups) * ctx.scale
            wanted = gather_queries(gradient, span, groups)
            into_asked = torch.empty_like(asked)
            for group, row_keys, row_values in row_groups(keys, values, span):
                chances = probabilities(asked[group], row_keys, span)
                into_chances = multiply(wanted[group], row_values)
                into_scores = torch._softmax_backward_data(into_chances, chances, -1, chances.dtype)
                into_asked[group] = multiply(into_scores, row_keys.t())
                add_to_row(into_keys[group], multiply(into_scores.t(), asked[group].t()), span)
                add_to_row(into_values[group], multiply(chances.t(), wanted[group].t()), span)
            scatter_queries(into_asked.mul_(ctx.scale), into_query, span)
        return into_query, into_keys.transpose(0, 1), into_values.transpose(0, 1), None, None


def probabilities(asked: torch.Tensor, row_keys: torch.Tensor, span: Span) -> torch.Tensor:
    """Softmax over the keys that each query may see: [heads of the group * queries, keys]."""
    scores = multiply(asked, row_keys).view(-1, *span.mask.shape)
    scores += span.mask
    return torch.softmax(scores, dim=-1).flatten(0, 1)


def row_groups(
    keys: torch.Tensor, values: torch.Tensor, span: Span
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """Group number, keys and values [prefix + row, size] of every group for one row."""
    rows = [
        torch.cat((states[:, : span.prefix], states[:, span.start : span.stop]), dim=1) for states in (keys, values)
    ]
    for group, (row_keys, row_values) in enumerate(zip(*rows, strict=True)):
        yield group, row_keys, row_values


def gather_queries(states: torch.Tensor, span: Span, groups: int) -> torch.Tensor:
    """[tokens, heads, size] -> [groups, heads of a group * the row's tokens, size]."""
    part = states[span.start : span.stop]
    return part.view(len(part), groups, -1, part.shape[-1]).permute(1, 2, 0, 3).flatten(1, 2)


def scatter_queries(states: torch.Tensor, out: torch.Tensor, span: Span) -> None:
    """The way back, into the row's place in ``out`` [tokens, heads, size]."""
    part = out[span.start : span.stop]
    groups = states.shape[0]
    part.view(len(part), groups, -1, part.shape[-1]).copy_(
        states.view(groups, -1, len(part), part.shape[-1]).permute(2, 0, 1, 3)
    )


def add_to_row(total: torch.Tensor, part: torch.Tensor, span: Span) -> None:
    """Add [prefix + row, size] to ``total`` [tokens, size], where the prefix collects from all rows."""
    total[: span.prefix] += part[: span.prefix]
    total[span.start : span.stop] += part[span.prefix :]
