"""Before a decoder answers anyone, two steps of it are compared with a full forward pass of each side's model.

A family whose cache works otherwise than the decoder believes would write fluent, wrong text; here it is found out.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from eval_prompts.answers import Settings
from eval_prompts.models.mmap_pages import release_pages
from eval_prompts.models.pair import SIDES
from eval_prompts.rows import Row
from eval_prompts.stream import Stream
from tuning.data.chat import encode_prompt
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.decoding.backend import Backend
    from eval_prompts.models.pair import Pair, Side

log = logging.getLogger(__name__)

STEPS = 2
LONG, SHORT = 9, 5
"""Tokens of the two prompts; they differ in length, so that padding and masks are tried too."""
LONGEST = 96
ALLOWED = {"fp32": 1e-3, "bf16": 0.15, "fp16": 0.05, "int8": 0.25, "4bit": 0.3, "8bit": 0.3}
"""How far logits may be off: root mean square over that of the right ones around their mean, by precision."""
PIECE = 7


def reference_logits(pair: Pair) -> dict[Side, tuple[list[int], torch.Tensor]]:
    """For each side the tokens of the check and the logits after each of them, [tokens, vocabulary], in one pass.
    Raises UserError where they are no numbers."""
    found: dict[Side, tuple[list[int], torch.Tensor]] = {}
    with torch.inference_mode():
        for side in SIDES[:1] if pair.tuned is None else SIDES:
            model, ids = pair.model(side), check_tokens(pair, side)
            output = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False)
            found[side] = ids, output.logits[0].float()
    release_pages(pair.base.parameters())
    broken = [side for side, (_, logits) in found.items() if bool(logits.isnan().any())]
    if broken:
        whose = "tuned" if "base" not in broken else "base"
        raise UserError(
            f"What the {whose} model computes is not a number (NaN): its weights are damaged or too large for "
            f"{str(pair.base.dtype).removeprefix('torch.')}. Copy them again, or choose others."
        )
    return found


def check_tokens(pair: Pair, side: Side) -> list[int]:
    """A prompt of that side's own, longer than its model's sliding window where that is short."""
    prompt = encode_prompt(pair.tokenizers[side], "Write a function that reverses a string.")
    window = getattr(pair.model(side).config.get_text_config(), "sliding_window", None) or 0
    length = LONG + STEPS + (window if window + LONG + STEPS <= LONGEST else 0)
    return (prompt * (1 + length // max(1, len(prompt))))[:length]


def largest_error(
    backend: Backend, references: dict[Side, tuple[list[int], torch.Tensor]], level: int = logging.ERROR
) -> float:
    """How far the decoder's logits are off at worst, as :data:`ALLOWED` counts it; infinity if it cannot compute them,
    which is logged at ``level``.

    Two rows of each side are led along the same text, of which the shorter knows less.
    """
    stream = Stream(["long", "short"], tuple(references), Settings())
    worst = 0.0
    try:
        with torch.inference_mode():
            for row in stream.rows:
                ids, _ = references[row.side]
                row.prompt_length = len(ids) - STEPS if row.index == 0 else SHORT
                row.ids, row.limit = ids[: row.prompt_length], len(ids) + 1
                backend.enter(row)
            live = list(stream.rows)
            while live:
                ready, logits = backend.advance(live, PIECE)
                for row, ours in zip(ready, logits, strict=True):
                    ids, expected = references[row.side]
                    worst = max(worst, error(ours, expected[len(row.ids) - 1]))
                    if len(row.ids) - row.prompt_length == STEPS:
                        live.remove(row)
                        backend.leave(row)
                    else:
                        row.ids.append(ids[len(row.ids)])
    except Exception as failure:
        log.log(level, "The decoder cannot compute this model", exc_info=failure)
        with torch.inference_mode():  # letting go moves what the rows have in the cache
            forget(backend, stream.rows)
        return float("inf")
    return worst


def forget(backend: Backend, rows: list[Row]) -> None:
    """Leave nothing behind of rows whose step failed."""
    for row in rows:
        backend.leave(row)


def error(ours: torch.Tensor, expected: torch.Tensor) -> float:
    """Distance of two rows of logits over the spread of the right ones; what a constant adds does not count."""
    difference = ours[: len(expected)].to(expected.device) - expected
    difference = difference - difference.mean()
    spread = (expected - expected.mean()).square().mean().sqrt().clamp_min(1e-6)
    value = (difference.square().mean().sqrt() / spread).item()
    return value if value == value else float("inf")
