"""How sure two models were of every token of one text: log-probabilities, ranks, entropies, KL, what each wanted.

Both models read the same tokens in chunks, each with its own key-value cache, so that no tensor of [tokens, vocabulary]
is ever larger than :data:`CHUNK_BYTES`. All figures are natural logarithms in float32, from the models' own logits.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tuning.errors import UserError
from tuning.upstream.transformers_parts import is_stateful

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

CHUNK_BYTES = 60 << 20
PIECE_BYTES = 8 << 20
"""Of so many bytes of logits at once the figures are computed: they stay in the processor's cache, and the C library
uses memory of this size again, while it asks the system for each larger tensor anew."""
TOP = 8
KEEPS = "logits_to_keep"
"""The parameter of a forward pass that has logits computed of its last places alone."""


@dataclass(frozen=True)
class SideScore:
    """What one model thought at one place: the log-probability and rank (1 is its first choice) of the token that came,
    the entropy of its distribution in nats, its first choices with their probabilities, likeliest first, and in ``end``
    the probability that the answer ends at this place; entropy and end are None where a server does not tell them."""

    logprob: float
    rank: int
    entropy: float | None
    top: tuple[tuple[int, float], ...]
    end: float | None = 0.0


@dataclass(frozen=True)
class TokenScore:
    """One token of the text under both models; ``kl_base_tuned`` is KL(base || tuned) in nats, and so the other way.

    Between two tokenizers (see :mod:`.aligned`) it is a stretch of text, there is no KL, and ``agree`` says whether
    both first choices are the same text.
    """

    token: int
    base: SideScore
    tuned: SideScore
    kl_base_tuned: float | None
    kl_tuned_base: float | None
    agree: bool | None = None

    @property
    def change(self) -> float:
        """log p(tuned) - log p(base): above 0 where tuning made the token likelier."""
        return self.tuned.logprob - self.base.logprob

    @property
    def sides(self) -> tuple[tuple[Literal["base"], SideScore], tuple[Literal["tuned"], SideScore]]:
        """Both models' thoughts, by side."""
        return ("base", self.base), ("tuned", self.tuned)

    @property
    def same_top(self) -> bool:
        """Whether both models' first choice is the same token."""
        return self.base.top[0][0] == self.tuned.top[0][0] if self.agree is None else self.agree


def score(
    base: PreTrainedModel,
    tuned: PreTrainedModel,
    prompt_ids: Sequence[int],
    text_ids: Sequence[int],
    ends: Collection[int] = (),
) -> list[TokenScore]:
    """Score every token of ``text_ids`` as it follows ``prompt_ids`` (at least one token) under both models.

    ``ends`` are the tokens that end an answer. Where one vocabulary is larger (see :func:`shared_entries`), both
    distributions are those over the tokens that both have. Raises UserError if there is nothing to score, the text does
    not fit into the context of a model (see :func:`room`), or it holds tokens that one model lacks.
    """
    import torch

    from eval_prompts.lens.side_by_side import side_by_side

    entries = shared_entries(base, tuned)
    check(prompt_ids, text_ids, min(room(model, len(prompt_ids)) for model in (base, tuned)))
    if max((*prompt_ids, *text_ids)) >= entries:
        raise UserError(f"The text holds tokens beyond the {entries:,} that both models have: it cannot be compared.")
    found: list[TokenScore] = []
    with torch.inference_mode():
        rows = min(chunk_rows(model) for model in (base, tuned))
        sides = (predictions(model, prompt_ids, text_ids, rows, entries) for model in (base, tuned))
        for ours, theirs in side_by_side(*sides) if can_read_at_once(base, tuned) else zip(*sides, strict=True):
            tokens = torch.tensor(text_ids[len(found) : len(found) + len(ours)], device=ours.device)
            found += both(ours, theirs, tokens, [end for end in ends if end < entries])
    return found


def can_read_at_once(base: PreTrainedModel, tuned: PreTrainedModel) -> bool:
    """Whether two threads may read by these models at the same time, and gain by it: on the CPU, and where no layer of
    one keeps a state that the other's shares, as bitsandbytes' do."""
    models = (base, tuned)
    held = any(getattr(model, "is_quantized", False) for model in models)
    return base is not tuned and not held and all(model.device.type == "cpu" for model in models)


def score_alone(
    model: PreTrainedModel, prompt_ids: Sequence[int], text_ids: Sequence[int], ends: Collection[int] = ()
) -> list[SideScore]:
    """Score every token of ``text_ids`` as it follows ``prompt_ids`` under one model. Raises UserError as :func:`score`
    does."""
    import torch

    check(prompt_ids, text_ids, room(model, len(prompt_ids)))
    found: list[SideScore] = []
    with torch.inference_mode():
        for logprobs in predictions(model, prompt_ids, text_ids, chunk_rows(model), entries_of(model)):
            tokens = torch.tensor(text_ids[len(found) : len(found) + len(logprobs)], device=logprobs.device)
            found += side_scores(logprobs, tokens, list(ends))
    return found


def check(prompt_ids: Sequence[int], text_ids: Sequence[int], free: int) -> None:
    """Raise UserError unless there is a prompt, and a text that fits into ``free`` tokens."""
    if not text_ids:
        raise UserError("There is no text to score: give one.")
    if not prompt_ids:
        raise UserError("The text needs something before it, at least the token that begins every text.")
    if len(text_ids) > free:
        raise UserError(f"The text has {len(text_ids):,} tokens, and the context has room for {free:,}: shorten it.")


