"""The tuned side that an artefact is compared with: base and adapter through peft, or a page's pair."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tuning.data.template import chat_template
from tuning.exports.subject import Subject
from tuning.upstream.transformers_parts import is_stateful

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


Side = Literal["tuned", "base"]

BATCH = 16
"""Answers that are written at once: a step costs about the same for one as for several."""


class Reference(Protocol):
    """Both sides of a comparison, and the tokenizer that the tuned one is asked with."""

    tokenizer: PreTrainedTokenizerBase

    def both(self, prompt: Sequence[int], text: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities in fp32 before every token of ``text``, [tokens, vocabulary], of tuned and base side."""

    def answers(
        self, side: Side, prompts: Sequence[Sequence[int]], most: int, told: Callable[[int], None]
    ) -> list[list[int]]:
        """A side's greedy answers, the end token included; ``told`` hears how many prompts are done with."""


class Reader:
    """A model that reads texts; what a text begins with as the one before is not computed again."""

    def __init__(self, model: Any) -> None:
        inner = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._model = model
        words = inspect.signature(inner.forward).parameters
        self._keeps = "logits_to_keep" in words
        self._cache_word = "cache" if "cache" in words else "past_key_values"
        self._caches = not is_stateful(inner)
        self._read: list[int] = []
        self._cache: Any = None

    def logprobs(self, prompt: Sequence[int], text: Sequence[int]) -> torch.Tensor:
        """Log-probabilities in fp32 before every token of ``text`` as it follows ``prompt``, [tokens, vocabulary]."""
        import torch
        from transformers import DynamicCache

        ids = [*prompt, *text[:-1]]
        options: dict[str, Any] = {"logits_to_keep": len(text)} if self._keeps else {}
        known = 0
        if self._caches:
            most = len(prompt) - 1  # at least the last token of the prompt is read, before the text's first
            pairs = zip(self._read[:most], ids, strict=False)
            known = next((at for at, (one, other) in enumerate(pairs) if one != other), min(most, len(self._read)))
            if self._cache is None or not known:
                self._cache, known = DynamicCache(), 0
            elif known < len(self._read):
                self._cache.crop(known - len(self._read))
            options |= {self._cache_word: self._cache, "use_cache": True}
            self._read = ids
        with torch.inference_mode():
            logits: torch.Tensor = self._model(
                input_ids=torch.tensor([ids[known:]], device=self._model.device), **options
            ).logits
            return logits[0, -len(text) :].float().log_softmax(-1)


def greedy(model: Any, ends: Set[int], prompt: Sequence[int], most: int) -> Iterator[tuple[int, torch.Tensor]]:
    """The tokens of a greedy answer with the log-probabilities [vocabulary] before each; the one of ``ends`` that ends
    it comes last."""
    import torch

    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    word = "cache" if "cache" in inspect.signature(inner.forward).parameters else "past_key_values"
    ids, cache = torch.tensor([list(prompt)], device=model.device), None
    for _ in range(most):
        with torch.inference_mode():
            output = model(input_ids=ids, use_cache=True, **{word: cache})
            scores = output.logits[0, -1].float().log_softmax(-1)
        cache, token = output.past_key_values, int(scores.argmax())
        yield token, scores
        if token in ends:
            return
        ids = torch.tensor([[token]], device=model.device)


def greedy_answers(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    most: int,
    told: Callable[[int], None],
) -> list[list[int]]:
    """Greedy answers to many prompts, :data:`BATCH` at a time, each with its end token.

    Prompts of about one length are read together, padded on the left; a model that carries a state from token to token
    would take the padding in, so it gets them one by one.
    """
    import torch
    from transformers import GenerationConfig

    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    ends = chat_template(tokenizer).end_ids(getattr(inner, "generation_config", None))
    rule = GenerationConfig(
        do_sample=False,
        max_new_tokens=most,
        eos_token_id=sorted(ends) or None,
        pad_token_id=min(ends, default=0),
        repetition_penalty=1.0,  # what a model's own settings would put in its place
        no_repeat_ngram_size=0,
    )
    order = sorted(range(len(prompts)), key=lambda at: len(prompts[at]))
    size = 1 if is_stateful(inner) else BATCH
    found: list[list[int]] = [[] for _ in prompts]
    for start in range(0, len(order), size):
        told(start)
        rows = order[start : start + size]
        longest = max(len(prompts[row]) for row in rows)
        gaps = [longest - len(prompts[row]) for row in rows]
        ids = torch.tensor([[0] * gap + list(prompts[row]) for gap, row in zip(gaps, rows, strict=True)])
        mask = torch.tensor([[0] * gap + [1] * (longest - gap) for gap in gaps])
        with torch.inference_mode():
            written = model.generate(
                input_ids=ids.to(model.device), attention_mask=mask.to(model.device), generation_config=rule
            )
        for row, tokens in zip(rows, written[:, longest:].tolist(), strict=True):
            end = next((at + 1 for at, token in enumerate(tokens) if token in ends), len(tokens))
            found[row] = tokens[:end]
    return found


class TwoModels:
    """Two models in memory, such as those of a page's pair."""

    def __init__(self, tuned: PreTrainedModel, base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer, self._models = tokenizer, {"tuned": tuned, "base": base}
        self._tuned, self._base = Reader(tuned), Reader(base)

    def both(self, prompt: Sequence[int], text: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """As :class:`Reference` says."""
        return self._tuned.logprobs(prompt, text), self._base.logprobs(prompt, text)

    def answers(
        self, side: Side, prompts: Sequence[Sequence[int]], most: int, told: Callable[[int], None]
    ) -> list[list[int]]:
        """As :class:`Reference` says."""
        return greedy_answers(self._models[side], self.tokenizer, prompts, most, told)


class Unmerged:
    """One base in memory with the adapter beside it, switched on and off."""

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model, self.tokenizer = model, tokenizer
        self._tuned, self._base = Reader(model), Reader(model)

    def both(self, prompt: Sequence[int], text: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """As :class:`Reference` says."""
        tuned = self._tuned.logprobs(prompt, text)
        with self.model.disable_adapter():
            return tuned, self._base.logprobs(prompt, text)

    def answers(
        self, side: Side, prompts: Sequence[Sequence[int]], most: int, told: Callable[[int], None]
    ) -> list[list[int]]:
        """As :class:`Reference` says."""
        with self.model.disable_adapter() if side == "base" else nullcontext():
            return greedy_answers(self.model, self.tokenizer, prompts, most, told)


def load_reference(subject: Subject) -> Unmerged:
    """Base and adapter in fp32, unmerged: as it was trained. Raises UserError if the adapter does not fit."""
    from tuning.exports.tensors import entries_of, grows, with_adapter
    from tuning.models.device import pick_device
    from tuning.models.weights import load_model
    from tuning.quiet import quiet

    tokenizer = subject.tokenizer()
    with quiet():
        base = load_model(subject.weights, pick_device("cpu"))
        if len(tokenizer) > entries_of(base) and grows(subject):
            base.resize_token_embeddings(len(tokenizer))
        return Unmerged(with_adapter(base, subject), tokenizer)
