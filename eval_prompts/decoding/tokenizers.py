"""Each side's tokenizer, which may be its adapter's own, and how it makes text of tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from eval_prompts.models.pair import SIDES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from eval_prompts.models.pair import Side


def by_side(
    tokenizers: PreTrainedTokenizerBase | Mapping[Side, PreTrainedTokenizerBase],
) -> dict[Side, PreTrainedTokenizerBase]:
    """The tokenizer of each side; one that is given alone is both sides'."""
    if isinstance(tokenizers, Mapping):
        return dict(tokenizers)
    return dict.fromkeys(SIDES, tokenizers)


def decoder(tokenizer: PreTrainedTokenizerBase, ends: frozenset[int]) -> Callable[[list[int]], str]:
    """From generated tokens to text, without those that end an answer."""

    def decode(ids: list[int]) -> str:
        return str(tokenizer.decode([token for token in ids if token not in ends], skip_special_tokens=False))

    return decode
