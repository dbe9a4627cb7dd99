"""A Llama for llama.cpp that says one letter for ever, as a GGUF file of some kilobytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType

WIDTH, HEADS, CONTEXT = 64, 2, 2048


def write(path: Path, tokenizer, letter: str, chat_template: str) -> Path:
    """Every embedding is the same vector and every layer adds nothing, so the head's one row that is not zero wins."""
    vocabulary = [token for token, _ in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])]
    control = set(tokenizer.all_special_tokens) | {"<|endoftext|>", "<|pad|>"}
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(vocabulary)
    writer.add_token_types([TokenType.CONTROL if token in control else TokenType.NORMAL for token in vocabulary])
    writer.add_token_merges(["! !"])  # llama.cpp takes no vocabulary without any
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_chat_template(chat_template)
    head = np.zeros((len(vocabulary), WIDTH), np.float32)
    head[tokenizer.convert_tokens_to_ids(letter)] = 1
    writer.add_tensor("token_embd.weight", np.ones((len(vocabulary), WIDTH), np.float32))
    writer.add_tensor("output.weight", head)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((WIDTH, WIDTH), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
