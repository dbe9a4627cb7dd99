"""Tiny random models: one configuration for each family, all with the tests' byte tokenizer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import build_tokenizer
from tests.matrix.templates import CONTROL

PLAIN: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
    "tie_word_embeddings": False,
}
OLD: dict[str, Any] = {
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 512,
    "n_inner": 48,
    "initializer_range": 0.2,
}
EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2}


@dataclass(frozen=True)
class Family:
    """A model type of transformers with its small sizes, and the names of the layers that adapters change."""

    model_type: str
    sizes: dict[str, Any] = field(default_factory=dict)
    attention: tuple[str, ...] = ("q_proj", "v_proj")
    mlp: tuple[str, ...] = ("down_proj",)
    name: str = ""

    @property
    def title(self) -> str:
        """What the table calls it."""
        return self.name or self.model_type


def plain(model_type: str, name: str = "", attention: tuple[str, ...] = ("q_proj", "v_proj"), **more: Any) -> Family:
    """A family whose configuration has the usual words."""
    mlp = more.pop("mlp", ("down_proj",))
    return Family(model_type, PLAIN | more, attention, mlp, name)


FAMILIES = (
    plain("llama"),
    plain("llama", "llama, tied head", tie_word_embeddings=True),
    plain("llama", "llama with biases", attention_bias=True, mlp_bias=True),
    plain("mistral", sliding_window=64),
    plain("qwen2"),
    plain("qwen3", head_dim=8),
    plain("smollm3", pad_token_id=2),
    plain("gemma", head_dim=8, tie_word_embeddings=True),
    plain("gemma2", head_dim=8, tie_word_embeddings=True, sliding_window=64, query_pre_attn_scalar=8),
    plain("gemma3_text", head_dim=8, tie_word_embeddings=True, sliding_window=64, query_pre_attn_scalar=8),
    plain("phi3", attention=("qkv_proj",), pad_token_id=2),
    plain("phi", attention=("q_proj", "v_proj"), mlp=("fc2",)),
    plain("granite", embedding_multiplier=2.0, logits_scaling=2.0, residual_multiplier=0.5, attention_multiplier=0.3),
    plain("olmo"),
    plain("olmo2"),
    plain("stablelm"),
    plain("cohere"),
    plain("cohere2", sliding_window=64),
    plain("starcoder2", mlp=("c_proj",)),
    plain("nemotron"),
    plain("ernie4_5"),
    plain("exaone4", sliding_window=64, attention=("q_proj", "v_proj")),
    plain("mixtral", num_local_experts=4, mlp=(), **EXPERTS),
    plain("qwen3_moe", num_experts=4, moe_intermediate_size=32, decoder_sparse_step=1, head_dim=8, mlp=(), **EXPERTS),
    plain("olmoe", num_experts=4, mlp=(), **EXPERTS),
    Family("gpt2", OLD, ("c_attn",), ("c_fc",)),
    Family("gpt_neox", PLAIN, ("query_key_value",), ("dense_4h_to_h",)),
    Family("gptj", OLD | {"rotary_dim": 4}, ("q_proj", "v_proj"), ("fc_out",)),
    Family("gpt_bigcode", OLD, ("c_attn",), ("c_proj",)),
    Family(
        "gpt_neo",
        {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]]}
        | {"intermediate_size": 48, "max_position_embeddings": 512, "initializer_range": 0.2},
        ("q_proj", "v_proj"),
        ("c_proj",),
    ),
    Family(
        "opt",
        {"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
        | {"max_position_embeddings": 512, "init_std": 0.2},
        ("q_proj", "v_proj"),
        ("fc2",),
    ),
    Family(
        "bloom",
        {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.2},
        ("query_key_value",),
        ("dense_4h_to_h",),
    ),
    Family(
        "falcon",
        {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.2},
        ("query_key_value",),
        ("dense_4h_to_h",),
    ),
)


def write_model(family: Family, folder: Path) -> Path:
    """Save a seeded random model of the family with its tokenizer; returns ``folder``."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = build_tokenizer(pad_is_end=True)
    tokenizer.add_special_tokens({"additional_special_tokens": list(CONTROL)})
    special = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = AutoConfig.for_model(family.model_type, **(family.sizes | special))
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
