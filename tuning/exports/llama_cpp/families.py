"""The model families that llama.cpp and transformers both know: what is told of each, and how its weights lie.

llama.cpp computes some things by the architecture's name alone (which layers have rotary positions, which see a window,
how queries are scaled). Where a model's configuration says otherwise, it cannot be a GGUF, and that is said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.errors import UserError
from tuning.exports.llama_cpp import rope

if TYPE_CHECKING:
    import gguf
    import numpy as np
    import numpy.typing as npt
    from transformers import PreTrainedConfig

Further = dict[str, "npt.NDArray[np.float32]"]
"""Tensors that are no weights: the factors of rotary frequencies."""


@dataclass(frozen=True)
class Family:
    """A model type of transformers as llama.cpp knows it.

    ``permuted``: the rows of queries and keys lie in rotary pairs instead of halves. ``one_more``: norms multiply by
    one plus their weight, and llama.cpp wants the sum.
    """

    arch: str
    permuted: bool = False
    one_more: bool = False
    window: bool = False
    check: Callable[[PreTrainedConfig], str] = lambda config: ""


def gemma2_differs(config: PreTrainedConfig) -> str:
    """Why a Gemma 2 is none that llama.cpp computes rightly; '' if it is."""
    usual = config.hidden_size / config.num_attention_heads if config.num_hidden_layers == 46 else config.head_dim
    if config.query_pre_attn_scalar != usual:
        return f"its queries are scaled by {config.query_pre_attn_scalar}, and llama.cpp scales by {usual:g}"
    return windows_differ(config, 2)


def gemma3_differs(config: PreTrainedConfig) -> str:
    """Why a Gemma 3 is none that llama.cpp computes rightly; '' if it is."""
    usual = config.hidden_size / config.num_attention_heads if config.num_hidden_layers == 62 else config.head_dim
    if config.query_pre_attn_scalar != usual:
        return f"its queries are scaled by {config.query_pre_attn_scalar}, and llama.cpp scales by {usual:g}"
    if getattr(config, "use_bidirectional_attention", False):
        return "it looks ahead"
    return windows_differ(config, 6)


def windows_differ(config: PreTrainedConfig, every: int) -> str:
    """Why the layers that see all are not each ``every``-th; '' if they are."""
    usual = [
        "full_attention" if (layer + 1) % every == 0 else "sliding_attention"
        for layer in range(config.num_hidden_layers)
    ]
    if list(getattr(config, "layer_types", None) or usual) != usual:
        return f"its layers with a window are not those that llama.cpp expects (all but each {every}th)"
    return ""


def smollm3_differs(config: PreTrainedConfig) -> str:
    """Why a SmolLM3 is none that llama.cpp computes rightly; '' if it is."""
    usual = [int((layer + 1) % 4 != 0) for layer in range(config.num_hidden_layers)]
    if list(getattr(config, "no_rope_layers", None) or usual) != usual:
        return "its layers without positions are not each fourth one, as llama.cpp expects"
    return full_attention_only(config)


def full_attention_only(config: PreTrainedConfig) -> str:
    """Why a model that may have a window does have one; '' if every layer sees all."""
    if any(kind == "sliding_attention" for kind in getattr(config, "layer_types", None) or []):
        return "some of its layers see a window, which llama.cpp does not compute for it"
    return ""


FAMILIES: dict[str, Family] = {
    "llama": Family("llama", permuted=True),
    "mistral": Family("llama", permuted=True),
    "qwen2": Family("qwen2", check=full_attention_only),
    "qwen3": Family("qwen3", check=full_attention_only),
    "gemma2": Family("gemma2", one_more=True, window=True, check=gemma2_differs),
    "gemma3_text": Family("gemma3", one_more=True, window=True, check=gemma3_differs),
    "phi3": Family("phi3", window=True),
    "smollm3": Family("smollm3", permuted=True, check=smollm3_differs),
}


def read(folder: Path) -> tuple[PreTrainedConfig, Family]:
    """A model's text configuration and its family. Raises UserError for one that llama.cpp or this export lacks."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True).get_text_config()
    family = FAMILIES.get(config.model_type)
    if family is None:
        known = ", ".join(sorted({name.removesuffix("_text") for name in FAMILIES}))
        raise UserError(
            f"The family {config.model_type} cannot be written as GGUF here (those that can: {known}): "
            "export it --as merged."
        )
    differs = family.check(config)
    if differs:
        raise UserError(f"This {config.model_type} cannot be a GGUF: {differs}. Export it --as merged.")
    return config, family


def head_size(config: PreTrainedConfig) -> int:
    """How many numbers a head of attention has."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def describe(writer: gguf.GGUFWriter, config: PreTrainedConfig, family: Family) -> tuple[Further, list[str]]:
    """Write the model's sizes and constants; returns further tensors and what is to be said.

    Raises UserError for rotary positions that llama.cpp does not compute.
    """
    size = head_size(config)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_key_length(size)
    writer.add_value_length(size)
    notes = []
    window = getattr(config, "sliding_window", None)
    if family.window:
        writer.add_sliding_window(int(window or 0) if config.model_type == "phi3" else int(window or 4096))
    elif window and config.model_type == "mistral" and window < config.max_position_embeddings:
        notes.append(f"llama.cpp attends to everything where this model has a window of {window:,} tokens.")
    if config.model_type == "gemma2":
        writer.add_attn_logit_softcapping(float(config.attn_logit_softcapping or 0.0))
        writer.add_final_logit_softcapping(float(config.final_logit_softcapping or 0.0))
    activation = getattr(config, "hidden_activation", None) or getattr(config, "hidden_act", "silu")
    expected = ("gelu_pytorch_tanh", "gelu") if family.one_more else ("silu", "swish")
    if activation not in expected:
        raise UserError(f"This {config.model_type} uses {activation}, which llama.cpp does not compute for it.")
    return rope.describe(writer, config, size), notes


def heads_of(name: str, config: PreTrainedConfig) -> int:
    """How many heads lie in the rows of a tensor in rotary halves; 0 if it is not one of those."""
    if ".self_attn.q_proj." in name:
        return int(config.num_attention_heads)
    if ".self_attn.k_proj." in name:
        return int(config.num_key_value_heads)
    return 0


def in_pairs(tensor: npt.NDArray[Any], heads: int) -> npt.NDArray[Any]:
    """Rows [out, ...] of queries or keys from transformers' rotary halves to llama.cpp's pairs."""
    rows = tensor.shape[0]
    return tensor.reshape(heads, 2, rows // heads // 2, -1).swapaxes(1, 2).reshape(tensor.shape)


def arranged(name: str, tensor: npt.NDArray[Any], config: PreTrainedConfig, family: Family) -> npt.NDArray[Any]:
    """A weight or bias of transformers' ``name`` as llama.cpp wants it."""
    heads = heads_of(name, config) if family.permuted else 0
    if heads:
        return in_pairs(tensor, heads)
    if family.one_more and name.endswith("norm.weight"):
        return tensor + 1
    return tensor
