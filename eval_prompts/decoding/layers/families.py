"""What a layer of each model family is made of, read from the model's own modules and configuration.

All families that the common-step decoder knows are one layer with parts that may be missing::

    x = x + residual * after_attention(output(attend(rotate(norm(qkv(before_attention(x)))))))
    x = x + residual * after_mlp(down(activation(gate(y)) * up(y)))      with y = before_mlp(x)

:data:`FAMILIES` says where a family keeps these parts; everything else (sizes, scales, windows, caps, multipliers) is
read from the loaded model. Whatever is not understood is refused with the reason, and the general decoder answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

from eval_prompts.models.lora_linear import AdaptedLinear

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Activation = Callable[[torch.Tensor], torch.Tensor]
HeadNorm = Literal["none", "per head", "whole width"]


class NotUnderstood(Exception):
    """A model that the common-step decoder does not know; the text says what it does not know, for people."""


@dataclass(frozen=True)
class Family:
    """Names of the modules in which a family keeps the parts of a layer, and what else its code does.

    ``idle`` are modules that do nothing while answering. With ``window_of_config`` all layers have the sliding window
    that the configuration names; else each attention module names its own. ``caps_attention`` and ``caps_logits``:
    the family's code applies the soft caps of the configuration there. ``multiplies``: it applies the configuration's
    multipliers. ``refeeds``: ``generate`` computes the whole text again where longrope changes its frequencies.
    """

    qkv: tuple[str, ...] = ("q_proj", "k_proj", "v_proj")
    gate_up: tuple[str, ...] = ("gate_proj", "up_proj")
    activation: str = "act_fn"
    before_attention: str | None = "input_layernorm"
    after_attention: str | None = None
    before_mlp: str | None = "post_attention_layernorm"
    after_mlp: str | None = None
    head_norm: HeadNorm = "none"
    idle: tuple[str, ...] = ()
    window_of_config: bool = False
    caps_attention: bool = False
    caps_logits: bool = False
    multiplies: bool = False
    refeeds: bool = False

    @property
    def norms(self) -> list[str]:
        """Names of the norms of a layer."""
        names = (self.before_attention, self.after_attention, self.before_mlp, self.after_mlp)
        return [name for name in names if name is not None]


AFTER_EACH = Family(
    after_attention="post_attention_layernorm",
    before_mlp="pre_feedforward_layernorm",
    after_mlp="post_feedforward_layernorm",
)

FAMILIES: dict[str, Family] = {
    "LlamaForCausalLM": Family(),
    "MistralForCausalLM": Family(window_of_config=True),
    "Qwen2ForCausalLM": Family(),
    "Qwen3ForCausalLM": Family(head_norm="per head"),
    "SmolLM3ForCausalLM": Family(),
    "GemmaForCausalLM": Family(),
    "Gemma2ForCausalLM": replace(AFTER_EACH, caps_attention=True, caps_logits=True),
    "Gemma3ForCausalLM": replace(AFTER_EACH, head_norm="per head", caps_logits=True),
    "Phi3ForCausalLM": Family(
        qkv=("qkv_proj",),
        gate_up=("gate_up_proj",),
        activation="activation_fn",
        idle=("resid_attn_dropout", "resid_mlp_dropout"),
        window_of_config=True,
        refeeds=True,
    ),
    "GraniteForCausalLM": Family(multiplies=True),
    "Olmo2ForCausalLM": Family(
        before_attention=None,
        after_attention="post_attention_layernorm",
        before_mlp=None,
        after_mlp="post_feedforward_layernorm",
        head_norm="whole width",
    ),
}
"""By the name of transformers' class."""


@dataclass(frozen=True)
class LayerPlan:
    """What a layer does besides multiplying with its matrices.

    ``rotary`` names the kind of rotary embedding, None for none. A token sees itself and the ``window - 1`` before it,
    all where ``window`` is None. Attention scores are multiplied by ``scale`` and, where there is a ``cap``, become
    ``cap * tanh(scores / cap)``. ``residual`` multiplies what attention and MLP add; ``epsilons`` are the norms'.
    """

    heads: int
    key_heads: int
    head_size: int
    scale: float
    window: int | None
    cap: float | None
    rotary: str | None
    residual: float
    epsilons: tuple[float, ...]


@dataclass(frozen=True)
class Plan:
    """What a model does besides multiplying with its matrices; equal for both sides of a pair that share steps."""

    family: str
    context: int
    layers: tuple[LayerPlan, ...]
    embedding_scale: float
    logits_divisor: float
    logits_cap: float | None
    activation: str
    epsilon: float


def family_of(model: PreTrainedModel) -> Family:
    """The family of a model of transformers. Raises NotUnderstood if the common-step decoder does not know it."""
    name = type(model).__name__
    if name not in FAMILIES or not type(model).__module__.startswith("transformers.models."):
        raise NotUnderstood(f"the fast one does not know {name}")
    return FAMILIES[name]


