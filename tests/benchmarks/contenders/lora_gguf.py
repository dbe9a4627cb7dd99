"""An adapter in llama.cpp's format, so that its server can be measured with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

HEADS = {"q_proj": 9, "k_proj": 3}
NAMES = {
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}


def write_lora_gguf(adapter: Path, target: Path) -> Path:
    """Write an adapter of SmolLM2-135M as GGUF and return ``target``."""
    from gguf import GGUFWriter

    config = json.loads((adapter / "adapter_config.json").read_text())
    writer = GGUFWriter(target, "llama")
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(config["lora_alpha"]))
    for name, value in fp32_tensors(adapter / "adapter_model.safetensors").items():
        *_, layer, _, module, factor, _ = name.split(".")
        if factor == "lora_B" and module in HEADS:
            value = in_ggml_order(value, HEADS[module])
        writer.add_tensor(f"blk.{layer}.{NAMES[module]}.weight.{factor.lower()}", np.ascontiguousarray(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def fp32_tensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a safetensors file (which may hold bf16, that numpy lacks) in fp32."""
    from safetensors.torch import load_file

    return {name: tensor.float().numpy() for name, tensor in load_file(path).items()}


def in_ggml_order(value: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a query or key matrix, [out, in], from transformers' order of rotary halves to ggml's pairs."""
    return value.reshape(heads, 2, value.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(value.shape)
