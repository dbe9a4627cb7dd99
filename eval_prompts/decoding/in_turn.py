"""Rows that different decoders compute: one step of each after the other, and all their logits as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eval_prompts.decoding.backend import Backend
    from eval_prompts.rows import Row


def in_turn(groups: Iterable[tuple[Backend, list[Row]]], prefill_tokens: int) -> tuple[list[Row], torch.Tensor]:
    """One step of each decoder for its rows: the rows that are fed completely and their logits, [rows, vocabulary].

    Tokens that one decoder's vocabulary lacks are minus infinity there.
    """
    ready: list[Row] = []
    parts: list[torch.Tensor] = []
    for decoder, rows in groups:
        done, logits = decoder.advance(rows, prefill_tokens)
        ready += done
        parts.append(logits)
    widest = max((part.shape[-1] for part in parts), default=0)
    padded = [F.pad(part.float(), (0, widest - part.shape[-1]), value=-torch.inf) for part in parts if len(part)]
    return ready, torch.cat(padded) if padded else torch.empty(0, widest)
