"""Adapters with random weights, and what peft makes of an adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM


def random_adapter(model_path: Path, folder: Path, targets: Sequence[str], **options: Any) -> Path:
    """Save an adapter of rank 4 on the modules called ``targets`` that changes the model; returns ``folder``."""
    model = AutoModelForCausalLM.from_pretrained(model_path)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=list(targets), task_type="CAUSAL_LM", **options)
    torch.manual_seed(3)
    tuned = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    tuned.save_pretrained(folder)
    return folder


def peft_merged(model_path: Path, adapter_path: Path) -> torch.nn.Module:
    """The model merged with the adapter by peft alone, in fp32."""
    base = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
    return PeftModel.from_pretrained(base, adapter_path).merge_and_unload().eval()
