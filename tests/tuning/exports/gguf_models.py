"""Tiny random models of the families that llama.cpp knows, with adapters, as subjects of an export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.conftest import CHAT_TEMPLATE
from tests.matrix.families import PLAIN
from tuning.exports import subject
from tuning.exports.questions import Asked
from tuning.exports.subject import Subject

GEMMA: dict[str, Any] = {"head_dim": 8, "query_pre_attn_scalar": 8, "tie_word_embeddings": True, "sliding_window": 16}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama, tied head": ("llama", {"tie_word_embeddings": True, "attention_bias": True}),
    "llama 3.1 positions": (
        "llama",
        {
            "rope_parameters": {
                **{"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0},
                **{"high_freq_factor": 4.0, "original_max_position_embeddings": 32},
            }
        },
    ),
    "mistral": ("mistral", {"sliding_window": None}),
    "qwen2": ("qwen2", {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", {"head_dim": 16}),
    "gemma2": ("gemma2", {**GEMMA, "num_hidden_layers": 4}),
    "gemma3": ("gemma3_text", {**GEMMA, "num_hidden_layers": 7}),
    "phi3": ("phi3", {"pad_token_id": 2, "sliding_window": None}),
    "smollm3": ("smollm3", {"pad_token_id": 2, "num_hidden_layers": 5}),
}
TEXT = "The quick brown fox asks how many words there are in 2048 lines, and the answer is written in one short line."
QUESTIONS = [
    Asked(
        text,
        ({"role": "system", "content": "Be brief."}, {"role": "user", "content": text}),
        "There are many words here.",
    )
    for text in ("How many words are in the line?", "What did the fox ask, in 2048 lines?")
]


def build_tokenizer(end: str = "<|im_end|>", added: str = "") -> Any:
    """A byte-level tokenizer with some merges, and SmolLM2's control tokens, or another ``end``; ``added`` is a token
    that is no control token, and opens every question."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<|endoftext|>", "<|im_start|>", end],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator([TEXT] * 4, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token=end,
        unk_token="<|endoftext|>",
        pad_token=end,
        chat_template=CHAT_TEMPLATE.replace("<|im_end|>", end).replace("'\n' + message", f"'\n{added}' + message"),
        clean_up_tokenization_spaces=False,
    )
    if added:
        made.add_tokens([AddedToken(added, normalized=False, special=False)])
    return made


def write_model(folder: Path, model_type: str, sizes: dict[str, Any], tokenizer: Any = None) -> Path:
    """Save a seeded random model with its tokenizer; norms and biases are random, too, so that a lost one is seen."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = tokenizer or build_tokenizer()
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    config = AutoConfig.for_model(model_type, **(PLAIN | {"vocab_size": len(tokenizer)} | special | sizes))
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * (0.3 if name.endswith("bias") else 0.2))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_adapter(folder: Path, base: Path, targets: list[str] | str = "all-linear", **settings: Any) -> Path:
    """Save a random adapter that changes a base's answers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(11)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM", **settings)
    tuned = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.15)
    tuned.save_pretrained(folder)
    written = folder / "adapter_config.json"
    content = json.loads(written.read_text())
    written.write_text(json.dumps(content | {"base_model_name_or_path": str(base)}))
    return folder


def make_subject(
    root: Path, name: str = "llama", targets: list[str] | str = "all-linear", tokenizer: Any = None, **settings: Any
) -> Subject:
    """A family's model with an adapter."""
    model_type, sizes = FAMILIES[name]
    base = write_model(root / "base", model_type, sizes, tokenizer)
    return subject.of_adapter(write_adapter(root / "adapter", base, targets, **settings))
