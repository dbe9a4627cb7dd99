"""What an export can be; known without loading anything."""

from __future__ import annotations

from typing import Literal

Kind = Literal["adapter", "merged", "gguf"]
KINDS: dict[Kind, str] = {
    "adapter": "the adapter in peft's layout",
    "merged": "base and adapter as one model in safetensors",
    "gguf": "base and adapter as one file for llama.cpp, LM Studio and others",
}
PRECISIONS: dict[Kind, tuple[str, ...]] = {
    "merged": ("bf16", "fp16", "fp32"),
    "gguf": ("Q8_0", "F16", "BF16", "F32", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "Q6_K", "Q5_K", "Q4_K"),
}
"""The precisions of those kinds that have a choice, the usual one first."""
QUESTIONS = 20
"""Held-out questions that an export is checked on."""
