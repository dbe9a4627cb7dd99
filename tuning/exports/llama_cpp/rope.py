"""Rotary positions as llama.cpp is told of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tuning.errors import UserError

if TYPE_CHECKING:
    import gguf
    import numpy as np
    import numpy.typing as npt
    from transformers import PreTrainedConfig


def parameters(config: PreTrainedConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """The rotary settings of the layers that see all, and of those with a window (empty where they are the same)."""
    found: Mapping[str, Any] = getattr(config, "rope_parameters", None) or {}
    if "full_attention" in found:
        return dict(found["full_attention"]), dict(found.get("sliding_attention") or {})
    return dict(found), {}


def describe(writer: gguf.GGUFWriter, config: PreTrainedConfig, size: int) -> dict[str, npt.NDArray[np.float32]]:
    """Write base and scaling of the rotary frequencies for heads of ``size``; returns factors that are tensors.

    Raises UserError for a scaling that llama.cpp does not compute.
    """
    from gguf import RopeScalingType

    told, local = parameters(config)
    kind = told.get("rope_type", "default")
    turned = int(size * float(told.get("partial_rotary_factor") or getattr(config, "partial_rotary_factor", 1.0) or 1))
    writer.add_rope_dimension_count(turned)
    writer.add_rope_freq_base(float(told.get("rope_theta", 10000.0)))
    if local and local.get("rope_type", "default") != "default":
        raise UserError("The windowed layers of this model have scaled positions, which llama.cpp does not compute.")
    if local:
        writer.add_rope_freq_base_swa(float(local.get("rope_theta", 10000.0)))
    if kind == "default":
        return {}
    if kind == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(told["factor"]))
        return {}
    if kind == "yarn":
        writer.add_rope_scaling_type(RopeScalingType.YARN)
        writer.add_rope_scaling_factor(float(told["factor"]))
        writer.add_rope_scaling_orig_ctx_len(
            int(told.get("original_max_position_embeddings") or config.max_position_embeddings)
        )
        return {}
    if kind == "llama3":
        return {"rope_freqs.weight": llama3_factors(told, turned)}
    if kind == "longrope":
        return longrope(writer, told, config)
    raise UserError(
        f"The rotary scaling {kind!r} of this model is none that llama.cpp computes: export it --as merged."
    )


def llama3_factors(told: Mapping[str, Any], turned: int) -> npt.NDArray[np.float32]:
    """By what each rotary frequency is divided, [turned / 2] (Llama 3.1's scaling: long waves by ``factor``, short ones
    by 1, those between in proportion; https://arxiv.org/abs/2407.21783)."""
    import numpy as np

    factor, context = float(told["factor"]), float(told["original_max_position_embeddings"])
    low, high = float(told["low_freq_factor"]), float(told["high_freq_factor"])
    factors = []
    for place in range(0, turned, 2):
        wave = 2 * math.pi * float(told["rope_theta"]) ** (place / turned)
        share = min(1.0, max(0.0, (context / wave - low) / (high - low)))
        factors.append(1 / ((1 - share) / factor + share))
    return np.array(factors, dtype=np.float32)


def longrope(
    writer: gguf.GGUFWriter, told: Mapping[str, Any], config: PreTrainedConfig
) -> dict[str, npt.NDArray[np.float32]]:
    """Phi-3's factors for short and long contexts (LongRoPE, https://arxiv.org/abs/2402.13753)."""
    import numpy as np

    context = int(told.get("original_max_position_embeddings") or config.original_max_position_embeddings)
    stretch = config.max_position_embeddings / context
    writer.add_rope_scaling_orig_ctx_len(context)
    usual = 1.0 if stretch <= 1 else math.sqrt(1 + math.log(stretch) / math.log(context))
    writer.add_rope_scaling_attn_factors(float(told.get("attention_factor") or usual))
    return {
        "rope_factors_long.weight": np.array(told["long_factor"], dtype=np.float32),
        "rope_factors_short.weight": np.array(told["short_factor"], dtype=np.float32),
    }
