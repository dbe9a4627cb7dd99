"""One linear layer, or several that read the same input, for the rows of both sides at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary, WeakValueDictionary

import torch
from torch import nn
from torch.nn import functional as F

from eval_prompts.decoding.layers.matmul import Precision, Product, packed
from eval_prompts.models.lora_linear import AdaptedLinear, LowRank

_ROOT_PRODUCTS: WeakKeyDictionary[nn.Module, WeakValueDictionary[tuple[Precision, int], Product]] = WeakKeyDictionary()
"""Products in use, by the first of their modules, and by precision and how many modules they stand for."""

Run = tuple[int, int, int]
"""Rows of one side: 0 for base or 1 for tuned, first row, and the row after the last."""


@dataclass(frozen=True)
class Change:
    """What one side adds to the root's outputs: ``(x @ down) @ up``, [in, rank] and [rank, out]."""

    down: torch.Tensor
    up: torch.Tensor


class SideProduct:
    """Outputs of a layer for rows of both sides; the root's weights are held and read once for all that use them.

    A side whose layer is the root's plus a low-rank change gets the root's outputs and adds the change, which is the
    merged layer up to rounding; a side with any other layer has weights of its own.
    """

    def __init__(
        self,
        root: Sequence[nn.Linear],
        base: Sequence[nn.Linear],
        tuned: Sequence[nn.Linear] | None,
        precision: Precision,
    ) -> None:
        """``root`` are the untouched modules, ``base`` and ``tuned`` (None without an adapter) the sides' own."""
        sides = [base, base if tuned is None else tuned]
        self._changes = [change_of(root, side) for side in sides]
        alone = [is_own(root, side) for side in sides]
        self._shared = not any(alone)
        self._products: list[Product] = [
            packed(weights_of(side), precision) if lone else packed_root(root, precision)
            for side, lone in zip(sides, alone, strict=True)
        ]
        self._biases = [bias_of(side) for side in sides]
        self._width = max(sum(module.weight.shape[0] for module in side) for side in sides)

    @property
    def nbytes(self) -> int:
        """Bytes that the packed weights take, besides the models' own."""
        changes = sum(change.down.nbytes + change.up.nbytes for change in self._changes if change is not None)
        return changes + sum(self.sizes.values())

    @property
    def sizes(self) -> dict[int, int]:
        """Bytes that each of the packed weights takes, by its identity: others may use it, too."""
        return {id(product): product.nbytes for product in self._products}

    @property
    def tells_apart(self) -> bool:
        """Whether it matters which side a row belongs to."""
        return not self.scales or any(change is not None for change in self._changes)

    @property
    def scales(self) -> bool:
        """Whether the tuned side differs from the root by a low-rank change alone, which can be scaled row by row."""
        ours, theirs = self._biases
        same = ours is theirs if ours is None or theirs is None else ours.equal(theirs)
        return self._shared and same

    @property
    def changes_tuned(self) -> bool:
        """Whether a low-rank change is added for the tuned side."""
        return self._changes[1] is not None

    def __call__(self, x: torch.Tensor, runs: Sequence[Run], scales: torch.Tensor | None = None) -> torch.Tensor:
        """Outputs [rows, out] for ``x`` [rows, in]; ``runs`` say which rows belong to which side, and ``scales``
        [rows, 1] how much of its side's change each row gets, None for all of it.

        Where a side has fewer outputs (a smaller vocabulary), those that it lacks are minus infinity.
        """
        if self._shared:
            y = self._products[0](x)
        else:
            y = torch.cat([self._widened(self._products[side](x[begin:end])) for side, begin, end in runs])
        for side, begin, end in runs:
            change, bias = self._changes[side], self._biases[side]
            if change is not None:
                low = x[begin:end] @ change.down
                low = low if scales is None else low * scales[begin:end]
                y[begin:end, : change.up.shape[1]].addmm_(low, change.up)
            if bias is not None:
                y[begin:end, : len(bias)].add_(bias)
        return y

    def _widened(self, y: torch.Tensor) -> torch.Tensor:
        missing = self._width - y.shape[1]
        return F.pad(y, (0, missing), value=-torch.inf) if missing else y


@dataclass(frozen=True)
class Feed:
    """The tokens of one forward pass, rows of a side behind one another.

    ``lengths`` are the known tokens of each token's whole row: longrope turns long texts by other frequencies.
    ``scales`` [tokens, 1] are the strengths of each token's row, None where all have the adapter as it is.
    """

    tokens: list[int]
    positions: list[int]
    lengths: list[int]
    runs: list[Run]
    scales: torch.Tensor | None = None


def runs_of(counts: Iterable[tuple[int, int]]) -> list[Run]:
    """Runs of rows from pairs (rows of the base side, rows of the tuned side after them)."""
    runs: list[Run] = []
    for pair in counts:
        for side, count in enumerate(pair):
            end = runs[-1][2] if runs else 0
            if count and runs and runs[-1][0] == side:
                runs[-1] = (side, runs[-1][1], end + count)
            elif count:
                runs.append((side, end, end + count))
    return runs


def packed_root(root: Sequence[nn.Linear], precision: Precision) -> Product:
    """The untouched modules' product; one that is still in use, for another adapter, is used again."""
    in_use = _ROOT_PRODUCTS.setdefault(root[0], WeakValueDictionary())
    key = precision, len(root)
    product = in_use.get(key)
    if product is None:
        product = in_use[key] = packed(weights_of(root), precision)
    return product


def weights_of(modules: Sequence[nn.Linear]) -> list[torch.Tensor]:
    """The weights that the modules multiply with, [out, in] each."""
    return [module.merged_weight if isinstance(module, AdaptedLinear) else module.weight.detach() for module in modules]


def bias_of(modules: Sequence[nn.Linear]) -> torch.Tensor | None:
    """The biases of these modules as one, [out]; None where none of them has one."""
    if all(module.bias is None for module in modules):
        return None
    biases = [module.weight.new_zeros(len(module.weight)) if module.bias is None else module.bias for module in modules]
    return torch.cat([bias.detach() for bias in biases])


def is_own(root: Sequence[nn.Linear], side: Sequence[nn.Linear]) -> bool:
    """True if a side holds other weights than the root in any of these modules."""
    return any(ours.weight.data_ptr() != theirs.weight.data_ptr() for ours, theirs in zip(root, side, strict=True))


def change_of(root: Sequence[nn.Linear], side: Sequence[nn.Linear]) -> Change | None:
    """The low-rank changes of all these modules as one; None where there is none, or a module has other weights."""
    changes: list[LowRank | None] = [module.change if isinstance(module, AdaptedLinear) else None for module in side]
    known = [change for change in changes if change is not None]
    if not known or is_own(root, side):
        return None
    down = torch.cat([change.down for change in known]).t().contiguous()
    up = down.new_zeros(down.shape[1], sum(module.weight.shape[0] for module in root))
    rank, output = 0, 0
    for module, change in zip(root, changes, strict=True):
        if change is not None:
            up[rank : rank + change.up.shape[1], output : output + change.up.shape[0]] = change.up.t()
            rank += change.up.shape[1]
        output += module.weight.shape[0]
    return Change(down, up)
