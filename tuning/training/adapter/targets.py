"""Which layers of a model get an adapter: the ones that were named, or what the family's own names call for."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from tuning.errors import UserError
from tuning.presets import Config, nearest

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

ALL_LINEAR = "all-linear"
USUAL = Config().target_modules
ATTENTION = re.compile(r"(?:^|\.)\w*(?:attn|attention)\w*\.(?:\w+\.)*(\w+)$", re.IGNORECASE)
# A Mamba block reads these as weights and never calls them: an adapter on them would change nothing, peft refuses some.
UNCALLED = frozenset({"dt_proj", "out_proj", "conv1d"})


def with_targets(config: Config, model: PreTrainedModel, say: Callable[[str], None]) -> Config:
    """``config`` with the layers that this model has: ``all-linear`` spelled out, and the usual attention layers under
    this family's names where they are the setting's default and the model calls them otherwise, which is said.

    Raises UserError for a named layer that the model does not have.
    """
    linears = linear_names(model)
    names = config.target_modules
    if names == (ALL_LINEAR,):
        return dataclasses.replace(config, target_modules=tuple(called(model, linears)))
    absent = [name for name in names if name not in linears]
    if not absent:
        return config
    if names != USUAL or not linears:
        known = nearest(absent[0], [*linears, ALL_LINEAR]) if linears else "it has no linear layer at all."
        raise UserError(f"--target-modules names {absent[0]!r}, which this model lacks: {known}")
    found = attention_names(model, linears)
    chosen = found or called(model, linears)
    say(
        f"This model calls its layers otherwise: the adapter is put on {', '.join(chosen)} "
        f"({'its attention layers' if found else 'all its linear layers, since it has no attention'})."
    )
    return dataclasses.replace(config, target_modules=tuple(chosen))


def attention_names(model: nn.Module, linears: Iterable[str]) -> list[str]:
    """Last parts of the names of the linear layers inside attention blocks."""
    known = set(linears)
    matches = (ATTENTION.search(name) for name, _ in model.named_modules())
    return sorted({match[1] for match in matches if match and match[1] in known})


def called(model: PreTrainedModel, linears: Iterable[str]) -> list[str]:
    """The layers that the model's blocks call, which is all of them but in models with Mamba blocks."""
    mamba = any("mamba" in type(module).__name__.lower() for module in model.modules())
    return [name for name in linears if not (mamba and name in UNCALLED)]


def linear_names(model: PreTrainedModel) -> list[str]:
    """Last parts of the names of all linear layers (GPT-2's Conv1D is one) but the vocabulary head."""
    head = model.get_output_embeddings()
    return sorted(
        {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if module is not head and (is_linear(module) or is_transposed(module))
        }
    )


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer, in full precision or quantised."""
    return hasattr(module, "in_features") and hasattr(module, "out_features")


def is_transposed(module: nn.Module) -> bool:
    """Whether a module is transformers' Conv1D: a linear layer whose weight is [in, out]."""
    return type(module).__name__ == "Conv1D" and hasattr(module, "nf")
