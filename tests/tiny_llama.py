"""Small random Llamas for tests, with grouped-query attention and a tied head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}


def save_llama(
    path: Path,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    change: Callable[[LlamaForCausalLM], object] = lambda model: None,
    **sizes: Any,
) -> Path:
    """Save a model with random weights and its tokenizer; ``sizes`` replace some of ``SIZES``, ``change`` may do
    something to the model first. Returns ``path``."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **SIZES | sizes,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        change(model)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path
