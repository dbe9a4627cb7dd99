"""Encoded rows -> the rows of every step -> micro-batches under a token budget.

Everything here is a pure function of its arguments: which rows a step trains depends on the seed and the step's
number alone, so a resumed run needs no saved iterator, and more devices see the same steps.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from tuning.data.chat import PYTHON_FORMAT, PromptFormat, Unit
from tuning.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tuning.data.cleaning import Row

REFUSED_SHARE = 0.1


@dataclass(frozen=True)
class Encoded:
    """Rows ready for training with their ids, and how many were left out because nothing of them would be trained."""

    examples: list[Unit]
    unlabelled: int = 0
    truncated: int = 0
    shared_prefix: int = 0
    ids: list[str] = field(default_factory=list)


def encode_rows(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    max_tokens: int,
    part: str,
    prompt_format: PromptFormat = PYTHON_FORMAT,
    known: Mapping[str, Sequence[Unit]] | None = None,
) -> Encoded:
    """Encode rows of one split (``part`` names it in errors); ``known`` holds those that are encoded already, by id.

    A row whose prompt fills ``max_tokens``, or whose answer is empty, has no label: it is counted and left out.
    Raises UserError if that is more than a tenth of the rows, or if nothing is left.
    """
    from tuning.data.encoding import Encoder, units_of

    if not rows:
        raise UserError(f"The data has no {part} rows: choose another source.")
    encoder = Encoder(tokenizer, prompt_format, max_tokens)
    examples: list[Unit] = []
    ids: list[str] = []
    unlabelled = 0
    for row in rows:
        try:
            found = known[row.id] if known is not None and row.id in known else units_of(encoder, row) or ()
        except UserError:
            found = ()
        usable = [example for example in found if example.label_count > 1]
        examples += usable
        ids += [row.id] * len(usable)
        unlabelled += not usable
    if unlabelled > REFUSED_SHARE * len(rows):
        raise UserError(
            f"{unlabelled} of {len(rows)} {part} rows have no answer token within {max_tokens} tokens: "
            "raise --max-tokens or repair the data."
        )
    return Encoded(examples, unlabelled, sum(e.truncated for e in examples), common_prefix(examples), ids)


def common_prefix(examples: Sequence[Unit], most: int | None = None) -> int:
    """Length of the longest token prefix, at most ``most``, that all prompts share, leaving each prompt a token."""
    if not examples:
        return 0
    first = examples[0].prompt_ids
    length = min(len(example.prompt_ids) for example in examples) - 1
    length = length if most is None else min(length, most)
    for example in examples:
        while example.prompt_ids[:length] != first[:length]:
            length -= 1
    return length


@lru_cache(maxsize=4)
def epoch_order(rows: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The order in which an epoch visits its rows."""
    return tuple(random.Random(f"{seed}/{epoch}").sample(range(rows), rows))


def step_rows(step: int, batch_size: int, rows: int, seed: int) -> list[int]:
    """The rows of a step (counted from 0): the next ``batch_size`` of an endless stream of shuffled epochs."""
    chosen: list[int] = []
    position = step * batch_size
    while len(chosen) < batch_size:
        epoch, offset = divmod(position + len(chosen), rows)
        order = epoch_order(rows, seed, epoch)
        chosen += order[offset : offset + batch_size - len(chosen)]
    return chosen


def share(rows: Sequence[int], lengths: Sequence[int], rank: int, ranks: int) -> list[int]:
    """Positions within ``rows`` that one of ``ranks`` devices trains: longest first, dealt there and back."""
    by_length = sorted(range(len(rows)), key=lambda place: (-lengths[rows[place]], place))
    cycle = [*range(ranks), *reversed(range(ranks))]
    return [place for turn, place in enumerate(by_length) if cycle[turn % len(cycle)] == rank]


def micro_batches(
    lengths: Sequence[int], budget: int, max_rows: int | None = None, *, prefix: int = 0, padded: bool = False
) -> list[list[int]]:
    """Group positions of ``lengths`` into forward passes of at most ``budget`` tokens, longest first.

    Neighbours in length share a pass, so that little is padded. A pass costs the tokens it computes: the shared
    ``prefix`` once and the rest of every row, or, ``padded``, the longest row times the rows. A row over the budget
    gets a pass of its own. Passes are evened out: no small rest at the end.
    """
    order = sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
    fewest = len(fill(order, lengths, budget, max_rows, prefix, padded))
    low, high = 1, budget
    while low < high:
        middle = (low + high) // 2
        if len(fill(order, lengths, middle, max_rows, prefix, padded)) <= fewest:
            high = middle
        else:
            low = middle + 1
    return fill(order, lengths, low, max_rows, prefix, padded)


def fill(
    order: Sequence[int], lengths: Sequence[int], budget: int, max_rows: int | None, prefix: int, padded: bool
) -> list[list[int]]:
    """Cut ``order`` into consecutive groups, each as long as ``budget`` and ``max_rows`` allow."""
    groups: list[list[int]] = []
    for place in order:
        if groups and len(groups[-1]) < (max_rows or len(order)):
            candidate = [*groups[-1], place]
            if pass_tokens([lengths[member] for member in candidate], prefix, padded) <= budget:
                groups[-1] = candidate
                continue
        groups.append([place])
    return groups


def pass_tokens(lengths: Sequence[int], prefix: int = 0, padded: bool = False) -> int:
    """Tokens that one forward pass over rows of these lengths computes."""
    return max(lengths) * len(lengths) if padded else prefix + sum(length - prefix for length in lengths)
