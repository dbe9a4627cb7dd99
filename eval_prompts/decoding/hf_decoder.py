"""Decoding for any causal language model that transformers can load: row by row, through its own forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from eval_prompts.answers import Row
    from eval_prompts.models.pair import Pair


class PlainPair:
    """The slow, general decoder (:class:`eval_prompts.decoding.engine.Backend`). Each row has the model's own cache."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self.context: int = getattr(pair.base.config, "max_position_embeddings", None) or 2048
        self.precision = pair.device.label.split()[-1]
        self.weight_bytes = pair.memory_bytes
        self._caches: dict[Row, Any] = {}

    def enter(self, row: Row) -> None:
        """Start ``row`` with an empty cache."""
        self._pair.model(row.side)
        self._caches[row] = None

    def leave(self, row: Row) -> None:
        """Forget the cache of ``row``."""
        self._caches.pop(row, None)

    def advance(self, rows: list[Row], prefill_tokens: int) -> tuple[list[Row], torch.Tensor]:
        """Feed every row what it has not been fed, up to ``prefill_tokens`` each."""
        ready, logits = [], []
        for row in rows:
            model = self._pair.model(row.side)
            chunk = row.ids[row.fed : row.fed + prefill_tokens]
            output = model(
                input_ids=torch.tensor([chunk], device=model.device),
                past_key_values=self._caches[row],
                use_cache=True,
                logits_to_keep=1,
            )
            self._caches[row] = output.past_key_values
            row.fed += len(chunk)
            if row.fed == len(row.ids):
                ready.append(row)
                logits.append(output.logits[0, -1].float())
        return ready, torch.stack(logits) if logits else torch.empty(0, self._pair.base.config.vocab_size)
