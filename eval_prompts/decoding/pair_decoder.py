"""The common-step decoder: one batched step answers every row of both sides, reading shared weights once.

How a token comes about, in the nouns of this package:

- A **row** is one answer: the tokens of its prompt and those generated. The engine hands rows over; the first ``fed``
  tokens of each are in the key-value cache.
- A **lane** (:mod:`.kv_cache`) is the cache of rows of like length: one tensor with a slot for each row, rows of the
  base side before those of the tuned side. A row takes a slot when it enters and frees it when it leaves.
- A **step** feeds one token for every row under way, or pieces of new prompts (**spans**). All fed tokens lie in one
  flat batch, and **runs** say which of them belong to which side: each matrix is multiplied once for all
  (:mod:`.side_linear`), then what an adapter adds follows for the rows of its side.
- A **plan** (:mod:`.families`) says what a layer does besides its matrices: norms, rotary embedding, window, caps and
  multipliers. One layer with parts that may be missing stands for Llama, Qwen, Mistral, Gemma, Phi, Granite and OLMo.
- The **prefix** with which all prompts begin is computed once for each side and copied into each new slot.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from eval_prompts.decoding.layers.attention import attend, span_mask
from eval_prompts.decoding.layers.families import family_of
from eval_prompts.decoding.layers.kv_cache import Lane, Prefix, Span, lane_capacity
from eval_prompts.decoding.layers.matmul import Precision
from eval_prompts.decoding.layers.rotary import rotate, shared_plan
from eval_prompts.decoding.layers.side_layers import Layer, SideEmbedding, SideNorm, head_of, layers_of
from eval_prompts.decoding.layers.side_linear import Feed, Run, runs_of
from eval_prompts.models.pair import SIDES
from tuning.data.chat import encode_prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eval_prompts.models.pair import Pair, Side
    from eval_prompts.rows import Row

    Attend = Callable[[int, Layer, torch.Tensor, torch.Tensor], torch.Tensor]

REFINED = 32


class PairDecoder:
    """Decodes rows of both sides of a pair in common steps; see :class:`eval_prompts.decoding.backend.Backend`."""

    def __init__(self, pair: Pair, precision: Precision = "fp32") -> None:
        """``precision`` int8 takes effect for the matrices that this processor can multiply so.

        Raises NotUnderstood if the pair is not of a family that this decoder knows.
        """
        self._pair = pair
        base, tuned = pair.model("base"), pair.tuned
        self._plan, self._rotaries = shared_plan(pair)
        self.context: int = self._plan.context
        self.notes: list[str] = []
        first = self._plan.layers[0]
        self._heads, self._kv_heads, self._head_size = first.heads, first.key_heads, first.head_size
        self._windows = {layer.window for layer in self._plan.layers}
        self._switch = next((rotary.switch for rotary in self._rotaries.values() if rotary.switch is not None), None)
        self._long_rows: set[Row] = set()
        self._dtype, self._device = base.model.embed_tokens.weight.dtype, base.device
        self._coarse = precision == "int8"
        self._cache_dtype = torch.bfloat16 if self._coarse else self._dtype
        theirs = None if tuned is None else tuned.model
        scale = self._plan.embedding_scale
        self._embed = SideEmbedding(base.model.embed_tokens, theirs and theirs.embed_tokens, scale)
        self._norm = SideNorm(base.model.norm, theirs and theirs.norm)
        self._head, self._head_weights = head_of(pair, precision)
        self._layers = layers_of(pair, family_of(base), self._plan.layers, precision)
        heads = torch.arange(self._heads + 2 * self._kv_heads, device=self._device)
        self._stays = (heads >= self._heads + self._kv_heads).long()
        self.scales: bool = self._can_scale()
        self.precision = "int8" if self._coarse else pair.device.label.split()[-1]
        self.weight_bytes: int = self._head.nbytes + sum(layer.nbytes for layer in self._layers) or pair.memory_bytes
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
        as_loaded = not self.scales or row.strength in (None, 1)
        shared = _common_length(prefix.ids, row.ids[:-1]) if as_loaded and not self._turns_long(row) else 0
        if shared and prefix.lane is not None:
            lane.copy_from(prefix.lane, slot, shared)
        row.fed = shared

    def leave(self, row: Row) -> None:
        """Free the slot of ``row``, and its lane's memory if it was the last one in it."""
        self._long_rows.discard(row)
        for capacity, lane in list(self._lanes.items()):
            if lane.discard(row) and not lane.rows:
                del self._lanes[capacity]

    def advance(self, rows: list[Row], prefill_tokens: int) -> tuple[list[Row], torch.Tensor]:
        """One step for all rows: a token for those under way, and as much of the new prompts as is allowed."""
        for row in rows:
            if self._turns_long(row):
                row.fed = 0
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

    def _can_scale(self) -> bool:
        """Whether the tuned side is the base plus the trained adapter's low-rank changes, and nothing else."""
        card = self._pair.adapter
        if card is None or card.is_model or card.strength is not None or (self._coarse and self._head.changes_tuned):
            return False
        same = self._embed.same and self._norm.same and self._head.scales
        return same and all(layer.scales for layer in self._layers)

    def _scales_of(self, strengths: Sequence[float | None]) -> torch.Tensor | None:
        """[rows, 1] for the strengths of rows; None where all are as loaded, or the pair itself is at that strength."""
        if not self.scales or all(strength is None or strength == 1 for strength in strengths):
            return None
        factors = [1.0 if strength is None else strength for strength in strengths]
        return torch.tensor(factors, dtype=self._dtype, device=self._device)[:, None]

    def _turns_long(self, row: Row) -> bool:
        """True once for a row that has become longer than longrope's switch: all of it is turned anew, and fed anew."""
        if self._switch is None or len(row.ids) <= self._switch or row in self._long_rows:
            return False
        self._long_rows.add(row)
        return True

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
        lengths = [len(row.ids) for row, span in fed for _ in range(span.count)]
        base_tokens = sum(span.count for row, span in fed if row.side == "base")
        runs = runs_of([(base_tokens, len(tokens) - base_tokens)])
        scales = self._scales_of([row.strength for row, span in fed for _ in range(span.count)])
        hidden = self._forward(Feed(tokens, positions, lengths, runs, scales), partial(self._attend_spans, spans))
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
            lane.prepare_step(self._windows)
        scales = self._scales_of([row.strength for row in rows])
        feed = Feed(tokens, positions, [len(row.ids) for row in rows], runs, scales)
        hidden = self._forward(feed, partial(self._attend_lanes, lanes))
        keep = [index for index, row in enumerate(rows) if len(row.ids) - row.fed == 1]
        done = [rows[index] for index in keep]
        for row in done:
            row.fed += 1
        if len(keep) != len(rows):
            hidden = hidden[keep]
        return done, self._logits(hidden, done)

    def _forward(self, feed: Feed, mix: Attend) -> torch.Tensor:
        """Hidden states [tokens, width] of what is fed.

        ``mix(index, layer, queries, new)`` is attention; it gets [tokens, heads, head size], of which ``new`` is the
        key heads, then the value heads, and returns [tokens, heads * head size].
        """
        runs, scales = feed.runs, feed.scales
        x = self._embed(torch.tensor(feed.tokens, device=self._device), runs)
        angles = self._angles(feed)
        for index, layer in enumerate(self._layers):
            plan = layer.plan
            y = layer.before_attention(x, runs) if layer.before_attention else x
            qkv = layer.qkv(y, runs, scales).view(len(x), -1, self._head_size)
            if layer.query_norm and layer.key_norm:
                qkv = self._normalise_heads(qkv, layer.query_norm, layer.key_norm, runs)
            if plan.rotary:
                qkv = rotate(qkv, *angles[plan.rotary])
            qkv = qkv.to(self._cache_dtype)
            mixed = mix(index, layer, qkv[:, : self._heads], qkv[:, self._heads :]).to(x.dtype)
            y = layer.output(mixed, runs, scales)
            x = torch.add(x, layer.after_attention(y, runs) if layer.after_attention else y, alpha=plan.residual)
            y = layer.before_mlp(x, runs) if layer.before_mlp else x
            gate, up = layer.gate_up(y, runs, scales).chunk(2, dim=-1)
            y = layer.down(layer.activation(gate) * up, runs, scales)
            x = torch.add(x, layer.after_mlp(y, runs) if layer.after_mlp else y, alpha=plan.residual)
        return x

    def _angles(self, feed: Feed) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """For each kind of rotary embedding, cosines and sines [tokens, all heads, turned size].

        Queries and keys lie side by side with the values, which are not turned: their cosine is 1 and their sine 0.
        """
        positions = torch.tensor(feed.positions, device=self._device)
        lengths = torch.tensor(feed.lengths, device=self._device)
        angles = {}
        for kind, rotary in self._rotaries.items():
            cosine, sine = (part.to(self._dtype) for part in rotary.angles(positions, lengths))
            turning_and_still = (cosine, torch.ones_like(cosine)), (sine, torch.zeros_like(sine))
            cosines, sines = (torch.stack(part, dim=1)[:, self._stays] for part in turning_and_still)
            angles[kind] = cosines, sines
        return angles

    def _normalise_heads(
        self, qkv: torch.Tensor, query_norm: SideNorm, key_norm: SideNorm, runs: Sequence[Run]
    ) -> torch.Tensor:
        """Normalise queries and keys, each head or, where a norm is as wide as all heads, all as one."""
        queries, keys, values = qkv.split((self._heads, self._kv_heads, self._kv_heads), dim=1)
        normed = []
        for heads, norm in ((queries, query_norm), (keys, key_norm)):
            of_norm = heads.reshape(len(heads), -1, norm.width)
            normed.append(norm(of_norm, runs).view(heads.shape))
        return torch.cat((*normed, values), dim=1)

    def _logits(self, hidden: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
        """Logits [rows, vocabulary] from the hidden states of ``rows``."""
        if not rows:
            return hidden.new_empty(0, max(len(weight) for weight in self._head_weights))
        runs = runs_of((row.side == "base", row.side == "tuned") for row in rows)
        hidden = self._norm(hidden, runs)
        logits = self._head(hidden, runs, self._scales_of([row.strength for row in rows]))
        if self._coarse:
            logits = self._refined(logits, hidden, runs)
        if self._plan.logits_divisor != 1.0:
            logits = logits / self._plan.logits_divisor
        cap = self._plan.logits_cap
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def _refined(self, logits: torch.Tensor, hidden: torch.Tensor, runs: Sequence[Run]) -> torch.Tensor:
        """The logits with the best of each row computed again in fp32: in bf16 the best ones are ties too often."""
        best = logits.topk(min(REFINED, logits.shape[1]), dim=-1, sorted=False).indices
        weights = torch.cat([self._head_weights[side][best[begin:end]] for side, begin, end in runs])
        return logits.scatter_(1, best, (weights @ hidden.unsqueeze(-1)).squeeze(-1))

    def _attend_spans(
        self, spans: Sequence[Span], index: int, layer: Layer, q: torch.Tensor, new: torch.Tensor
    ) -> torch.Tensor:
        """Attention of newly fed tokens, row by row: each sees its own row up to itself."""
        mixed, begin = [], 0
        for span in spans:
            end = begin + span.count
            keys, values = span.lane.write_span(index, span.slot, span.start, new[begin:end])
            mask = span_mask(span.start, span.count, layer.plan.window, q.device)
            out = attend(q[begin:end].transpose(0, 1)[None], keys[None], values[None], mask, layer.plan)
            mixed.append(out[0].transpose(0, 1).reshape(span.count, -1))
            begin = end
        return torch.cat(mixed)

    def _attend_lanes(
        self, lanes: Sequence[Lane], index: int, layer: Layer, q: torch.Tensor, new: torch.Tensor
    ) -> torch.Tensor:
        """Attention of one new token per row, a lane at a time.

        The query heads of a group share one key head, so they take the place of query positions: no key is copied.
        """
        mixed, begin = [], 0
        for lane in lanes:
            end = begin + len(lane.rows)
            keys, values, mask = lane.write_step(index, new[begin:end], layer.plan.window)
            grouped = q[begin:end].reshape(end - begin, self._kv_heads, -1, self._head_size)
            mixed.append(attend(grouped, keys, values, mask, layer.plan).reshape(end - begin, -1))
            begin = end
        return torch.cat(mixed) if len(mixed) > 1 else mixed[0]

    def _compute_prefix(self, side: Side) -> Prefix:
        """Feed what all prompts begin with, once; no more of it than longrope turns as it turns short texts."""
        prompts = [encode_prompt(self._pair.tokenizers[side], question) for question in ("A", "1")]
        ids = prompts[0][: _common_length(*prompts)][: self._switch]
        if not ids:
            return Prefix()
        lane = self._new_lane(len(ids))
        spans = [Span(lane, 0, 0, len(ids))]
        runs = runs_of([(len(ids), 0) if side == "base" else (0, len(ids))])
        feed = Feed(ids, list(range(len(ids))), [len(ids)] * len(ids), runs)
        self._forward(feed, partial(self._attend_spans, spans))
        return Prefix(ids, lane)

    def _new_lane(self, capacity: int) -> Lane:
        shape = (len(self._layers), self._kv_heads, capacity, self._head_size)
        return Lane(shape, self._cache_dtype, self._device)

    def _lane_of(self, row: Row) -> Lane:
        return next(lane for lane in self._lanes.values() if row in lane.rows)


def _common_length(one: Sequence[int], other: Sequence[int]) -> int:
    length = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        length += 1
    return length
