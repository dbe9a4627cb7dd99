"""The Llama family's forward pass over a packed micro-batch, written for training adapters on a frozen base.

It reads the weights of the very peft model that is trained, so there is nothing to keep in step. Against the ordinary
forward it computes no padding, the rows' common prefix once, one adapter product for all projections of one input,
and only the gradients that the adapters need.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tuning.kernels.attention import attention
from tuning.kernels.matmul import frozen_product, wide
from tuning.kernels.packed import Packed
from tuning.upstream.torch_operators import apply, silu_gradient

ADAPTER = "default"
# Modules of transformers, whose parts torch gives no types, are Any below.


class Normed(torch.autograd.Function):
    """RMS norm with a frozen weight (Zhang and Sennrich 2019): keeps its input and one number per token."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        rate = torch.rsqrt(wide(x).pow(2).mean(-1, keepdim=True) + epsilon)
        ctx.save_for_backward(x, weight, rate)
        return (x * rate).to(x.dtype) * weight

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        x, weight, rate = ctx.saved_tensors
        weighted = wide(gradient * weight)
        along = (weighted * x).mean(-1, keepdim=True) * rate.pow(3)
        return (weighted * rate).addcmul_(wide(x), along, value=-1).to(x.dtype), None, None


class Gated(torch.autograd.Function):
    """``silu(gate) * up``, keeping nothing but its inputs."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gate, up = ctx.saved_tensors
        return silu_gradient(gradient * up, gate), F.silu(gate).mul_(gradient)


class Rotated(torch.autograd.Function):
    """Rotary position embedding of ``x`` [tokens, heads, size] by angles [tokens, 1, size / 2] (Su et al. 2021)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cosine, sine)
        return rotate(x, cosine, sine)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        cosine, sine = ctx.saved_tensors
        return rotate(gradient, cosine, -sine), None, None


def rotate(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Turn the pairs (first half, second half) of the last dimension."""
    first, second = x.chunk(2, dim=-1)
    turned = torch.empty_like(x, memory_format=torch.contiguous_format)
    left, right = turned.chunk(2, dim=-1)
    torch.mul(first, cosine, out=left).addcmul_(second, sine, value=-1)
    torch.mul(second, cosine, out=right).addcmul_(first, sine)
    return turned


def project(modules: Sequence[nn.Module], x: torch.Tensor, keys: torch.Tensor) -> list[torch.Tensor]:
    """Outputs of linear layers that read the same ``x`` [tokens, in], each with its adapter where it has one.

    ``keys`` [tokens] are the tokens' dropout keys.
    """
    outputs = [base_product(getattr(module, "base_layer", module), x) for module in modules]
    adapted: list[tuple[Any, torch.Tensor]] = [
        (module, output)
        for module, output in zip(modules, outputs, strict=True)
        if isinstance(module, LoraLayer) and not module.disable_adapters
    ]
    if adapted:
        dropout = adapted[0][0].lora_dropout[ADAPTER]
        reduce = torch.cat([module.lora_A[ADAPTER].weight for module, _ in adapted]).to(x.dtype)
        reduced = F.linear(dropout(x, keys), reduce)
        ranks = [module.r[ADAPTER] for module, _ in adapted]
        for (module, output), part in zip(adapted, reduced.split(ranks, dim=1), strict=True):
            output.addmm_(part, module.lora_B[ADAPTER].weight.to(x.dtype).t(), alpha=module.scaling[ADAPTER])
    return outputs


def base_product(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The frozen layer's own output: plain weights through the fast product, quantised ones through their module."""
    if type(layer) is nn.Linear:
        output = frozen_product(x, layer.weight)
        return output if layer.bias is None else output.add_(layer.bias)
    quantised: torch.Tensor = layer(x)
    return quantised


def attend(layer: Any, x: torch.Tensor, packed: Packed, angles: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Causal grouped-query attention of every row over itself: [tokens, width] -> [tokens, heads * size]."""
    size = layer.head_dim
    query, key, value = project([layer.q_proj, layer.k_proj, layer.v_proj], x, packed.keys)
    query = apply(Rotated, query.view(len(x), -1, size), *angles)
    key = apply(Rotated, key.view(len(x), -1, size), *angles)
    return attention(query, key, value.view(len(x), -1, size), packed, layer.scaling)


def block(
    layer: Any,
    x: torch.Tensor,
    packed: Packed,
    angles: tuple[torch.Tensor, torch.Tensor],
    wanted: torch.Tensor | None = None,
) -> torch.Tensor:
    """One decoder layer over ``x`` [tokens, width]; after attention only the tokens ``wanted``, where given, go on."""
    keys = packed.keys
    norm = layer.input_layernorm
    mixed = attend(layer.self_attn, apply(Normed, x, norm.weight, norm.variance_epsilon), packed, angles)
    if wanted is not None:
        x, mixed, keys = x.index_select(0, wanted), mixed.index_select(0, wanted), keys.index_select(0, wanted)
    x = x + project([layer.self_attn.o_proj], mixed, keys)[0]
    norm = layer.post_attention_layernorm
    normed = apply(Normed, x, norm.weight, norm.variance_epsilon)
    gate, up = project([layer.mlp.gate_proj, layer.mlp.up_proj], normed, keys)
    return x + project([layer.mlp.down_proj], apply(Gated, gate, up), keys)[0]


def hidden_states(body: Any, packed: Packed, checkpointing: bool = False) -> torch.Tensor:
    """The final normed states [labels, width] that predict the labels; ``body`` is a LlamaModel with adapters.

    On the CPU the residual stream is fp32 whatever the weights' precision.
    """
    x = body.embed_tokens(packed.ids)
    x = wide(x) if x.is_cpu else x
    cosine, sine = body.rotary_emb(x, packed.positions.unsqueeze(0))
    half = cosine.shape[-1] // 2
    angles = (cosine[0, :, None, :half].contiguous(), sine[0, :, None, :half].contiguous())
    for layer in body.layers:
        wanted = packed.label_at if layer is body.layers[-1] else None
        if checkpointing and torch.is_grad_enabled():
            x = checkpoint(block, layer, x, packed, angles, wanted, use_reentrant=False, preserve_rng_state=False)
        else:
            x = block(layer, x, packed, angles, wanted)
    return apply(Normed, x, body.norm.weight, body.norm.variance_epsilon)


def supported(model: nn.Module) -> bool:
    """Whether this module computes what the model's own forward does (it is checked by numbers as well)."""
    config: Any = model.config
    plain: bool = config.model_type == "llama" and config.hidden_act == "silu" and not config.attention_dropout
    return plain and "Llama" in type(model).__name__
