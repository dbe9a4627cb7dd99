"""How likely a model finds given answers: sums of log-probabilities, many answers in one pass, nothing generated.

Answers to one prompt share it, and prompts share how they begin: all of them are laid out as one tree of tokens, each
of which stands once and sees those between it and the root alone. Whether a model takes such a tree is tried with its
first pass, beside its own reading of whole texts; one that does not is read text by text. All figures are natural
logarithms in float32, from the model's own logits over its whole vocabulary. Options, of which only the likeliest
matters, may be read by products in bf16.
"""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eval_prompts.lens.token_scores import KEEPS, chunk_rows, config_of, entries_of, predictions
from eval_prompts.lens.token_tree import Choices, Continuation, Encoded, Tree
from tuning.errors import UserError
from tuning.upstream.transformers_parts import is_stateful

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from eval_prompts.lens.forward import RoundedWeights
    from eval_prompts.models.pair import Pair, Side

PASS_TOKENS = 384
"""Tokens of one pass: enough for full matrix products, and a second or so between two looks at who waits."""
PASS_BYTES = 128 << 20
"""Logits in float32 of one pass at most."""
LARGEST_TREE = 6144
"""Tokens of a tree at most, since its mask grows with their square."""
TRIED_PROMPT, TRIED_TOKENS = 64, 5
"""Tokens of the prompt and of each text by which a model's reading of a tree is compared with that of whole texts."""
TRIED_STEP = 37
"""How far the tokens of those texts lie apart in the vocabulary."""
SAME, COARSE = 2e-3, 0.1
"""How far both may part at a token, in nats: in float32, and in coarser numbers."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Likelihood:
    """How likely a model finds a continuation: the sum of its tokens' log-probabilities in nats, and its size."""

    logprob: float
    tokens: int
    characters: int
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON data, which has no NaN: None where a broken model gave one."""
        return {"logprob": self.logprob if math.isfinite(self.logprob) else None, "tokens": self.tokens}


Known = Mapping[Continuation, Likelihood]
"""What has been read of the answers to one question."""


def likelihoods(
    pair: Pair, side: Side, asked: Sequence[Choices], rounded: bool = False
) -> Iterator[tuple[int, Known | UserError]]:
    """The likelihoods of all continuations of ``asked`` under one side, each with its number, pass by pass in order.

    ``rounded``: where all are options without an end, to be compared with one another, they are read in bf16 if the
    processor computes so; the head stays in fp32.
    What cannot be read (it is empty, or longer than the context) comes as the reason. Raises UserError for a side that
    is not there, or a template that is broken.
    """
    from eval_prompts.lens.forward import ROUNDED, can_round

    model, tokenizer = pair.model(side), pair.tokenizers[side]
    options = all(not text.ended for choices in asked for text in choices.texts)
    weights = ROUNDED if rounded and options and can_round(model) else None
    return _passes(model, (Encoded.of(tokenizer, choices) for choices in asked), weights)


def text_likelihoods(pair: Pair, side: Side, texts: Sequence[str]) -> list[Likelihood | UserError]:
    """How likely one side finds texts by themselves, each behind the token that begins a text and outside of any
    conversation; what cannot be read comes as the reason. Raises UserError for a model without such a token."""
    model, tokenizer = pair.model(side), pair.tokenizers[side]
    begins = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if begins is None:
        raise UserError("This model has no token that begins a text: choose another.")
    wanted = [Continuation(text) for text in texts]
    encoded = (
        Encoded((int(begins),), {one: tuple(tokenizer.encode(one.text, add_special_tokens=False))}) for one in wanted
    )
    found = dict(_passes(model, encoded))
    read = ((wanted[number], found[number]) for number in range(len(texts)))
    return [known if isinstance(known, UserError) else known[text] for text, known in read]


def _passes(
    model: PreTrainedModel, asked: Iterable[Encoded], weights: RoundedWeights | None = None
) -> Iterator[tuple[int, Known | UserError]]:
    current = Pass(model, weights)
    for number, encoded in enumerate(asked):
        problem = encoded.problem(model)
        if problem is not None:
            yield number, problem
            continue
        current.add(number, encoded)
        if current.full:
            yield from current.read()
            current = Pass(model, weights)
    yield from current.read()


class Pass:
    """What one model reads at once."""

    def __init__(self, model: PreTrainedModel, weights: RoundedWeights | None = None) -> None:
        self._model, self._weights = model, weights
        self._numbers: list[int] = []
        self._encoded: list[Encoded] = []
        self._tree = Tree()
        self._shared = 0

    def add(self, number: int, encoded: Encoded) -> None:
        """Take up one more."""
        self._shared = _shared(self._encoded[0].prompt, encoded.prompt, self._shared) if self._encoded else 1 << 30
        self._numbers.append(number)
        self._encoded.append(encoded)
        self._tree.lay_out(encoded)

    @property
    def full(self) -> bool:
        """Whether it is time to read. A long beginning that all share makes a pass longer, so that it is not the bulk
        of it."""
        shared = self._shared if len(self._encoded) > 1 else 0
        return sum(one.places for one in self._encoded) >= most_places(self._model) or len(self._tree.ids) >= max(
            PASS_TOKENS, 4 * shared
        )

    def read(self) -> Iterator[tuple[int, Known]]:
        """What was taken up, each with its number."""
        if not self._encoded:
            return
        together = self._fits and takes_trees(self._model, self._encoded[0].prompt)
        found = tree_sums(self._model, self._encoded, self._weights) if together else None
        for at, (number, one) in enumerate(zip(self._numbers, self._encoded, strict=True)):
            sums = found[at] if found is not None else plain_sums(self._model, one)
            yield (
                number,
                {
                    text: _likelihood(text, ids, total)
                    for (text, ids), total in zip(one.texts.items(), sums, strict=True)
                },
            )

    @property
    def _fits(self) -> bool:
        """Whether a tree of this size is read right, and in bounded memory."""
        return (
            sum(one.places for one in self._encoded) <= 2 * most_places(self._model)
            and len(self._tree.ids) <= LARGEST_TREE
            and max(one.depth for one in self._encoded) <= tree_depth(self._model)
        )


def _likelihood(text: Continuation, ids: Sequence[int], total: float) -> Likelihood:
    return Likelihood(total, len(ids), len(text.text), len(text.text.encode("utf-8", "surrogatepass")))


def most_places(model: PreTrainedModel) -> int:
    """How many places' logits in float32 are at most PASS_BYTES."""
    return max(1, PASS_BYTES // (4 * entries_of(model)))


def tree_depth(model: PreTrainedModel) -> int:
    """How long a text may be whose tree is read right: within what every layer sees, and what positions are scaled
    for alike, whatever else the pass holds."""
    config = config_of(model)
    scaling = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    limits = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size", "attention_window")]
    limits.append(getattr(config, "original_max_position_embeddings", None))
    limits += [value.get("original_max_position_embeddings") for value in (scaling, *_dicts(scaling))]
    known = [int(limit) for limit in limits if isinstance(limit, int) and limit > 0]
    return min(known, default=1 << 30)


def _dicts(value: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [inner for inner in value.values() if isinstance(inner, Mapping)]


_TAKES_TREES: weakref.WeakKeyDictionary[PreTrainedModel, bool] = weakref.WeakKeyDictionary()


def takes_trees(model: PreTrainedModel, prompt: Sequence[int]) -> bool:
    """Whether a model reads some texts as a tree as it reads them one by one; tried once, behind the beginning of a
    prompt."""
    if model not in _TAKES_TREES:
        _TAKES_TREES[model] = _tries_a_tree(model, prompt[:TRIED_PROMPT])
    return _TAKES_TREES[model]


def _tries_a_tree(model: PreTrainedModel, prompt: Sequence[int]) -> bool:
    import torch

    if is_stateful(model):
        return False
    name = type(model).__name__
    # Tokens spread over the vocabulary: texts that were alike would be one branch, which every model reads right.
    step, entries = TRIED_STEP, entries_of(model)
    texts = [
        tuple((at * TRIED_TOKENS + place + 1) * step % entries for place in range(TRIED_TOKENS)) for at in range(3)
    ]
    few = [
        Encoded(tuple(start), {Continuation(f"{at}"): ids for at, ids in enumerate(texts)})
        for start in (prompt, prompt[: -len(prompt) // 2] or prompt)
    ]
    try:
        trees = tree_sums(model, few)
    except Exception:
        log.exception("%s takes no tree of tokens: it is read text by text", name)
        return False
    near = (SAME if model.dtype == torch.float32 else COARSE) * TRIED_TOKENS
    for one, sums in zip(few, trees, strict=True):
        for ours, theirs in zip(sums, plain_sums(model, one), strict=True):
            if not abs(ours - theirs) <= near:
                log.info("%s reads a tree as %.4f, not %.4f: it is read text by text", name, ours, theirs)
                return False
    return True


def tree_sums(
    model: PreTrainedModel, encoded: Sequence[Encoded], weights: RoundedWeights | None = None
) -> list[list[float]]:
    """The log-probabilities of all continuations, summed, from one pass over the tree of all of them; with ``weights``
    by those."""
    import torch

    from eval_prompts.lens.forward import forward

    tree = Tree()
    at: list[int] = []
    wanted: list[int] = []
    sizes: list[list[int]] = []
    for one in encoded:
        at += tree.lay_out(one)
        for ids in one.texts.values():
            wanted += ids
        sizes.append([len(ids) for ids in one.texts.values()])
    places = {node: place for place, node in enumerate(dict.fromkeys(at))}
    device = model.device
    with torch.inference_mode():
        output = forward(
            model,
            weights,
            input_ids=torch.tensor([tree.ids], device=device),
            position_ids=torch.tensor([tree.depths], device=device),
            attention_mask=tree.mask(model.dtype).to(device),
            use_cache=False,
            **{KEEPS: torch.tensor(list(places), device=device)},
        )
        logits = output.logits[0].float()
        if len(logits) != len(places):
            raise ValueError(f"{len(logits)} places have logits, {len(places)} were asked for")
        totals = logits.logsumexp(-1)
        rows = torch.tensor([places[node] for node in at], device=device)
        chosen = logits[rows, torch.tensor(wanted, device=device)] - totals[rows]
        # On the CPU in double precision: a sum of many figures loses nothing.
        parts = chosen.double().cpu().split([size for each in sizes for size in each])
    sums = iter([float(part.sum()) for part in parts])
    return [[next(sums) for _ in each] for each in sizes]


def plain_sums(model: PreTrainedModel, one: Encoded) -> list[float]:
    """The log-probabilities of the continuations of one prompt, summed, each text read by itself."""
    import torch

    sums = []
    with torch.inference_mode():
        for ids in one.texts.values():
            total, place = 0.0, 0
            for chunk in predictions(model, one.prompt, ids, chunk_rows(model), entries_of(model)):
                tokens = torch.tensor(ids[place : place + len(chunk)], device=chunk.device)
                total += float(chunk.gather(1, tokens[:, None]).double().sum())
                place += len(chunk)
            sums.append(total)
    return sums


def _shared(one: Sequence[int], other: Sequence[int], most: int) -> int:
    """How many tokens both begin with, up to ``most``."""
    length = min(len(one), len(other), most)
    return next((at for at in range(length) if one[at] != other[at]), length)
