"""Key-value cache memory: rows of like length share a lane, one tensor in which every row has a slot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from eval_prompts.rows import Row

SMALLEST_LANE = 256
FIRST_SLOTS = 2


def lane_capacity(tokens: int) -> int:
    """The capacity of the lane for rows of up to ``tokens`` tokens: steps of half a power of two from 256 on."""
    capacity = SMALLEST_LANE
    while capacity < tokens:
        capacity = capacity * 3 // 2 if capacity & (capacity - 1) == 0 else capacity * 4 // 3
    return capacity


@dataclass(frozen=True)
class View:
    """Positions of a lane from ``begin`` up to ``end`` and, where rows see different ones, a mask of those."""

    begin: int
    end: int
    mask: torch.Tensor | None


class Lane:
    """Slots for rows of up to ``capacity`` tokens. Those in use are always the first, rows of the base side before."""

    def __init__(self, shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> None:
        """``shape`` is (layers, key heads, capacity in tokens, head size)."""
        layers, self._heads, self._capacity, head_size = shape
        self.rows: list[Row] = []
        self._cache = torch.zeros(
            layers, FIRST_SLOTS, 2 * self._heads, self._capacity, head_size, dtype=dtype, device=device
        )
        self._places = torch.arange(0)
        self._views: dict[int | None, View] = {}

    @property
    def base_rows(self) -> int:
        """How many of the rows belong to the base side."""
        return sum(row.side == "base" for row in self.rows)

    def add(self, row: Row) -> int:
        """Take a slot for ``row`` and return its number."""
        if len(self.rows) == self._cache.shape[1]:
            self._grow()
        self.rows.append(row)
        slot, first_tuned = len(self.rows) - 1, self.base_rows - 1
        if row.side == "base" and slot != first_tuned:
            self._move(first_tuned, slot)
            self.rows[first_tuned] = row
            return first_tuned
        return slot

    def _grow(self) -> None:
        """Double the slots; only what is in use is copied."""
        old, count = self._cache, len(self.rows)
        layers, _, *shape = old.shape
        self._cache = old.new_zeros(layers, 2 * count, *shape)
        used = max(row.fed for row in self.rows)
        self._cache[:, :count, :, :used] = old[:, :, :, :used]

    def discard(self, row: Row) -> bool:
        """Free the slot of ``row``; others move up. False if the row is not here."""
        if row not in self.rows:
            return False
        free = self.rows.index(row)
        if row.side == "base":
            free = self._move(self.base_rows - 1, free)
        self._move(len(self.rows) - 1, free)
        self.rows.pop()
        return True

    def _move(self, slot: int, free: int) -> int:
        """Move a row with what is stored of it; returns the slot that is free after that."""
        if slot != free:
            moved = self.rows[slot]
            self._cache[:, free, :, : moved.fed] = self._cache[:, slot, :, : moved.fed]
            self.rows[free] = moved
        return slot

    def copy_from(self, other: Lane, slot: int, tokens: int) -> None:
        """Fill the first ``tokens`` positions of ``slot`` from the only row of ``other``."""
        self._cache[:, slot, :, :tokens] = other._cache[:, 0, :, :tokens]

    def write_span(self, layer: int, slot: int, start: int, new: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Store new keys and values, [tokens, key heads then value heads, head size], from position ``start`` on.

        Returns all keys and values of that slot up to the last new one, [key heads, positions, head size].
        """
        stored = self._cache[layer, slot, :, : start + len(new)]
        stored[:, start:] = new.transpose(0, 1)
        return stored[: self._heads], stored[self._heads :]

    def prepare_step(self, windows: Iterable[int | None]) -> None:
        """Before one more token for every row: where each is written, and what each row may see in each window.

        A window is a number of positions, the token's own among them; None for all.
        """
        device = self._cache.device
        positions = torch.tensor([row.fed for row in self.rows], device=device)
        heads = torch.arange(len(self.rows) * 2 * self._heads, device=device).view(len(self.rows), -1)
        self._places = (heads * self._capacity + positions[:, None]).flatten()
        self._views = {window: self._view(window, positions) for window in windows}

    def _view(self, window: int | None, positions: torch.Tensor) -> View:
        """What rows that write at ``positions`` [rows] may see."""
        fed = [row.fed for row in self.rows]
        begin = 0 if window is None else max(0, min(fed) + 1 - window)
        end = max(fed) + 1
        if min(fed) + 1 == end:
            return View(begin, end, None)
        stored, last = torch.arange(begin, end, device=positions.device), positions[:, None]
        mask = stored <= last
        if window is not None:
            mask &= stored > last - window
        return View(begin, end, mask[:, None, None])

    def write_step(
        self, layer: int, new: torch.Tensor, window: int | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Store one new key and value per row, [rows, key heads then value heads, head size], where prepared.

        Returns keys and values [rows, key heads, positions, head size] and the mask of what each row may see.
        """
        cache, size = self._cache[layer], new.shape[-1]
        cache.view(-1, size).index_copy_(0, self._places, new.reshape(-1, size))
        view = self._views[window]
        seen = cache[: len(self.rows), :, view.begin : view.end]
        return seen[:, : self._heads], seen[:, self._heads :], view.mask


@dataclass
class Span:
    """Tokens that one forward pass feeds for one row: ``count`` of them, from position ``start`` on."""

    lane: Lane
    slot: int
    start: int
    count: int


@dataclass
class Prefix:
    """Keys and values of the tokens with which every prompt begins, for one side."""

    ids: list[int] = field(default_factory=list)
    lane: Lane | None = None
