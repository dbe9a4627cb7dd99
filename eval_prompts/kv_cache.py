"""Key-value cache memory: rows of like length share a lane, one tensor in which every row has a slot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from eval_prompts.decode import Row

SMALLEST_LANE = 256
FIRST_SLOTS = 2


def lane_capacity(tokens: int) -> int:
    """The capacity of the lane for rows of up to ``tokens`` tokens: steps of half a power of two from 256 on."""
    capacity = SMALLEST_LANE
    while capacity < tokens:
        capacity = capacity * 3 // 2 if capacity & (capacity - 1) == 0 else capacity * 4 // 3
    return capacity


class Lane:
    """Slots for rows of up to ``capacity`` tokens. The slots in use are always the first ``len(rows)``."""

    def __init__(self, shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> None:
        """``shape`` is (layers, key heads, capacity in tokens, head size)."""
        layers, heads, capacity, head_size = shape
        self.rows: list[Row | None] = []
        self._keys = torch.zeros(layers, FIRST_SLOTS, heads, capacity, head_size, dtype=dtype, device=device)
        self._values = torch.zeros_like(self._keys)
        self._slots = torch.arange(0)
        self._positions = torch.arange(0)
        self._mask: torch.Tensor | None = None
        self._length = 0

    def add(self, row: Row | None) -> int:
        """Take the next slot for ``row`` and return its number."""
        if len(self.rows) == self._keys.shape[1]:
            self._keys = torch.cat((self._keys, torch.zeros_like(self._keys)), dim=1)
            self._values = torch.cat((self._values, torch.zeros_like(self._values)), dim=1)
        self.rows.append(row)
        return len(self.rows) - 1

    def discard(self, row: Row) -> bool:
        """Free the slot of ``row``; the last row moves into it. False if the row is not here."""
        if row not in self.rows:
            return False
        slot, last = self.rows.index(row), len(self.rows) - 1
        if slot != last:
            moved = self.rows[last]
            used = moved.fed
            self._keys[:, slot, :, :used] = self._keys[:, last, :, :used]
            self._values[:, slot, :, :used] = self._values[:, last, :, :used]
            self.rows[slot] = moved
        self.rows.pop()
        return True

    def copy_from(self, other: Lane, slot: int, tokens: int) -> None:
        """Fill the first ``tokens`` positions of ``slot`` from the only row of ``other``."""
        self._keys[:, slot, :, :tokens] = other._keys[:, 0, :, :tokens]
        self._values[:, slot, :, :tokens] = other._values[:, 0, :, :tokens]

    def write_span(
        self, layer: int, slot: int, start: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store new keys and values, [tokens, key heads, head size], from position ``start`` of a slot on.

        Returns all keys and values of that slot up to the last new one, [key heads, positions, head size].
        """
        end = start + len(keys)
        slot_keys, slot_values = self._keys[layer, slot], self._values[layer, slot]
        slot_keys[:, start:end] = keys.transpose(0, 1)
        slot_values[:, start:end] = values.transpose(0, 1)
        return slot_keys[:, :end], slot_values[:, :end]

    def prepare_step(self) -> None:
        """Before one more token for every row: where each is written, and what each row may see."""
        device = self._keys.device
        self._slots = torch.arange(len(self.rows), device=device)
        self._positions = torch.tensor([row.fed for row in self.rows], device=device)
        self._length = max(row.fed for row in self.rows) + 1
        steps = torch.arange(self._length, device=device)
        self._mask = None
        if any(row.fed + 1 != self._length for row in self.rows):
            self._mask = (steps <= self._positions[:, None])[:, None, None]

    def write_step(
        self, layer: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Store one new key and value per row, [rows, key heads, head size], at the positions prepared.

        Returns keys and values [rows, key heads, positions, head size] and the mask of what each row may see.
        """
        layer_keys, layer_values = self._keys[layer], self._values[layer]
        layer_keys[self._slots, :, self._positions] = keys
        layer_values[self._slots, :, self._positions] = values
        count = len(self.rows)
        return layer_keys[:count, :, : self._length], layer_values[:count, :, : self._length], self._mask
