"""What the pair decoder takes out of two Llama models: each layer's matrices for both sides, and rotary tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from eval_prompts.decoding.side_linear import SideProduct, weights_of
from eval_prompts.models.lora_linear import AdaptedLinear
from eval_prompts.models.mmap_pages import release_pages

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from eval_prompts.decoding.matmul import Precision
    from eval_prompts.models.pair import Pair


PRODUCTS = ("qkv", "output", "gate_up", "down")


@dataclass(frozen=True)
class Layer:
    """The matrices of one decoder layer, for both sides."""

    attention_norm: torch.Tensor
    qkv: SideProduct
    output: SideProduct
    mlp_norm: torch.Tensor
    gate_up: SideProduct
    down: SideProduct


def can_decode(model: PreTrainedModel) -> bool:
    """True if the pair decoder knows the model's class and it is a plain one: no biases, quantised or odd parts."""
    from transformers import LlamaForCausalLM

    config = model.config
    linears = [module for module in model.modules() if hasattr(module, "in_features")]
    return (
        type(model) is LlamaForCausalLM
        and config.hidden_act == "silu"
        and config.rope_parameters.get("rope_type") in ("default", "linear", "llama3")
        and all(type(linear) in (nn.Linear, AdaptedLinear) and linear.bias is None for linear in linears)
    )


def layers_of(pair: Pair, precision: Precision) -> list[Layer]:
    """All layers, packed one after the other; pages of the weight file that have been read are given back."""
    root, base = pair.base.model.layers, pair.model("base").model.layers
    tuned = [None] * len(base) if pair.tuned is None else pair.tuned.model.layers
    return [layer_of(*layers, precision) for layers in zip(root, base, tuned, strict=True)]


def layer_of(root: nn.Module, base: nn.Module, tuned: nn.Module | None, precision: Precision) -> Layer:
    """One layer of the untouched model and of both sides (``tuned`` is None without an adapter)."""

    def both(part: str, *names: str) -> SideProduct:
        modules = [
            None if layer is None else [getattr(getattr(layer, part), name) for name in names]
            for layer in (root, base, tuned)
        ]
        return SideProduct(*modules, precision)

    layer = Layer(
        attention_norm=base.input_layernorm.weight.detach(),
        qkv=both("self_attn", "q_proj", "k_proj", "v_proj"),
        output=both("self_attn", "o_proj"),
        mlp_norm=base.post_attention_layernorm.weight.detach(),
        gate_up=both("mlp", "gate_proj", "up_proj"),
        down=both("mlp", "down_proj"),
    )
    release_pages(root.parameters())
    return layer


def head_of(pair: Pair, precision: Precision) -> tuple[SideProduct, list[torch.Tensor]]:
    """The vocabulary head for both sides, and its weights as they are, [vocabulary, width], of each side."""
    heads = [model.lm_head for model in (pair.model("base"), pair.tuned) if model is not None]
    tuned = None if pair.tuned is None else [pair.tuned.lm_head]
    product = SideProduct([pair.base.lm_head], [heads[0]], tuned, precision)
    release_pages(pair.base.lm_head.parameters())
    return product, weights_of(heads)


def rotary_tables(model: PreTrainedModel, context: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines for every position, [context, 2, head size], by the model's own rotary embedding.

    The first of each pair turns a head, the second leaves it as it is. The second half of the sine carries the sign
    of the rotation, so that turning is one roll and two products.
    """
    weight = model.model.embed_tokens.weight
    positions = torch.arange(context, device=weight.device)[None]
    with torch.inference_mode():
        cos, sin = model.model.rotary_emb(weight[:1, :1], positions)
    half = sin.shape[-1] // 2
    sign = torch.ones_like(sin[0, :1])
    sign[:, :half] = -1
    still = torch.ones_like(cos[0])
    return torch.stack((cos[0], still), dim=1), torch.stack((sin[0] * sign, 0 * still), dim=1)
