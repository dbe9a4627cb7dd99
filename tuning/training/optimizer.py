"""AdamW in two precisions of state, and the learning rate of every step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tuning.errors import UserError
from tuning.presets import Config

if TYPE_CHECKING:
    import torch

BETAS = (0.9, 0.999)
RATIO = "ratio"


def make_optimizer(factors: Mapping[str, torch.nn.Parameter], config: Config) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019), or bitsandbytes' with an 8-bit state. Raises UserError if that is absent.

    With LoRA+ (Hayou et al. 2024) the B factors are a group of their own, at ``lora_plus`` times the others' rate.
    """
    settings: dict[str, Any] = {"lr": config.learning_rate, "betas": BETAS, "weight_decay": config.weight_decay}
    parameters: list[Any] = list(factors.values())
    if config.lora_plus != 1.0:
        faster = [factor for name, factor in factors.items() if "lora_B" in name]
        others = [factor for name, factor in factors.items() if "lora_B" not in name]
        parameters = [{"params": others}, {"params": faster, RATIO: config.lora_plus}]
    if config.optimizer == "adamw":
        import torch

        return torch.optim.AdamW(parameters, **settings)
    try:
        from bitsandbytes.optim import AdamW8bit  # type: ignore[attr-defined]
    except ImportError as error:
        raise UserError("--optimizer adamw8bit needs the package bitsandbytes: install it, or use adamw.") from error
    optimizer: torch.optim.Optimizer = AdamW8bit(parameters, **settings)
    return optimizer


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its learning rate, where ``rate`` is that of the first."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(RATIO, 1.0)


def warm_up_warning(config: Config) -> str:
    """A sentence where the learning rate never gets where it was meant to get; else ''."""
    if config.warmup_steps < config.max_steps:
        return ""
    top = config.learning_rate * config.max_steps / config.warmup_steps if config.warmup_steps else config.learning_rate
    if config.warmup_steps == config.max_steps:
        return "The warm-up takes the whole run: take fewer warm-up steps or more steps."
    return (
        f"The warm-up is longer than the run, so the learning rate ends at about {top:.2g}: take fewer warm-up steps."
    )


def learning_rate(config: Config, step: int) -> float:
    """The rate of a step counted from 0: up to the peak over the warm-up steps, then along the schedule towards 0,
    which the step after the last one would reach."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, config.max_steps - config.warmup_steps)
    shape = {
        "constant": 1.0,
        "linear": 1 - progress,
        "cosine": (1 + math.cos(math.pi * progress)) / 2,
    }[config.schedule]
    return config.learning_rate * shape
