"""Rotary position embeddings (Su et al., 2021) from a model's own frequencies, computed for the positions at hand.

No table is kept: one for 128k positions would take hundreds of MiB, and a step needs a few rows of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from eval_prompts.decoding.layers.families import Family, NotUnderstood, Plan, family_of, plan_of

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from eval_prompts.models.pair import Pair

CONSTANT = frozenset({"default", "linear", "dynamic", "yarn", "llama3"})
"""Kinds whose frequencies never change. ``dynamic`` changes them only beyond the model's context, where nobody asks."""


@dataclass(frozen=True)
class Rotary:
    """Frequencies [half the turned size] of one kind of layer; ``scaling`` multiplies cosines and sines.

    With longrope, texts longer than ``switch`` tokens are turned by ``long_frequencies`` from their first token on.
    """

    frequencies: torch.Tensor
    scaling: float
    long_frequencies: torch.Tensor | None = None
    switch: int | None = None

    @property
    def size(self) -> int:
        """How many numbers of each head are turned: the first ones."""
        return 2 * self.frequencies.shape[0]

    def angles(self, positions: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines [tokens, size] in fp32 for tokens at ``positions`` of texts of so many tokens."""
        frequencies = self.frequencies
        if self.long_frequencies is not None and self.switch is not None:
            frequencies = torch.where(lengths[:, None] > self.switch, self.long_frequencies, frequencies)
        angle = positions[:, None].float() * frequencies
        cosine, sine = angle.cos() * self.scaling, angle.sin() * self.scaling
        return torch.cat((cosine, cosine), dim=-1), torch.cat((-sine, sine), dim=-1)

    def equal(self, other: Rotary) -> bool:
        """True if both turn alike."""
        same = self.frequencies.equal(other.frequencies) and self.scaling == other.scaling
        if self.long_frequencies is None or other.long_frequencies is None:
            return same and self.long_frequencies is other.long_frequencies
        return same and self.switch == other.switch and self.long_frequencies.equal(other.long_frequencies)


def rotate(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Turn the first numbers of each head of ``x`` [tokens, heads, head size], in the half-split layout of Llama.

    ``cosine`` and ``sine`` are [tokens, heads or 1, size]; the first half of the sine carries the sign.
    """
    size = cosine.shape[-1]
    if size == x.shape[-1]:
        return torch.addcmul(x * cosine, x.roll(size // 2, dims=-1), sine)
    turned = x[..., :size]
    turned = torch.addcmul(turned * cosine, turned.roll(size // 2, dims=-1), sine)
    return torch.cat((turned, x[..., size:]), dim=-1)


def rotaries_of(model: PreTrainedModel, family: Family, kinds: set[str]) -> dict[str, Rotary]:
    """The rotary embeddings of a model for ``kinds`` of layers. Raises NotUnderstood for a kind it does not know."""
    module = model.model.rotary_emb
    return {kind: rotary_of(module, family, "" if kind == "all" else kind) for kind in sorted(kinds)}


def rotary_of(module: nn.Module, family: Family, kind: str) -> Rotary:
    """One of them: that of the layers of ``kind``, or of all where that is empty."""
    prefix = f"{kind}_" if kind else ""
    embedding: Any = module  # torch's types know of no settings among a module's attributes
    rope_type = embedding.rope_type[kind] if kind else embedding.rope_type
    parameters = embedding.config.rope_parameters[kind] if kind else embedding.config.rope_parameters
    frequencies = getattr(module, f"{prefix}original_inv_freq").detach().float()
    scaling = float(getattr(module, f"{prefix}attention_scaling"))
    if rope_type in CONSTANT:
        return Rotary(frequencies, scaling)
    if rope_type == "longrope" and family.refeeds and not kind:
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        switch = int(parameters["original_max_position_embeddings"])
        long, _ = ROPE_INIT_FUNCTIONS["longrope"](embedding.config, frequencies.device, seq_len=switch + 1)
        return Rotary(frequencies, scaling, long.float(), switch)
    raise NotUnderstood(f"it scales its positions by {rope_type}, which is not known of this family")


def shared_plan(pair: Pair) -> tuple[Plan, dict[str, Rotary]]:
    """The plan and the rotary embeddings that both sides have. Raises NotUnderstood if there is no such plan."""
    models = [model for model in (pair.base, pair.model("base"), pair.tuned) if model is not None]
    plans = [plan_of(model) for model in models]
    plan, family = plans[0], family_of(models[0])
    if any(other != plan for other in plans):
        raise NotUnderstood("its two sides are built differently")
    if len({(layer.heads, layer.key_heads, layer.head_size) for layer in plan.layers}) != 1:
        raise NotUnderstood("its layers have heads of different sizes")
    kinds = {layer.rotary for layer in plan.layers if layer.rotary is not None}
    rotaries = [rotaries_of(model, family, kinds) for model in models]
    for kind in kinds:
        rotary = rotaries[0][kind]
        if not all(rotary.equal(other[kind]) for other in rotaries):
            raise NotUnderstood("its two sides scale their positions differently")
        if rotary.size != plan.layers[0].head_size and not family.refeeds:
            raise NotUnderstood("its rotary embedding does not turn whole heads")
    return plan, rotaries[0]
