"""Decoding for any causal language model that transformers can load, through its own forward pass.

All rows take a step together in one padded batch (:mod:`.padded_batch`): those of both sides where the sides differ in
linear layers alone, as with most adapters, else those of each side by themselves. A family whose cache cannot be padded
(recurrent states, for one) is computed row by row, each row with a cache of its own and its prompt in one piece, as
``generate`` does. Which of these is right for a model is tried out when it is loaded (:mod:`.choice`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from eval_prompts.decoding.general_model import GeneralModel, differ_in_linears
from eval_prompts.models.pair import SIDES

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from eval_prompts.models.pair import Pair, Side
    from eval_prompts.rows import Row

CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "context_length")
UNKNOWN_CONTEXT = 2048

log = logging.getLogger(__name__)


class GeneralDecoder:
    """Decodes through the models' own forward passes (:class:`eval_prompts.decoding.backend.Backend`)."""

    scales = False

    def __init__(self, pair: Pair, *, together: bool = True, batches: bool = True, unmasked: bool = False) -> None:
        """``together``: rows of both sides take their steps together where the models allow it; ``batches``: rows of a
        side do. ``unmasked``: row by row, without a mask, each in a cache that is made beforehand, as ``generate``
        feeds Mamba."""
        batches = batches and not unmasked
        self._pair = pair
        common = common_model(pair) if together and batches else None
        sides = SIDES[:1] if pair.tuned is None else SIDES
        self._models: dict[Side, GeneralModel] = {
            side: common or GeneralModel(pair.base, [pair.model(side)], batches=batches, unmasked=unmasked)
            for side in sides
        }
        self.together = common is not None
        """Whether both sides' rows are computed in one pass."""
        self.batches = all(model.batches for model in self._models.values())
        self.context = min(context_of(pair.model(side).config) for side in sides)
        self.precision = held_in(pair.base) or pair.device.label.split()[-1]
        packed = {place: size for model in self._models.values() for place, size in model.products.items()}
        self.weight_bytes = sum(packed.values()) or pair.memory_bytes
        self.notes: list[str] = []
        self._vocabulary = 0
        self._caches: dict[Row, Any] = {}

    def enter(self, row: Row) -> None:
        """Start ``row`` with an empty cache."""
        self._pair.model(row.side)
        self._caches[row] = None

    def leave(self, row: Row) -> None:
        """Forget the cache of ``row``."""
        if not self._models[row.side].batch.drop(row):
            self._caches.pop(row, None)

    def advance(self, rows: list[Row], prefill_tokens: int) -> tuple[list[Row], torch.Tensor]:
        """A token for every row under way, and as much of the new prompts as is allowed.

        Row by row a prompt is fed in one piece: a recurrent state takes no second one.
        """
        ready: list[Row] = []
        logits: list[torch.Tensor] = []
        for model in dict.fromkeys(self._models.values()):
            if model.batch.rows:
                logits.append(model.step())
                ready += model.batch.rows
        allowance = prefill_tokens
        for row in rows:
            if row in self._caches and allowance > 0:
                model = self._models[row.side]
                if model.refeeds(row):
                    self._caches[row], row.fed = None, 0
                count = min(len(row.ids) - row.fed, allowance) if self.batches else len(row.ids) - row.fed
                allowance -= count if self.batches else 0
                result, self._caches[row] = model.feed(row, count, self._caches[row])
                if row.fed == len(row.ids):
                    ready.append(row)
                    logits.append(result)
                    if self.batches:
                        model.batch.join(row, self._caches.pop(row))
        return ready, self._joined(logits)

    def _joined(self, logits: list[torch.Tensor]) -> torch.Tensor:
        """All rows' logits in fp32; tokens that one side's vocabulary lacks are minus infinity there."""
        self._vocabulary = max([self._vocabulary, *(part.shape[-1] for part in logits)])
        padded = [F.pad(part.float(), (0, self._vocabulary - part.shape[-1]), value=-torch.inf) for part in logits]
        return torch.cat(padded) if padded else torch.empty(0, self._vocabulary)


def common_model(pair: Pair) -> GeneralModel | None:
    """One model for the rows of both sides in the same pass; None where they are computed by themselves."""
    if not differ_in_linears(pair):
        return None
    try:
        model = GeneralModel(pair.base, [pair.model(side) for side in SIDES])
    except ValueError as reason:
        log.info("%s computes its sides one after the other: %s", type(pair.base).__name__, reason)
        return None
    return model if model.batches else None


def held_in(model: PreTrainedModel) -> str:
    """In how many bits and by which method a quantised model holds its weights, in words; '' for all others."""
    settings = getattr(model.config, "quantization_config", None)
    if settings is None or not getattr(model, "is_quantized", False):
        return ""
    told = settings if isinstance(settings, dict) else settings.to_dict()
    method = told.get("quant_method")
    words = str(getattr(method, "value", method) or "quantised")
    bits = 4 if told.get("load_in_4bit") else 8 if told.get("load_in_8bit") else told.get("bits")
    return f"{bits}-bit {words}" if bits else words


def context_of(config: Any) -> int:
    """How many tokens a text may have, by the configuration of the model's text part."""
    text = config.get_text_config()
    lengths = (getattr(text, name, None) for name in CONTEXT_NAMES)
    return next((int(length) for length in lengths if isinstance(length, int) and length > 0), UNKNOWN_CONTEXT)
