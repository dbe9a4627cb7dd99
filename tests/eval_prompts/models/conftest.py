"""Models that several tests of pairs load."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def wide_model_path(tmp_path_factory, tiny_model_path, tiny_tokenizer):
    """Wide enough for bitsandbytes' blocks of 64."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig.from_pretrained(tiny_model_path)
    wide = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16, "num_key_value_heads": 4}
    path = tmp_path_factory.mktemp("wide-llama")
    LlamaForCausalLM(LlamaConfig(**(config.to_dict() | wide))).save_pretrained(path)
    tiny_tokenizer.save_pretrained(path)
    return path
