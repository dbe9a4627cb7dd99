"""transformers as an engine: what reads merged safetensors and adapters in peft's layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.data.chat import Message, encode_messages
from tuning.data.template import chat_template
from tuning.exports.certify.engine import Answer, Place
from tuning.exports.certify.reference import Reader, Unmerged, greedy, load_reference
from tuning.exports.subject import Subject, of_adapter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Transformers:
    """A model in memory with the tokenizer that lies with it."""

    def __init__(self, model: Any, tokenizer: PreTrainedTokenizerBase, name: str = "transformers") -> None:
        self.name, self._model, self._tokenizer = name, model, tokenizer
        self._reader = Reader(model)

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """As :class:`Engine` says."""
        return encode_messages(self._tokenizer, messages)

    def answer(self, prompt: Sequence[int], most: int) -> Answer:
        """As :class:`Engine` says."""
        tokens, places = [], []
        for token, scores in greedy(self._model, self._tokenizer, prompt, most):
            tokens.append(token)
            places.append(place_of(scores))
        return Answer(tuple(tokens), tuple(places), bool(tokens) and tokens[-1] in self._ends())

    def read(self, prompt: Sequence[int], text: Sequence[int]) -> list[Place]:
        """As :class:`Engine` says."""
        return [place_of(row) for row in self._reader.logprobs(prompt, text)]

    def ends_at(self, token: int) -> bool:
        """As :class:`Engine` says."""
        return token in self._ends()

    def _ends(self) -> frozenset[int]:
        config = getattr(self._model, "generation_config", None)
        return chat_template(self._tokenizer).end_ids(config)

    def close(self) -> None:
        """As :class:`Engine` says."""
        self._model = None


def place_of(scores: Any) -> Place:
    """A row of log-probabilities [vocabulary], likeliest first."""
    values, tokens = scores.sort(descending=True)
    return Place(tokens.cpu(), values.double().cpu())


def open_merged(folder: Path) -> Transformers:
    """A merged model's folder. Raises UserError if it cannot be loaded."""
    from tuning.models.device import pick_device
    from tuning.models.weights import load_model, load_tokenizer

    return Transformers(load_model(folder, pick_device("cpu")), load_tokenizer(folder))


def open_adapter(folder: Path, subject: Subject) -> Transformers:
    """An adapter's folder over the subject's base, through peft. Raises UserError if it does not fit."""
    from dataclasses import replace

    read = replace(of_adapter(folder, str(subject.weights.path)), weights=subject.weights)
    loaded: Unmerged = load_reference(read)
    return Transformers(loaded.model, loaded.tokenizer, "peft")
