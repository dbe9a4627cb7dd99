"""Small builders that the tuning tests share."""

from __future__ import annotations

import random
from pathlib import Path

import torch

from tuning.data.chat import PYTHON_FORMAT, Example, encode_prompt
from tuning.data.cleaning import Row
from tuning.data.encoding import Encoder
from tuning.kernels.dropout import Noise
from tuning.presets import Config
from tuning.training.adapter.lora import attach


def encoded(tokenizer, question, answer, given_input="", max_tokens=10_000):
    """The example of one row of the Python task, as training encodes it; None where its prompt leaves no room."""
    found = Encoder(tokenizer, PYTHON_FORMAT, max_tokens).encode(Row("", question, given_input, answer))
    return found[0] if found else None


def make_examples(tokenizer, count, seed=0, lengths=None):
    """Examples with a true common prefix (the system prompt) and random questions and answers."""
    source = random.Random(seed)
    head = encode_prompt(tokenizer, "q")[:40]
    examples = []
    for index in range(count):
        question, answer = lengths[index] if lengths else (source.randint(5, 30), source.randint(3, 50))
        letters = [source.randint(10, 200) for _ in range(question + answer - 1)]
        examples.append(Example(head + letters[:question], [*letters[question:], tokenizer.eos_token_id]))
    return examples


def peft_model(path: Path, config: Config, noise: Noise, seed: int = 13):
    """The tiny model with adapters whose B is not zero, so that every gradient is alive."""
    from transformers import AutoModelForCausalLM

    model = attach(AutoModelForCausalLM.from_pretrained(path), config, noise)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


def gradients(model, loss):
    """The loss as a number and all adapter gradients as one vector."""
    model.zero_grad(set_to_none=True)
    value = loss()
    value.backward()
    return value.item(), torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])