def plan_of(model: PreTrainedModel) -> Plan:
    """Read a model's plan. Raises NotUnderstood, naming it, if the model holds anything that the plan cannot say."""
    family, config = family_of(model), model.config
    check_children(model, {"model", "lm_head"})
    check_children(model.model, {"embed_tokens", "layers", "norm", "rotary_emb"})
    check_linears([model.lm_head])
    return Plan(
        family=type(model).__name__,
        context=config.max_position_embeddings,
        layers=tuple(layer_plan(family, config, layer, index) for index, layer in enumerate(model.model.layers)),
        embedding_scale=embedding_scale(family, config, model.model.embed_tokens),
        logits_divisor=float(config.logits_scaling) if family.multiplies else 1.0,
        logits_cap=config.final_logit_softcapping if family.caps_logits else None,
        activation=repr(getattr(model.model.layers[0].mlp, family.activation)),
        epsilon=norm_weight(model.model.norm)[1],
    )


def layer_plan(family: Family, config: Any, layer: nn.Module, index: int) -> LayerPlan:
    """One layer's plan; see :func:`plan_of`."""
    attention, mlp = layer.get_submodule("self_attn"), layer.get_submodule("mlp")
    head_norms = set() if family.head_norm == "none" else {"q_norm", "k_norm"}
    check_children(layer, {"self_attn", "mlp", *family.norms, *family.idle})
    check_children(attention, {*family.qkv, "o_proj", *head_norms})
    check_children(mlp, {*family.gate_up, "down_proj", family.activation})
    check_linears([getattr(attention, name) for name in (*family.qkv, "o_proj")])
    check_linears([getattr(mlp, name) for name in (*family.gate_up, "down_proj")])
    norms = [getattr(layer, name) for name in family.norms] + [getattr(attention, name) for name in sorted(head_norms)]
    if not getattr(attention, "is_causal", True):
        raise NotUnderstood("its attention looks ahead")
    window = config.sliding_window if family.window_of_config else getattr(attention, "sliding_window", None)
    numbers: Any = attention  # torch's types know of no numbers among a module's attributes
    return LayerPlan(
        heads=config.num_attention_heads,
        key_heads=config.num_key_value_heads,
        head_size=numbers.head_dim,
        scale=float(numbers.scaling),
        window=window,
        cap=config.attn_logit_softcapping if family.caps_attention else None,
        rotary=rotary_kind(config, index) if getattr(attention, "use_rope", True) else None,
        residual=float(config.residual_multiplier) if family.multiplies else 1.0,
        epsilons=tuple(norm_weight(norm)[1] for norm in norms),
    )


def rotary_kind(config: Any, index: int) -> str:
    """Which rotary embedding a layer uses: that of its kind, where the configuration has one for each kind."""
    kinds = getattr(config, "layer_types", None) or ()
    by_kind = any(kind in config.rope_parameters for kind in kinds)
    return str(kinds[index]) if by_kind else "all"


def embedding_scale(family: Family, config: Any, embedding: nn.Module) -> float:
    """What the token embeddings are multiplied with."""
    if type(embedding) is nn.Embedding:
        return float(config.embedding_multiplier) if family.multiplies else 1.0
    if isinstance(embedding, nn.Embedding) and type(embedding).__name__.endswith("TextScaledWordEmbedding"):
        return float(embedding.get_buffer("embed_scale"))
    raise NotUnderstood(f"its embedding is a {type(embedding).__name__}")


def check_children(module: nn.Module, names: set[str]) -> None:
    """Raise NotUnderstood unless a module holds modules of these names and no parameters of its own."""
    found = {name for name, _ in module.named_children()}
    strange = found ^ names
    own = [name for name, _ in module.named_parameters(recurse=False)]
    if strange or own:
        listed = ", ".join(sorted([*strange, *own]))
        raise NotUnderstood(f"its {type(module).__name__} has more or fewer parts than it should ({listed})")


def check_linears(modules: list[nn.Module]) -> None:
    """Raise NotUnderstood unless these are plain linear layers, with low-rank changes or without."""
    for module in modules:
        if type(module) not in (nn.Linear, AdaptedLinear):
            raise NotUnderstood(f"it has layers of the kind {type(module).__name__}")


def norm_weight(norm: nn.Module) -> tuple[torch.Tensor, float]:
    """Weight [width] and epsilon with which ``F.rms_norm`` does what a norm of transformers does.

    Some families store the weight's difference from one; the module itself is asked which. Raises NotUnderstood if it
    is no RMS norm (Zhang and Sennrich, 2019).
    """
    weight = norm.get_parameter("weight").detach()
    epsilon = getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
    if epsilon is None:
        raise NotUnderstood(f"its {type(norm).__name__} is not an RMS norm")
    probe = torch.linspace(-1.0, 1.5, weight.shape[0], dtype=weight.dtype, device=weight.device)[None]
    with torch.inference_mode():
        expected = norm(probe).float()
    exact = 1e-5 if weight.dtype == torch.float32 else 2e-2
    for candidate in (weight, (weight.float() + 1).to(torch.float32)):
        result = F.rms_norm(probe.float(), probe.shape[-1:], candidate.float(), epsilon)
        if torch.allclose(result, expected, rtol=exact, atol=exact):
            return candidate, float(epsilon)
    raise NotUnderstood(f"its {type(norm).__name__} is not an RMS norm")
