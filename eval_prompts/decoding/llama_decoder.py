"""The pair decoder: one batched step answers every row of both sides, reading shared weights once.

Knows the Llama family. Each matrix is multiplied once for all rows; what an adapter adds to it follows for the rows of
its side, which lie behind one another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from eval_prompts.decoding.kv_cache import Lane, lane_capacity
from eval_prompts.decoding.llama_layers import PRODUCTS, head_of, layers_of, rotary_tables
from eval_prompts.decoding.matmul import Precision
from eval_prompts.decoding.side_linear import Run, runs_of
from eval_prompts.models.pair import SIDES
from tuning.data.chat import encode_prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eval_prompts.answers import Row
    from eval_prompts.models.pair import Pair, Side


REFINED = 32


@dataclass
class Span:
    """Tokens that one forward pass feeds for one row: ``count`` of them, from position ``start`` on."""

    lane: Lane
    slot: int
    start: int
    count: int


@dataclass
class Prefix:
    """Keys and values of the tokens with which every prompt begins, for one side."""

    ids: list[int] = field(default_factory=list)
    lane: Lane | None = None


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary position embedding (Su et al., 2021, in the half-split layout of Llama) of [tokens, heads, head size]."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)


class LlamaPair:
    """Decodes rows of both sides of a Llama pair; see :class:`eval_prompts.decoding.engine.Backend`."""

    def __init__(self, pair: Pair, precision: Precision = "fp32") -> None:
        """``precision`` int8 takes effect for the matrices that this processor can multiply so, see ``grouped``."""
        self._pair = pair
        base, tuned = pair.model("base"), pair.tuned
        config = base.config
        self.context: int = config.max_position_embeddings
        self._heads = config.num_attention_heads
        self._kv_heads = config.num_key_value_heads
        self._head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._eps = config.rms_norm_eps
        self._embedding = base.model.embed_tokens.weight.detach()
        self._norm = base.model.norm.weight.detach()
        self._coarse = precision == "int8"
        self._cache_dtype = torch.bfloat16 if self._coarse else self._embedding.dtype
        self._head, self._head_weights = head_of(pair, precision)
        self._layers = layers_of(pair, precision)
        self._cos, self._sin = rotary_tables(base, self.context)
        heads = torch.arange(self._heads + 2 * self._kv_heads, device=self._embedding.device)
        self._stays = (heads >= self._heads + self._kv_heads).long()
        self.precision = "int8" if self._coarse else pair.device.label.split()[-1]
        products = [getattr(layer, name) for layer in self._layers for name in PRODUCTS]
        self.weight_bytes: int = sum(product.nbytes for product in [self._head, *products]) or pair.memory_bytes
        self._lanes: dict[int, Lane] = {}
        self._prefixes: dict[Side, Prefix] = {"base": Prefix(), "tuned": Prefix()}
        with torch.inference_mode():
            for side in SIDES[:1] if tuned is None else SIDES:
                self._prefixes[side] = self._compute_prefix(side)

    def enter(self, row: Row) -> None:
        """Give ``row`` a slot with room for ``row.limit`` tokens, the common prefix already in it."""
        capacity = min(lane_capacity(row.limit), self.context)
        lane = self._lanes.get(capacity)
        if lane is None:
            lane = self._lanes[capacity] = self._new_lane(capacity)
        slot = lane.add(row)
        prefix = self._prefixes[row.side]
        shared = _common_length(prefix.ids, row.ids[:-1])
        if shared and prefix.lane is not None:
            lane.copy_from(prefix.lane, slot, shared)
        row.fed = shared

    def leave(self, row: Row) -> None:
        """Free the slot of ``row``, and its lane's memory if it was the last one in it."""
        for capacity, lane in list(self._lanes.items()):
            if lane.discard(row) and not lane.rows:
                del self._lanes[capacity]

    def advance(self, rows: list[Row], prefill_tokens: int) -> tuple[list[Row], torch.Tensor]:
        """One step for all rows: a token for those under way, and as much of the new prompts as is allowed."""
        ready: list[Row] = []
        logits: list[torch.Tensor] = []
        fresh = [row for row in rows if len(row.ids) - row.fed > 1]
        if len(fresh) < len(rows):
            done, result = self._decode()
            ready += done
            logits.append(result)
        if fresh:
            done, result = self._prefill(fresh, prefill_tokens)
            ready += done
            logits.append(result)
        return ready, torch.cat(logits).float()

    def _prefill(self, rows: list[Row], allowance: int) -> tuple[list[Row], torch.Tensor]:
        """Feed prompts, first come first served, ``allowance`` tokens in all; logits of those that are complete."""
        fed: list[tuple[Row, Span]] = []
        for row in rows:
            count = min(len(row.ids) - row.fed, allowance)
            if count <= 0:
                break
            allowance -= count
            lane = self._lane_of(row)
            fed.append((row, Span(lane, lane.rows.index(row), row.fed, count)))
        fed.sort(key=lambda item: item[0].side)  # "base" before "tuned"
        spans = [span for _, span in fed]
        tokens = [token for row, span in fed for token in row.ids[span.start : span.start + span.count]]
        positions = [position for span in spans for position in range(span.start, span.start + span.count)]
        base_tokens = sum(span.count for row, span in fed if row.side == "base")
        runs = runs_of([(base_tokens, len(tokens) - base_tokens)])
        hidden = self._forward(tokens, positions, runs, lambda *new: self._attend_spans(spans, *new))
        last, end = [], 0
        for row, span in fed:
            end += span.count
            row.fed += span.count
            if row.fed == len(row.ids):
                last.append((row, end - 1))
        done = [row for row, _ in last]
        return done, self._logits(hidden[[position for _, position in last]], done)

    def _decode(self) -> tuple[list[Row], torch.Tensor]:
        """One token for each row that has exactly one left to feed.

        A lane's slots are multiplied as a block, so a row in the middle of its prompt takes part with a dummy token;
        the keys and values that this writes lie behind its fed tokens and are overwritten before they are seen.
        """
        lanes = list(self._lanes.values())
        rows = [row for lane in lanes for row in lane.rows]
        runs = runs_of((lane.base_rows, len(lane.rows) - lane.base_rows) for lane in lanes)
        tokens = [row.ids[row.fed] for row in rows]
        positions = [row.fed for row in rows]
        for lane in lanes:
            lane.prepare_step()
        hidden = self._forward(tokens, positions, runs, lambda *new: self._attend_lanes(lanes, *new))
        keep = [index for index, row in enumerate(rows) if len(row.ids) - row.fed == 1]
        done = [rows[index] for index in keep]
        for row in done:
            row.fed += 1
        if len(keep) != len(rows):
            hidden = hidden[keep]
        return done, self._logits(hidden, done)

    def _forward(
        self, tokens: list[int], positions: list[int], runs: list[Run], attend: Callable[..., torch.Tensor]
    ) -> torch.Tensor:
        """Hidden states [tokens, width] of flat tokens.

        ``attend(layer, queries, new)`` gets [tokens, heads, head size]; ``new`` is the key heads, then the value heads.
        """
        device = self._embedding.device
        x = self._embedding[torch.tensor(tokens, device=device)]
        at = torch.tensor(positions, device=device)
        cos, sin = self._cos[at][:, self._stays], self._sin[at][:, self._stays]
        for index, layer in enumerate(self._layers):
            qkv = layer.qkv(self._normalise(x, layer.attention_norm), runs).view(cos.shape)
            qkv = _rotate(qkv, cos, sin).to(self._cache_dtype)
            mixed = attend(index, qkv[:, : self._heads], qkv[:, self._heads :]).to(x.dtype)
            x = x + layer.output(mixed, runs)
            gate, up = layer.gate_up(self._normalise(x, layer.mlp_norm), runs).chunk(2, dim=-1)
            x = x + layer.down(F.silu(gate).mul_(up), runs)
        return x

    def _logits(self, hidden: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
        """Logits [rows, vocabulary] from the hidden states of ``rows``."""
        if not rows:
            return hidden.new_empty(0, self._embedding.shape[0])
        hidden = self._normalise(hidden, self._norm)
        runs = runs_of((row.side == "base", row.side == "tuned") for row in rows)
        logits = self._head(hidden, runs)
        return self._refined(logits, hidden, runs) if self._coarse else logits

    def _refined(self, logits: torch.Tensor, hidden: torch.Tensor, runs: Sequence[Run]) -> torch.Tensor:
        """The logits with the best of each row computed again in fp32: in bf16 the best ones are ties too often."""
        best = logits.topk(min(REFINED, logits.shape[1]), dim=-1, sorted=False).indices
        weights = torch.cat([self._head_weights[side][best[begin:end]] for side, begin, end in runs])
        return logits.scatter_(1, best, (weights @ hidden.unsqueeze(-1)).squeeze(-1))

    def _normalise(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, (x.shape[-1],), weight, self._eps)

    def _attend_spans(self, spans: Sequence[Span], layer: int, q: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """Attention of newly fed tokens, row by row: each sees its own row up to itself."""
        mixed, begin = [], 0
        for span in spans:
            end = begin + span.count
            keys, values = span.lane.write_span(layer, span.slot, span.start, new[begin:end])
            mask = torch.ones(span.count, keys.shape[1], dtype=torch.bool, device=q.device).tril(span.start)
            out = F.scaled_dot_product_attention(
                q[begin:end].transpose(0, 1)[None], keys[None], values[None], attn_mask=mask, enable_gqa=True
            )
            mixed.append(out[0].transpose(0, 1).reshape(span.count, -1))
            begin = end
        return torch.cat(mixed)

    def _attend_lanes(self, lanes: Sequence[Lane], layer: int, q: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """Attention of one new token per row, a lane at a time.

        The query heads of a group share one key head, so they take the place of query positions: no key is copied.
        """
        mixed, begin = [], 0
        for lane in lanes:
            end = begin + len(lane.rows)
            keys, values, mask = lane.write_step(layer, new[begin:end])
            grouped = q[begin:end].reshape(end - begin, self._kv_heads, -1, self._head_size)
            out = F.scaled_dot_product_attention(grouped, keys, values, attn_mask=mask)
            mixed.append(out.reshape(end - begin, -1))
            begin = end
        return torch.cat(mixed) if len(mixed) > 1 else mixed[0]

    def _compute_prefix(self, side: Side) -> Prefix:
        """Feed what all prompts begin with, once."""
        prompts = [encode_prompt(self._pair.tokenizer, question) for question in ("A", "1")]
        ids = prompts[0][: _common_length(*prompts)]
        if not ids:
            return Prefix()
        lane = self._new_lane(len(ids))
        spans = [Span(lane, 0, 0, len(ids))]
        runs = runs_of([(len(ids), 0) if side == "base" else (0, len(ids))])
        self._forward(ids, list(range(len(ids))), runs, lambda *new: self._attend_spans(spans, *new))
        return Prefix(ids, lane)

    def _new_lane(self, capacity: int) -> Lane:
        shape = (len(self._layers), self._kv_heads, capacity, self._head_size)
        return Lane(shape, self._cache_dtype, self._embedding.device)

    def _lane_of(self, row: Row) -> Lane:
        return next(lane for lane in self._lanes.values() if row in lane.rows)


def _common_length(one: Sequence[int], other: Sequence[int]) -> int:
    length = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        length += 1
    return length
