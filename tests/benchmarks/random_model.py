"""A model with random weights: ``python -m tests.benchmarks.random_model smollm2-360m FOLDER [--tokenizer FOLDER]``.

For timing an architecture where its weights cannot be had: speed does not depend on their values. The tokenizer is the
embedded model's, or that of another folder. ``adapter`` in FOLDER is a LoRA of the starter adapter's shape.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")

SHAPES = {
    "smollm2-135m": (576, 1536, 30, 9, 3),
    "smollm2-360m": (960, 2560, 32, 15, 5),
}
"""Width, MLP width, layers, heads and key-value heads, as the models' ``config.json`` on the Hub has them."""


def write(name: str, folder: Path, tokenizer: Path | None = None) -> Path:
    """Write the model called ``name`` and a random adapter for it; returns ``folder``."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    from tuning.models.weights import resolve

    source = tokenizer or resolve().path
    folder.mkdir(parents=True, exist_ok=True)
    for file in TOKENIZER_FILES:
        shutil.copyfile(source / file, folder / file)
    width, inner, layers, heads, key_heads = SHAPES[name]
    config = LlamaConfig(
        vocab_size=49_152,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        max_position_embeddings=8_192,
        rope_theta=100_000.0,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    model.save_pretrained(folder)
    lora = LoraConfig(r=16, lora_alpha=32, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"])
    get_peft_model(model, lora).save_pretrained(folder / "adapter")
    return folder


def main() -> None:
    """Write what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=SHAPES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokenizer", type=Path, help="folder with a tokenizer; the embedded model's unless given")
    options = parser.parse_args()
    print(write(options.name, options.folder, options.tokenizer))


if __name__ == "__main__":
    main()
