"""What the common-step decoder takes out of two models of one family: matrices and norms for both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from eval_prompts.decoding.layers.families import Activation, Family, LayerPlan, norm_weight
from eval_prompts.decoding.layers.side_linear import Run, SideProduct, weights_of
from eval_prompts.models.mmap_pages import release_pages

if TYPE_CHECKING:
    from eval_prompts.decoding.layers.matmul import Precision
    from eval_prompts.models.pair import Pair

PRODUCTS = ("qkv", "output", "gate_up", "down")
NORMS = ("before_attention", "query_norm", "key_norm", "after_attention", "before_mlp", "after_mlp")
Modules = tuple[Any, Any, Any]
"""A module of the untouched model, of the base side and of the tuned side (None without an adapter)."""


class SideNorm:
    """An RMS norm for rows of both sides, whose weights may differ."""

    def __init__(self, base: nn.Module, tuned: nn.Module | None) -> None:
        ours, self._epsilon = norm_weight(base)
        theirs = ours if tuned is None else norm_weight(tuned)[0]
        self._weights = [ours, ours if theirs.equal(ours) else theirs]
        self.width: int = ours.shape[0]

    @property
    def same(self) -> bool:
        """Whether both sides have one weight."""
        return self._weights[0] is self._weights[1]

    def __call__(self, x: torch.Tensor, runs: Sequence[Run]) -> torch.Tensor:
        """``x`` [rows, ..., width] normalised over its last dimension."""
        ours, theirs = self._weights
        if ours is theirs:
            return self._normalised(x, ours)
        return torch.cat([self._normalised(x[begin:end], self._weights[side]) for side, begin, end in runs])

    def _normalised(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        if weight.dtype == x.dtype:
            return F.rms_norm(x, weight.shape, weight, self._epsilon)
        return F.rms_norm(x.to(weight.dtype), weight.shape, weight, self._epsilon).to(x.dtype)


class SideEmbedding:
    """Token embeddings for rows of both sides, which may have trained their own."""

    def __init__(self, base: nn.Embedding, tuned: nn.Embedding | None, scale: float) -> None:
        ours = base.weight.detach()
        theirs = ours if tuned is None else tuned.weight.detach()
        self._tables = [ours, ours if theirs.data_ptr() == ours.data_ptr() else theirs]
        self._scale = scale

    @property
    def same(self) -> bool:
        """Whether both sides have one table."""
        return self._tables[0] is self._tables[1]

    def __call__(self, tokens: torch.Tensor, runs: Sequence[Run]) -> torch.Tensor:
        """[rows, width] for ``tokens`` [rows]."""
        ours, theirs = self._tables
        if ours is theirs:
            x = ours[tokens]
        else:
            x = torch.cat([self._tables[side][tokens[begin:end]] for side, begin, end in runs])
        return x if self._scale == 1.0 else x * self._scale


@dataclass(frozen=True)
class Layer:
    """One decoder layer for both sides: what it does, its matrices, and its norms, None where it has none."""

    plan: LayerPlan
    before_attention: SideNorm | None
    qkv: SideProduct
    query_norm: SideNorm | None
    key_norm: SideNorm | None
    output: SideProduct
    after_attention: SideNorm | None
    before_mlp: SideNorm | None
    gate_up: SideProduct
    activation: Activation
    down: SideProduct
    after_mlp: SideNorm | None

    @property
    def nbytes(self) -> int:
        """Bytes that the packed matrices take, besides the models' own."""
        return sum(getattr(self, name).nbytes for name in PRODUCTS)

    @property
    def scales(self) -> bool:
        """Whether the two sides differ by low-rank changes alone."""
        products, norms = (getattr(self, name) for name in PRODUCTS), (getattr(self, name) for name in NORMS)
        return all(product.scales for product in products) and all(norm is None or norm.same for norm in norms)


def layers_of(pair: Pair, family: Family, plans: Sequence[LayerPlan], precision: Precision) -> list[Layer]:
    """All layers, packed one after the other; pages of the weight file that have been read are given back."""
    models = (pair.base, pair.model("base"), pair.tuned)
    stacks = [[None] * len(plans) if model is None else model.model.layers for model in models]
    layers = []
    for plan, root, base, tuned in zip(plans, *stacks, strict=True):
        layers.append(layer_of(family, plan, (root, base, tuned), precision))
        release_pages(root.parameters())
    return layers


def layer_of(family: Family, plan: LayerPlan, layers: Modules, precision: Precision) -> Layer:
    """One layer of the untouched model and of both sides."""

    def product(part: str, *names: str) -> SideProduct:
        def linears(layer: Any) -> list[nn.Linear]:
            return [getattr(getattr(layer, part), name) for name in names]

        root, base, tuned = layers
        return SideProduct(linears(root), linears(base), None if tuned is None else linears(tuned), precision)

    def norm(part: str | None, name: str | None) -> SideNorm | None:
        if name is None:
            return None
        base, tuned = (layer if part is None or layer is None else getattr(layer, part) for layer in layers[1:])
        return SideNorm(getattr(base, name), None if tuned is None else getattr(tuned, name))

    head_norms = ("q_norm", "k_norm") if family.head_norm != "none" else (None, None)
    return Layer(
        plan=plan,
        before_attention=norm(None, family.before_attention),
        qkv=product("self_attn", *family.qkv),
        query_norm=norm("self_attn", head_norms[0]),
        key_norm=norm("self_attn", head_norms[1]),
        output=product("self_attn", "o_proj"),
        after_attention=norm(None, family.after_attention),
        before_mlp=norm(None, family.before_mlp),
        gate_up=product("mlp", *family.gate_up),
        activation=getattr(layers[0].mlp, family.activation),
        down=product("mlp", "down_proj"),
        after_mlp=norm(None, family.after_mlp),
    )


def head_of(pair: Pair, precision: Precision) -> tuple[SideProduct, list[torch.Tensor]]:
    """The vocabulary head for both sides, and its weights as they are, [vocabulary, width], of each side."""
    heads = [model.lm_head for model in (pair.model("base"), pair.tuned) if model is not None]
    tuned = None if pair.tuned is None else [pair.tuned.lm_head]
    product = SideProduct([pair.base.lm_head], [heads[0]], tuned, precision)
    release_pages(pair.base.lm_head.parameters())
    return product, weights_of(heads)
