"""A micro-batch laid out flat: one sequence of real tokens, no padding, the rows' common prefix held once.

Every row starts with the same system prompt. Under causal attention its states depend on nothing that follows, so
one copy serves all rows of the micro-batch exactly; gradients from every row flow into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tuning.data.batches import pass_tokens
from tuning.data.chat import Example
from tuning.kernels.dropout import SHARED_ROW, token_keys


@dataclass(frozen=True)
class Span:
    """One row's own tokens, ``start`` to ``stop`` of the flat sequence, which see the first ``prefix`` tokens as well.

    ``mask`` [own tokens, prefix + own tokens] is 0 where a token may look and -inf where it may not.
    """

    start: int
    stop: int
    prefix: int
    mask: torch.Tensor


def span_of(start: int, stop: int, prefix: int) -> Span:
    """A span with its causal mask."""
    own = stop - start
    return Span(start, stop, prefix, torch.full((own, prefix + own), -torch.inf).triu_(prefix + 1))


@dataclass(frozen=True)
class Room:
    """A size that a micro-batch is padded to: flat tokens, grid rows and width, labels.

    There is a grid row more than the micro-batch has, for the padding tokens.
    """

    tokens: int
    rows: int
    width: int
    labels: int


def room_for(examples: Sequence[Example], prefix: int) -> Room:
    """The smallest of a few sizes that holds ``examples``; their neighbours in size share it."""
    return Room(
        tokens=step_up(pass_tokens([len(example) for example in examples], prefix)),
        rows=-(-len(examples) // 4) * 4 + 1,
        width=step_up(max(len(example) for example in examples)),
        labels=step_up(sum(example.label_count for example in examples)),
    )


def step_up(count: int) -> int:
    """The next of 64, 96, 128, 192, 256, 384 and so on: a padding of a sixth on average."""
    size = 64
    while size < count:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    return size


@dataclass(frozen=True)
class Packed:
    """Flat tokens [tokens] (the prefix, then each row's rest) and how they lie in a padded grid [rows, width].

    ``to_grid`` [rows * width] names the flat token of every grid slot (padding slots name token 0), ``from_grid``
    [tokens] the grid slot of every flat token. ``label_at`` [labels] are the flat tokens whose states predict
    ``labels``. ``keys`` are the tokens' dropout keys. ``spans`` say the same to attention on the CPU: the prefix by
    itself, if there is one, then every row.

    Padded to a :class:`Room`, the tokens end with some that nothing sees, the labels with some whose
    ``label_weights`` [labels] is 0 instead of 1.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    keys: torch.Tensor
    prefix: int
    rows: int
    width: int
    to_grid: torch.Tensor
    from_grid: torch.Tensor
    label_at: torch.Tensor
    labels: torch.Tensor
    spans: tuple[Span, ...]
    label_weights: torch.Tensor | None = None


def pack(
    examples: Sequence[Example],
    places: Sequence[int],
    prefix: int,
    key: int,
    device: str = "cpu",
    room: Room | None = None,
) -> Packed:
    """Lay out ``examples``, which all start with the same ``prefix`` tokens; ``places`` are their rows in the step.

    ``key`` is the step's dropout key. ``prefix`` must leave every prompt a token, because the last prompt token
    predicts the first label. With ``room``, which is for attention over the grid alone, all is padded to its size.
    Raises ValueError for rows that begin otherwise: they would be read with another row's prompt.
    """
    shared = examples[0].prompt_ids[:prefix]
    if any(example.prompt_ids[:prefix] != shared or len(example.prompt_ids) <= prefix for example in examples):
        raise ValueError(f"These rows do not share their first {prefix} tokens.")
    width = room.width if room else max(len(example) for example in examples)
    ids = list(shared)
    positions = list(range(prefix))
    rows = [SHARED_ROW] * prefix
    to_grid, from_grid, label_at, labels = [], list(range(prefix)), [], []
    bounds = [(0, prefix, 0)] if prefix else []
    for row, (example, place) in enumerate(zip(examples, places, strict=True)):
        start = len(ids)
        ids += example.prompt_ids[prefix:] + example.answer_ids
        bounds.append((start, len(ids), prefix))
        length = len(example)
        positions += range(prefix, length)
        rows += [place] * (length - prefix)
        to_grid += [*range(prefix), *range(start, len(ids)), *[0] * (width - length)]
        from_grid += range(row * width + prefix, row * width + length)
        before = len(ids) - len(example.answer_ids) - 1
        label_at += [before + place for place in example.label_places]
        labels += [example.answer_ids[place] for place in example.label_places]

    weights = None
    if room:
        weights = torch.tensor([1.0] * len(labels) + [0.0] * (room.labels - len(labels))).to(device, non_blocking=True)
        to_grid += [0] * (room.rows * width - len(to_grid))
        from_grid += [len(examples) * width] * (room.tokens - len(ids))
        for values, size in ((label_at, room.labels), (labels, room.labels)):
            values += [0] * (size - len(values))
        for values, filler in ((ids, 0), (positions, 0), (rows, SHARED_ROW)):
            values += [filler] * (room.tokens - len(values))

    def tensor(values: list[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.int64).to(device, non_blocking=True)

    position_tensor = tensor(positions)
    return Packed(
        ids=tensor(ids),
        positions=position_tensor,
        keys=token_keys(key, tensor(rows), position_tensor),
        prefix=prefix,
        rows=room.rows if room else len(examples),
        width=width,
        to_grid=tensor(to_grid),
        from_grid=tensor(from_grid),
        label_at=tensor(label_at),
        labels=tensor(labels),
        spans=tuple(span_of(*each) for each in bounds) if device == "cpu" else (),
        label_weights=weights,
    )


class ToGrid(torch.autograd.Function):
    """Flat [tokens, features] -> grid [rows * width, features]; every row gets the prefix, padding gets anything."""

    @staticmethod
    def forward(ctx: Any, flat: torch.Tensor, packed: Packed) -> torch.Tensor:
        ctx.packed = packed
        return flat.index_select(0, packed.to_grid)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        packed = ctx.packed
        flat = gradient.index_select(0, packed.from_grid)
        if packed.prefix and packed.rows > 1:
            grid = gradient.view(packed.rows, packed.width, -1)
            torch.sum(grid[:, : packed.prefix], dim=0, out=flat[: packed.prefix])
        return flat, None


class FromGrid(torch.autograd.Function):
    """Grid [rows * width, features] -> flat [tokens, features]; the prefix is taken from the first row."""

    @staticmethod
    def forward(ctx: Any, grid: torch.Tensor, packed: Packed) -> torch.Tensor:
        ctx.packed = packed
        return grid.index_select(0, packed.from_grid)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        packed = ctx.packed
        grid = gradient.new_zeros(packed.rows * packed.width, gradient.shape[1])
        return grid.index_copy_(0, packed.from_grid, gradient), None
