"""transformers as an engine: what reads merged safetensors and adapters in peft's layout."""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.data.chat import Message, encode_messages
from tuning.data.template import chat_template, ids_of
from tuning.exports.certify.engine import Answer, Place
from tuning.exports.certify.measure import tokens_by_number
from tuning.exports.certify.reference import Reader, Unmerged, greedy, load_reference
from tuning.exports.subject import Subject, of_adapter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


BENDING: dict[str, Any] = {
    **{"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_length": 0, "min_new_tokens": 0},
    **{"bad_words_ids": [], "suppress_tokens": [], "begin_suppress_tokens": [], "sequence_bias": {}},
    **{"forced_bos_token_id": None, "forced_eos_token_id": None, "exponential_decay_length_penalty": None},
    **{"encoder_repetition_penalty": 1.0, "num_beams": 1, "guidance_scale": None, "stop_strings": []},
}
"""Settings of ``generate`` that change greedy answers, with the value at which they do not."""


class Transformers:
    """A model in memory with the tokenizer that lies with it."""

    def __init__(
        self, model: Any, tokenizer: PreTrainedTokenizerBase, ends: Set[int], name: str = "transformers"
    ) -> None:
        """``ends`` are the tokens that end its answers."""
        self.name, self._model, self._tokenizer, self._ends = name, model, tokenizer, ends
        self._reader = Reader(model)

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """As :class:`Engine` says."""
        return encode_messages(self._tokenizer, messages)

    def answer(self, prompt: Sequence[int], most: int) -> Answer:
        """As :class:`Engine` says."""
        tokens, places = [], []
        for token, scores in greedy(self._model, self._ends, prompt, most):
            tokens.append(token)
            places.append(place_of(scores))
        return Answer(tuple(tokens), tuple(places), bool(tokens) and tokens[-1] in self._ends)

    def read(self, prompt: Sequence[int], text: Sequence[int]) -> list[Place]:
        """As :class:`Engine` says."""
        return [place_of(row) for row in self._reader.logprobs(prompt, text)]

    def ends_at(self, token: int) -> bool:
        """As :class:`Engine` says."""
        return token in self._ends

    def text_of(self, tokens: Sequence[int]) -> str:
        """As :class:`Engine` says."""
        return str(self._tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False))

    def vocabulary(self) -> list[str]:
        """As :class:`Engine` says."""
        return tokens_by_number(self._tokenizer)

    def close(self) -> None:
        """As :class:`Engine` says."""
        self._model = None


def place_of(scores: Any) -> Place:
    """A row of log-probabilities [vocabulary], likeliest first."""
    values, tokens = scores.sort(descending=True)
    return Place(tokens.cpu(), values.double().cpu())


def open_merged(folder: Path) -> Transformers:
    """A merged model's folder, whose answers end at what ``generate`` goes by: the tokens that its settings list,
    whatever its tokenizer says. Raises UserError if it cannot be loaded."""
    from tuning.models.device import pick_device
    from tuning.models.weights import load_model, load_tokenizer

    model = load_model(folder, pick_device("cpu"))
    listed = ids_of(getattr(model.generation_config, "eos_token_id", None))
    ends = listed or ids_of(getattr(model.config.get_text_config(), "eos_token_id", None))
    return Transformers(model, load_tokenizer(folder), ends)


def odd_settings(folder: Path, base: Path) -> list[str]:
    """In sentences, what a merged model's generation_config.json has changed of its base's so that even its greedy
    answers are others than its weights give. Raises nothing: a file that cannot be read says nothing."""

    from tuning.models.weights import GENERATION_CONFIG

    def settings(place: Path) -> dict[str, Any]:
        try:
            content = json.loads((place / GENERATION_CONFIG).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    ours, theirs = settings(folder), settings(base)
    changed = [
        f"{name} {ours[name]!r}"[:80]
        for name, neutral in BENDING.items()
        if ours.get(name) not in (None, neutral, theirs.get(name))
    ]
    if not changed:
        return []
    return [f"Its {GENERATION_CONFIG} has {', '.join(changed)}, and the base's has not: answers will be others."]


def open_adapter(folder: Path, subject: Subject) -> Transformers:
    """An adapter's folder over the subject's base, through peft. Raises UserError if it does not fit."""
    from dataclasses import replace

    read = replace(of_adapter(folder, str(subject.weights.path)), weights=subject.weights)
    loaded: Unmerged = load_reference(read)
    config = getattr(loaded.model.get_base_model(), "generation_config", None)
    return Transformers(loaded.model, loaded.tokenizer, chat_template(loaded.tokenizer).end_ids(config), "peft")
