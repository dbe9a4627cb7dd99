"""The base model of a run's configuration: where it is, how much of a text it takes, what it is computed on."""

from __future__ import annotations

import dataclasses
import json

from tuning.models import tiny
from tuning.models.device import Device, pick_device
from tuning.models.weights import Choices, Weights, resolve
from tuning.presets import Config

PRECISIONS = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def find_weights(config: Config) -> Weights:
    """The base weights of a config."""
    thinking = {"template": None, "on": True, "off": False}[config.thinking]
    choices = Choices(config.chat_template, thinking, config.trust_remote_code)
    return resolve(str(tiny.build()) if config.model == tiny.NAME else config.model, choices=choices)


def longest_example(config: Config, weights: Weights) -> int:
    """Tokens that an example of the run may have: ``max_tokens``, or the model's context where that is shorter."""
    described = json.loads((weights.path / "config.json").read_text(encoding="utf-8"))
    return min(config.max_tokens, described.get("max_position_embeddings") or config.max_tokens)


def choose_device(config: Config) -> Device:
    """The device of a config, in its precision."""
    device = pick_device(None if config.device == "auto" else config.device)
    if config.precision == "auto":
        return device
    import torch

    return dataclasses.replace(device, dtype=getattr(torch, PRECISIONS[config.precision]))
