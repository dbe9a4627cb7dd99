"""Rows of a model in one cache of transformers, padded on the left: all write their next token at one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from transformers import Cache

    from eval_prompts.rows import Row


def can_pad(cache: object) -> bool:
    """True if a cache holds nothing but keys and values that grow by a position per token."""
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    return isinstance(cache, DynamicCache) and all(
        type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers
    )


class PaddedBatch:
    """Rows that are under way, those of the base side first, and the cache that they share.

    The cache is ``length`` positions long; the last ``row.fed`` of them are a row's own, the others are masked.
    """

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.cache: Cache | None = None
        self._length = 0

    @property
    def counts(self) -> tuple[int, int]:
        """Rows of the base side, and of the tuned side behind them."""
        base = sum(row.side == "base" for row in self.rows)
        return base, len(self.rows) - base

    def join(self, row: Row, cache: Cache) -> None:
        """Take in ``row``, whose ``row.fed`` tokens lie in a ``cache`` of its own. That cache is used up."""
        first = row.side == "base"
        self.rows.insert(0 if first else len(self.rows), row)
        if self.cache is None:
            self.cache, self._length = cache, row.fed
            return
        self._length = max(self._length, row.fed)
        for ours, theirs in zip(layers_of(self.cache), layers_of(cache), strict=True):
            if ours.is_initialized:
                one, other = (theirs, ours) if first else (ours, theirs)
                ours.keys, ours.values = joined(one.keys, other.keys), joined(one.values, other.values)
                set_length(ours, self._length)

    def drop(self, row: Row) -> bool:
        """Let ``row`` go, and the positions that no other row needs. False if it is not here."""
        if row not in self.rows:
            return False
        place = self.rows.index(row)
        self.rows.remove(row)
        if self.cache is None or not self.rows:
            self.cache, self._length = None, 0
            return True
        kept = [index for index in range(len(self.rows) + 1) if index != place]
        longest = max(row.fed for row in self.rows)
        spare, self._length = self._length - longest, longest
        for layer in layers_of(self.cache):
            if layer.is_initialized:
                begin = max(0, layer.keys.shape[-2] - longest) if spare else 0
                layer.keys, layer.values = layer.keys[kept, :, begin:], layer.values[kept, :, begin:]
                set_length(layer, longest)
        return True

    def inputs(self, device: torch.device) -> dict[str, torch.Tensor]:
        """What one more token for every row is fed with, [rows, 1], and which positions each row may see."""
        fed = torch.tensor([row.fed for row in self.rows], device=device)
        positions = torch.arange(self._length + 1, device=device)
        return {
            "input_ids": torch.tensor([[row.ids[row.fed]] for row in self.rows], device=device),
            "attention_mask": (positions >= self._length - fed[:, None]).long(),
            "position_ids": fed[:, None],
        }

    def fed_one(self, cache: Cache) -> None:
        """Every row has been fed one token, which is now in ``cache``."""
        self.cache = cache
        self._length += 1
        for row in self.rows:
            row.fed += 1


def layers_of(cache: Cache) -> list[Any]:
    """The layers of a cache that :func:`can_pad` has found to hold keys and values."""
    return cache.layers


def joined(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    """Keys or values, [rows, heads, positions, size], of both under one another, padded on the left."""
    length = max(ours.shape[-2], theirs.shape[-2])
    return torch.cat([F.pad(part, (0, 0, length - part.shape[-2], 0)) for part in (ours, theirs)])


def set_length(layer: Any, length: int) -> None:
    """Tell a layer with a sliding window, which stores its last positions alone, how many there have been."""
    if hasattr(layer, "cumulative_length"):
        layer.cumulative_length = length
