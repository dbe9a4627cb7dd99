"""How sure two models were of every token of one text: log-probabilities, ranks, entropies, KL, what each wanted.

Both models read the same tokens in chunks, each with its own key-value cache, so that no tensor of [tokens, vocabulary]
is ever larger than :data:`CHUNK_BYTES`. All figures are natural logarithms in float32, from the models' own logits.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tuning.errors import UserError
from tuning.upstream.transformers_parts import is_stateful

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

CHUNK_BYTES = 32 << 20
TOP = 8


@dataclass(frozen=True)
class SideScore:
    """What one model thought at one place: the log-probability and rank (1 is its first choice) of the token that came,
    the entropy of its distribution in nats, and its first choices with their probabilities, likeliest first."""

    logprob: float
    rank: int
    entropy: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class TokenScore:
    """One token of the text under both models; ``kl_base_tuned`` is KL(base || tuned) in nats, and so the other way."""

    token: int
    base: SideScore
    tuned: SideScore
    kl_base_tuned: float
    kl_tuned_base: float

    @property
    def change(self) -> float:
        """log p(tuned) - log p(base): above 0 where tuning made the token likelier."""
        return self.tuned.logprob - self.base.logprob

    @property
    def same_top(self) -> bool:
        """Whether both models' first choice is the same token."""
        return self.base.top[0][0] == self.tuned.top[0][0]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"change": self.change, "same_top": self.same_top}


def score(
    base: PreTrainedModel, tuned: PreTrainedModel, prompt_ids: Sequence[int], text_ids: Sequence[int]
) -> list[TokenScore]:
    """Score every token of ``text_ids`` as it follows ``prompt_ids`` (at least one token) under both models.

    Raises UserError if there is nothing to score, the text does not fit into the context of a model (see
    :func:`room`), or the two models have vocabularies of different sizes.
    """
    import torch

    if not text_ids:
        raise UserError("There is no text to score: give one.")
    if not prompt_ids:
        raise UserError("The text needs something before it, at least the token that begins every text.")
    free = min(room(model, len(prompt_ids)) for model in (base, tuned))
    if len(text_ids) > free:
        raise UserError(f"The text has {len(text_ids):,} tokens, and the context has room for {free:,}: shorten it.")
    found: list[TokenScore] = []
    with torch.inference_mode():
        rows = chunk_rows(base)
        pairs = zip(
            predictions(base, prompt_ids, text_ids, rows), predictions(tuned, prompt_ids, text_ids, rows), strict=True
        )
        for ours, theirs in pairs:
            if ours.shape != theirs.shape:
                raise UserError(
                    f"The two models have vocabularies of {ours.shape[1]:,} and {theirs.shape[1]:,} tokens: they "
                    "cannot be compared token by token."
                )
            tokens = torch.tensor(text_ids[len(found) : len(found) + len(ours)], device=ours.device)
            found += both(ours, theirs, tokens)
    return found


def room(model: PreTrainedModel, prompt_length: int) -> int:
    """How many tokens of text fit behind a prompt; the last token of a text is scored, but not read."""
    config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    limit = getattr(config, "max_position_embeddings", None) or 1 << 30
    return max(0, int(limit) - prompt_length + 1)


def chunk_rows(model: PreTrainedModel) -> int:
    """How many places' logits in float32 are at most CHUNK_BYTES, at least one."""
    config = model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config
    return max(1, CHUNK_BYTES // (4 * int(config.vocab_size)))


def predictions(
    model: PreTrainedModel, prompt_ids: Sequence[int], text_ids: Sequence[int], rows: int
) -> Iterator[torch.Tensor]:
    """Log-probabilities before every token of the text, in chunks [at most ``rows``, vocabulary] in float32."""
    import torch

    ids = torch.tensor([[*prompt_ids, *text_ids[:-1]]], device=model.device)
    keeps = "logits_to_keep" in inspect.signature(model.forward).parameters
    # A model with a recurrent state goes on token by token alone: it reads everything again for every chunk.
    stateful = is_stateful(model)
    cache, read = None, 0
    for start in range(len(prompt_ids) - 1, ids.shape[1], rows):
        end = min(start + rows, ids.shape[1])
        options: dict[str, Any] = {"logits_to_keep": end - start} if keeps else {}
        if stateful:
            output = model(input_ids=ids[:, :end], use_cache=False, **options)
        else:
            output = model(input_ids=ids[:, read:end], past_key_values=cache, use_cache=True, **options)
            cache, read = output.past_key_values, end
        yield output.logits[0, start - end :].float().log_softmax(-1)


def both(base: torch.Tensor, tuned: torch.Tensor, tokens: torch.Tensor) -> list[TokenScore]:
    """Figures of some places from both models' log-probabilities [places, vocabulary] and the tokens [places]."""
    sides = side_scores(base, tokens), side_scores(tuned, tokens)
    forward = (base.exp() * (base - tuned)).nan_to_num().sum(-1).clamp(min=0).tolist()
    backward = (tuned.exp() * (tuned - base)).nan_to_num().sum(-1).clamp(min=0).tolist()
    return [TokenScore(*entry) for entry in zip(tokens.tolist(), *sides, forward, backward, strict=True)]


def side_scores(logprobs: torch.Tensor, tokens: torch.Tensor) -> list[SideScore]:
    """One model's figures from its log-probabilities [places, vocabulary] of the tokens [places]."""
    chosen = logprobs.gather(1, tokens[:, None])
    ranks = (logprobs > chosen).sum(-1) + 1
    entropies = -(logprobs.exp() * logprobs).nan_to_num().sum(-1)
    values, indices = logprobs.topk(min(TOP, logprobs.shape[1]))
    tops = [
        tuple(zip(row, odds, strict=True)) for row, odds in zip(indices.tolist(), values.exp().tolist(), strict=True)
    ]
    figures = zip(chosen[:, 0].tolist(), ranks.tolist(), entropies.tolist(), tops, strict=True)
    return [SideScore(*entry) for entry in figures]


def parting(base_ids: Sequence[int], tuned_ids: Sequence[int]) -> int | None:
    """The place of the first token at which two answers differ (one may simply go on); None if they are the same."""
    for place, (ours, theirs) in enumerate(zip(base_ids, tuned_ids, strict=False)):
        if ours != theirs:
            return place
    shorter = min(len(base_ids), len(tuned_ids))
    return None if len(base_ids) == len(tuned_ids) else shorter
