"""Small models known by a short name: where each lies on the Hub, and how many numbers it holds."""

from __future__ import annotations

from tuning.models import embedded

PRESETS = {
    "smollm2-135m": embedded.HUB_ID,
    "smollm2-360m": "HuggingFaceTB/SmolLM2-360M-Instruct",
    "smollm2-1.7b": "HuggingFaceTB/SmolLM2-1.7B-Instruct",
    "smollm3-3b": "HuggingFaceTB/SmolLM3-3B",
    "qwen2.5-0.5b": "Qwen/Qwen2.5-0.5B-Instruct",
    "qwen3-0.6b": "Qwen/Qwen3-0.6B",
    "llama3.2-1b": "meta-llama/Llama-3.2-1B-Instruct",
    "gemma3-270m": "google/gemma-3-270m-it",
    "gemma3-1b": "google/gemma-3-1b-it",
}
PARAMETERS = {
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "smollm2-1.7b": 1_711_376_384,
    "smollm3-3b": 3_075_098_624,
    "qwen2.5-0.5b": 494_032_768,
    "qwen3-0.6b": 596_049_920,
    "llama3.2-1b": 1_235_814_400,
    "gemma3-270m": 268_098_176,
    "gemma3-1b": 999_885_952,
}
"""Numbers in each preset's weights, a head that is the embedding counted once: 4 bytes each in fp32, 2 in bf16."""
