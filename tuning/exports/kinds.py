"""What an export can be; known without loading anything."""

from __future__ import annotations

from typing import Literal

Kind = Literal["adapter", "merged", "gguf", "lora-gguf", "ollama", "vllm", "mlx"]
KINDS: dict[Kind, str] = {
    "adapter": "the adapter in peft's layout",
    "merged": "base and adapter as one model in safetensors",
    "gguf": "base and adapter as one file for llama.cpp, LM Studio and others",
    "lora-gguf": "the adapter as a GGUF beside the GGUF of its base",
    "ollama": "a GGUF with the Modelfile that Ollama makes a model of",
    "vllm": "the adapter with the commands that serve it beside its base (vLLM, TGI)",
    "mlx": "the adapter in MLX's layout",
}
GGUF_TYPES = ("Q8_0", "F16", "BF16", "F32", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "Q6_K", "Q5_K", "Q4_K")
PRECISIONS: dict[Kind, tuple[str, ...]] = {
    "merged": ("bf16", "fp16", "fp32"),
    "gguf": GGUF_TYPES,
    "ollama": GGUF_TYPES,
    "lora-gguf": ("F16", "F32", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "Q6_K", "Q5_K", "Q4_K"),
}
"""The precisions of those kinds that have a choice, the usual one first; of a LoRA-GGUF it is that
of the base beside it."""
QUESTIONS = 20
"""Held-out questions that an export is checked on."""
