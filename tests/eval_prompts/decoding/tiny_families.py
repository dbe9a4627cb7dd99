"""Configurations of small random models of many families, and models made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

WINDOW = 16
SWITCH = 30
"""Tokens beyond which the longrope model turns its texts by other frequencies."""

PLAIN = {
    "vocab_size": 260,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
FOUR_LAYERS = PLAIN | {"num_hidden_layers": 4}
WINDOWS = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"] * 2}
GEMMA = FOUR_LAYERS | WINDOWS | {"head_dim": 16, "query_pre_attn_scalar": 20, "final_logit_softcapping": 3.0}
GPT = {"vocab_size": 260, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
EXPERTS = PLAIN | {"num_local_experts": 4, "num_experts_per_tok": 2}


def rope(kind: str, **parameters: Any) -> dict[str, Any]:
    """A configuration that scales its positions."""
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10_000.0, "factor": 4.0} | parameters}


COMMON_STEP: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", PLAIN | {"tie_word_embeddings": True}),
    "llama with biases": ("LlamaConfig", PLAIN | {"attention_bias": True, "mlp_bias": True}),
    "llama, gelu": ("LlamaConfig", PLAIN | {"hidden_act": "gelu"}),
    "llama, linear rope": ("LlamaConfig", PLAIN | rope("linear")),
    "llama, dynamic rope": ("LlamaConfig", PLAIN | rope("dynamic")),
    "llama, yarn": ("LlamaConfig", PLAIN | rope("yarn", original_max_position_embeddings=64)),
    "llama 3": (
        "LlamaConfig",
        PLAIN | rope("llama3", original_max_position_embeddings=64, low_freq_factor=1.0, high_freq_factor=4.0),
    ),
    "mistral": ("MistralConfig", PLAIN | {"sliding_window": WINDOW}),
    "qwen 2": ("Qwen2Config", PLAIN),
    "qwen 2, windows": (
        "Qwen2Config",
        FOUR_LAYERS | {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 2},
    ),
    "qwen 3": ("Qwen3Config", PLAIN | {"head_dim": 16}),
    "smollm 3": ("SmolLM3Config", FOUR_LAYERS | WINDOWS | {"no_rope_layer_interval": 2, "use_sliding_window": True}),
    "gemma": ("GemmaConfig", PLAIN | {"head_dim": 16}),
    "gemma 2": ("Gemma2Config", GEMMA | {"attn_logit_softcapping": 5.0}),
    "gemma 3": ("Gemma3TextConfig", GEMMA),
    "phi 3": ("Phi3Config", PLAIN | {"sliding_window": WINDOW}),
    "phi 3, partial rotary": ("Phi3Config", PLAIN | {"partial_rotary_factor": 0.5}),
    "phi 3, longrope": (
        "Phi3Config",
        PLAIN
        | {"original_max_position_embeddings": SWITCH}
        | rope(
            "longrope",
            original_max_position_embeddings=SWITCH,
            short_factor=[1.0, 1.2, 1.5, 2.0],
            long_factor=[2.0, 4.0, 6.0, 9.0],
        ),
    ),
    "granite": (
        "GraniteConfig",
        PLAIN
        | {"embedding_multiplier": 3.0, "residual_multiplier": 0.5, "attention_multiplier": 0.2, "logits_scaling": 2.0},
    ),
    "olmo 2": ("Olmo2Config", PLAIN),
}
"""Families that answer in common steps."""

BATCHED: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt 2": ("GPT2Config", GPT),
    "gpt-j": ("GPTJConfig", GPT | {"rotary_dim": 4}),
    "gpt neo": (
        "GPTNeoConfig",
        {
            "vocab_size": 260,
            "hidden_size": 32,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": WINDOW,
            "max_position_embeddings": 256,
        },
    ),
    "gpt bigcode": ("GPTBigCodeConfig", GPT),
    "gpt neox": ("GPTNeoXConfig", PLAIN),
    "opt": ("OPTConfig", PLAIN | {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "bloom": ("BloomConfig", {"vocab_size": 260, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "mpt": ("MptConfig", {"vocab_size": 260, "d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 256}),
    "falcon": ("FalconConfig", PLAIN | {"new_decoder_architecture": True, "num_kv_heads": 2, "alibi": False}),
    "falcon, alibi": ("FalconConfig", PLAIN | {"alibi": True, "multi_query": False}),
    "cohere 2": ("Cohere2Config", FOUR_LAYERS | {"sliding_window": WINDOW}),
    "mixtral": ("MixtralConfig", EXPERTS),
    "gpt-oss": ("GptOssConfig", EXPERTS | {"head_dim": 8, "sliding_window": WINDOW}),
    "llama 4": (
        "Llama4TextConfig",
        FOUR_LAYERS
        | {"intermediate_size_mlp": 48, "head_dim": 8, "num_local_experts": 2, "attention_chunk_size": WINDOW},
    ),
}
"""Families that answer in padded batches."""

ONE_BY_ONE: dict[str, tuple[str, dict[str, Any]]] = {
    "rwkv": ("RwkvConfig", {"vocab_size": 260, "hidden_size": 32, "num_hidden_layers": 2, "context_length": 256}),
    "mamba": ("MambaConfig", {"vocab_size": 260, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}),
    "lfm 2": ("Lfm2Config", FOUR_LAYERS | {"layer_types": ["conv", "full_attention"] * 2}),
    "bamba": (
        "BambaConfig",
        PLAIN
        | {
            "attn_layer_indices": [1],
            "mamba_n_heads": 8,
            "mamba_d_head": 8,
            "mamba_n_groups": 1,
            "mamba_d_state": 8,
        },
    ),
}
"""Families whose state goes with a row."""

REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "recurrent gemma": (
        "RecurrentGemmaConfig",
        {"vocab_size": 260, "hidden_size": 32, "intermediate_size": 96, "lru_width": 32, "num_hidden_layers": 3}
        | {"num_attention_heads": 4, "num_key_value_heads": 1, "attention_window_size": WINDOW},
    ),
}
"""Families whose state lies in the model itself, for all rows together."""


def write_model(kind: tuple[str, dict[str, Any]], folder: Path, tokenizer: Any) -> Path:
    """Save a random model of ``kind`` whose norms and biases are not what they are at first; returns ``folder``."""
    name, options = kind
    torch.manual_seed(5)
    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, name)(**options)).eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=0.2)
            elif "norm" in parameter_name or parameter_name.endswith("bias"):
                parameter += torch.randn_like(parameter) * 0.2
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