def entries_of(model: PreTrainedModel) -> int:
    """The size of a model's vocabulary, as its logits have it."""
    head = model.get_output_embeddings()
    weight = getattr(head, "weight", None)
    return int(config_of(model).vocab_size) if weight is None else int(getattr(head, "out_features", weight.shape[0]))


def shared_entries(base: PreTrainedModel, tuned: PreTrainedModel) -> int:
    """How many tokens both vocabularies have: an adapter's own may be larger or smaller than the base's."""
    return min(entries_of(base), entries_of(tuned))


def config_of(model: PreTrainedModel) -> Any:
    """The configuration of a model's text part."""
    return model.config.get_text_config() if hasattr(model.config, "get_text_config") else model.config


def room(model: PreTrainedModel, prompt_length: int) -> int:
    """How many tokens of text fit behind a prompt; the last token of a text is scored, but not read."""
    limit = getattr(config_of(model), "max_position_embeddings", None) or 1 << 30
    return max(0, int(limit) - prompt_length + 1)


def chunk_rows(model: PreTrainedModel) -> int:
    """How many places' logits in float32 are at most CHUNK_BYTES, at least one."""
    return max(1, CHUNK_BYTES // (4 * entries_of(model)))


def predictions(
    model: PreTrainedModel, prompt_ids: Sequence[int], text_ids: Sequence[int], rows: int, entries: int
) -> Iterator[torch.Tensor]:
    """Log-probabilities before every token of the text, in pieces [places, ``entries``] in float32 of at most
    PIECE_BYTES, of the first ``entries`` tokens of the vocabulary; the model reads for ``rows`` places at once."""
    import torch

    from eval_prompts.lens.forward import forward

    ids = torch.tensor([[*prompt_ids, *text_ids[:-1]]], device=model.device)
    known = inspect.signature(model.forward).parameters
    keeps, cache_name = KEEPS in known, "cache" if "cache" in known else "past_key_values"
    # A model with a recurrent state goes on token by token alone: it reads everything again for every chunk.
    stateful = is_stateful(model)
    cache, read = None, 0
    before, total = len(prompt_ids) - 1, ids.shape[1]
    # The places up to which the model reads next, and of how many of them the logits are wanted. Without logits_to_keep
    # every place fed has logits: the prompt, too, then goes in by pieces, none together with the text.
    pieces = [] if keeps or stateful else [(end, 0) for end in range(before % rows or rows, before + 1, rows)]
    pieces += [(min(start + rows, total), min(rows, total - start)) for start in range(before, total, rows)]
    for end, wanted in pieces:
        options: dict[str, Any] = {KEEPS: wanted} if keeps else {}
        if stateful:
            output = forward(model, input_ids=ids[:, :end], use_cache=False, **options)
        else:
            output = forward(model, input_ids=ids[:, read:end], **{cache_name: cache}, use_cache=True, **options)
            cache, read = getattr(output, cache_name), end
        if wanted:
            for part in output.logits[0, -wanted:, :entries].split(max(1, PIECE_BYTES // (4 * entries))):
                yield part.float().log_softmax(-1)


def both(base: torch.Tensor, tuned: torch.Tensor, tokens: torch.Tensor, ends: list[int]) -> list[TokenScore]:
    """Figures of some places from both models' log-probabilities [places, vocabulary] and the tokens [places]."""
    odds = base.exp(), tuned.exp()
    sides = side_scores(base, tokens, ends, odds[0]), side_scores(tuned, tokens, ends, odds[1])
    apart = base - tuned
    forward = expected(odds[0], apart).clamp(min=0).tolist()
    backward = expected(odds[1], apart.neg_()).clamp(min=0).tolist()
    return [TokenScore(*entry) for entry in zip(tokens.tolist(), *sides, forward, backward, strict=True)]


def side_scores(
    logprobs: torch.Tensor, tokens: torch.Tensor, ends: list[int], odds: torch.Tensor | None = None
) -> list[SideScore]:
    """One model's figures from its log-probabilities [places, vocabulary] of the tokens [places]; ``odds`` are the
    probabilities, where they are known."""
    chosen = logprobs.gather(1, tokens[:, None])
    entropies = -expected(logprobs.exp() if odds is None else odds, logprobs)
    values, indices = logprobs.topk(min(TOP, logprobs.shape[1]))
    ranks = (values > chosen).sum(-1) + 1
    further = (chosen < values[:, -1:])[:, 0]  # for the few tokens beyond the first choices all others are counted
    ranks[further] = (logprobs[further] > chosen[further]).sum(-1) + 1
    tops = [
        tuple(zip(row, sure, strict=True)) for row, sure in zip(indices.tolist(), values.exp().tolist(), strict=True)
    ]
    endings = logprobs[:, ends].exp().sum(-1)
    figures = zip(chosen[:, 0].tolist(), ranks.tolist(), entropies.tolist(), tops, endings.tolist(), strict=True)
    return [SideScore(*entry) for entry in figures]


def expected(odds: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The expectation [places] of values [places, vocabulary]; where there is no probability, an infinite one counts
    nothing. A product of vectors makes no tensor of their size, which is most of the time that it takes."""
    import torch

    if bool(values.sum().isfinite()):
        return torch.bmm(odds[:, None], values[:, :, None])[:, 0, 0]
    return (odds * values).nan_to_num().sum(-1)


def parting(base_ids: Sequence[int], tuned_ids: Sequence[int]) -> int | None:
    """The place of the first token at which two answers differ (one may simply go on); None if they are the same."""
    for place, (ours, theirs) in enumerate(zip(base_ids, tuned_ids, strict=False)):
        if ours != theirs:
            return place
    shorter = min(len(base_ids), len(tuned_ids))
    return None if len(base_ids) == len(tuned_ids) else shorter
