"""Causal attention over a packed micro-batch, each row by itself, the shared prefix computed once.

On the CPU every row is a few plain products through oneDNN, which is more than twice as fast as torch's own fused
kernel at the lengths that training examples have; elsewhere torch's kernel runs over the padded grid.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional as F

from tuning.kernels.matmul import multiply
from tuning.kernels.packed import FromGrid, Packed, Span, ToGrid
from tuning.upstream.torch_operators import apply, softmax_gradient


def attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, packed: Packed, scale: float
) -> torch.Tensor:
    """Grouped-query attention of every row over the prefix and itself.

    ``query`` is [tokens, heads, size], ``key`` and ``value`` [tokens, groups, size], flat as ``packed`` says; the
    result is [tokens, heads * size].
    """
    if runs_by_rows(query):
        return apply(RowAttention, query, key, value, packed, scale)

    def to_grid(states: torch.Tensor) -> torch.Tensor:
        grid = apply(ToGrid, states.flatten(1), packed)
        return grid.view(packed.rows, packed.width, *states.shape[1:]).transpose(1, 2)

    # Rows are padded on the right, where causal attention looks at nothing that matters: no mask is needed.
    grids = to_grid(query), to_grid(key), to_grid(value)
    mixed = F.scaled_dot_product_attention(*grids, is_causal=True, scale=scale, enable_gqa=True)
    return apply(FromGrid, mixed.transpose(1, 2).flatten(0, 1).flatten(1), packed)


def runs_by_rows(query: torch.Tensor) -> bool:
    """Whether row by row is the faster way here."""
    return query.is_cpu


KEPT_KEYS = 256
"""Rows up to this length keep their attention probabilities for the backward pass."""


class RowAttention(torch.autograd.Function):
    """Attention row by row and group by group, all heads of a group in one product.

    The backward pass computes the probabilities of long rows again. They grow with the square of a row's length; up to
    ``KEPT_KEYS`` they take a third of what the layer's other activations take at most, and are kept.
    """

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, packed: Packed, scale: float
    ) -> torch.Tensor:
        groups = key.shape[1]
        asked = by_group(query, groups).mul_(scale)
        keys, values = by_group(key, groups), by_group(value, groups)
        answers = torch.empty_like(asked)
        kept: list[torch.Tensor | None] = []
        for group, queries, span, row_keys, row_values in row_groups(asked, keys, values, packed):
            chances = probabilities(asked[group, queries], row_keys, span)
            kept.append(chances if len(row_keys) <= KEPT_KEYS else None)
            torch.mm(chances, row_values, out=answers[group, queries])
        ctx.packed, ctx.scale = packed, scale
        ctx.save_for_backward(asked, keys, values, *kept)
        return by_token(answers, query.shape).flatten(1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        asked, keys, values, *kept = ctx.saved_tensors
        groups, tokens, size = keys.shape
        shape = (tokens, asked.shape[1] // tokens * groups, size)
        wanted = by_group(gradient.view(shape), groups)
        into_asked = torch.empty_like(asked)
        into_keys, into_values = torch.zeros_like(keys), torch.zeros_like(values)
        rows = row_groups(asked, keys, values, ctx.packed)
        for chances, (group, queries, span, row_keys, row_values) in zip(kept, rows, strict=True):
            if chances is None:
                chances = probabilities(asked[group, queries], row_keys, span)
            into_chances = multiply(wanted[group, queries], row_values)
            into_scores = softmax_gradient(into_chances, chances)
            torch.mm(into_scores, row_keys, out=into_asked[group, queries])
            add_to_row(into_keys[group], into_scores.t() @ asked[group, queries], span)
            add_to_row(into_values[group], chances.t() @ wanted[group, queries], span)
        into_query = by_token(into_asked.mul_(ctx.scale), shape)
        return into_query, into_keys.transpose(0, 1), into_values.transpose(0, 1), None, None


def probabilities(asked: torch.Tensor, row_keys: torch.Tensor, span: Span) -> torch.Tensor:
    """Softmax over the keys that each query may see: [the row's tokens * heads of the group, keys]."""
    scores = multiply(asked, row_keys)
    tokens, keys = span.mask.shape
    scores.view(tokens, -1, keys).add_(span.mask.unsqueeze(1))
    return torch.softmax(scores, dim=-1)


def row_groups(
    asked: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, packed: Packed
) -> Iterator[tuple[int, slice, Span, torch.Tensor, torch.Tensor]]:
    """For every row and group: the group's number, the row's place among its queries, the row, and the keys and
    values [prefix + row, size] that it sees."""
    heads = asked.shape[1] // keys.shape[1]
    for span in packed.spans:
        queries = slice(span.start * heads, span.stop * heads)
        rows = [
            torch.cat((states[:, : span.prefix], states[:, span.start : span.stop]), dim=1) for states in (keys, values)
        ]
        for group, (row_keys, row_values) in enumerate(zip(*rows, strict=True)):
            yield group, queries, span, row_keys, row_values


def by_group(states: torch.Tensor, groups: int) -> torch.Tensor:
    """A copy: [tokens, heads, size] -> [groups, tokens * heads of a group, size]."""
    tokens, heads, size = states.shape
    parted = states.view(tokens, groups, heads // groups, size).transpose(0, 1)
    return parted.clone(memory_format=torch.contiguous_format).view(groups, -1, size)


def by_token(states: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """The way back to ``shape``, which is [tokens, heads, size]."""
    return states.view(states.shape[0], shape[0], -1, shape[2]).transpose(0, 1).reshape(shape)


def add_to_row(total: torch.Tensor, part: torch.Tensor, span: Span) -> None:
    """Add [prefix + row, size] to ``total`` [tokens, size], where the prefix collects from all rows."""
    total[: span.prefix] += part[: span.prefix]
    total[span.start : span.stop] += part[span.prefix :]
