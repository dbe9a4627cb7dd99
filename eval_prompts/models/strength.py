"""How strongly the adapter of a pair speaks: W + s * change instead of W + change, in all layers or in some.

Strength 0 is the base, 1 the adapter as it was trained, 2 twice its change. Nothing is read again but, where the merged
weights are rounded, the adapter's factors; whatever decoder answers gets a tuned side whose weights are scaled.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tuning.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel

    from eval_prompts.models.adapters import AdapterCard
    from eval_prompts.models.lora_linear import LowRank
    from eval_prompts.models.pair import Pair

log = logging.getLogger(__name__)

MOST = 2.0
LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|layer)\.(\d+)\.")
NO_ADAPTER = "No adapter is loaded, so there is nothing to make stronger or weaker: choose an adapter."
WHOLE_MODEL = "The tuned side is a whole model and no adapter: it has no strength to set."
BETWEEN = (
    "At this strength {parts}: their weights lie on the line between the base's and the trained ones, and not where "
    "another alpha would put them."
)
NEW_ROWS = "The {count:,} tokens that the adapter adds have nothing in the base to go back to: they stay as trained."


@dataclass(frozen=True)
class Strength:
    """The factor of an adapter's change, from 0 to 2, and the layers (by number) and kinds of module (by the last part
    of their names) in which it is switched off."""

    overall: float = 1.0
    layers_off: frozenset[int] = frozenset()
    kinds_off: frozenset[str] = frozenset()

    @classmethod
    def of(cls, overall: object, layers_off: object = (), kinds_off: object = ()) -> Strength:
        """A strength from what a form or a script sent. Raises UserError for anything else."""
        if isinstance(overall, bool) or not isinstance(overall, int | float) or not 0 <= overall <= MOST:
            raise UserError(f"The strength is a number from 0 (the base) to {MOST:g} (twice the adapter).")
        layers, kinds = (
            list(part) if isinstance(part, list | tuple | set) else None for part in (layers_off, kinds_off)
        )
        if layers is None or not all(type(layer) is int and layer >= 0 for layer in layers):
            raise UserError("Layers are switched off by their numbers, which begin with 0.")
        if kinds is None or not all(isinstance(kind, str) and kind for kind in kinds):
            raise UserError("Kinds of module are switched off by their names, such as q_proj.")
        return cls(float(overall), frozenset(layers), frozenset(kinds))

    @property
    def as_trained(self) -> bool:
        """Whether the adapter speaks as it was trained to."""
        return self.overall == 1 and not self.layers_off and not self.kinds_off

    def at(self, module: str) -> float:
        """The factor of the change of a module, by its dotted name."""
        layer = LAYER.search(module)
        if (layer and int(layer[1]) in self.layers_off) or module.rpartition(".")[2] in self.kinds_off:
            return 0.0
        return self.overall

    @property
    def words(self) -> str:
        """In a few words: 'strength 0.5 without q_proj and 8 layers'."""
        without = sorted(self.kinds_off)
        if self.layers_off:
            count = len(self.layers_off)
            without.append(f"{count} layer{'s' if count > 1 else ''}")
        return f"strength {self.overall:g}" + (f" without {', '.join(without)}" if without else "")

    @property
    def mark(self) -> str:
        """Tells this strength from all others; '' for the adapter as trained."""
        if self.as_trained:
            return ""
        if not self.layers_off and not self.kinds_off:
            return f"@{self.overall:g}"
        switched = repr((sorted(self.layers_off), sorted(self.kinds_off)))
        return f"@{self.overall:g}-{hashlib.sha256(switched.encode()).hexdigest()[:6]}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "strength": self.overall,
            "layers_off": sorted(self.layers_off),
            "kinds_off": sorted(self.kinds_off),
        }


def scaled(pair: Pair, strength: Strength) -> Pair:
    """The pair with the tuned side at a strength; ``pair``, in which the adapter is as trained, stays as it is.

    At strength 1 it is ``pair`` itself, and where the factor is 0 a weight is the base's very tensor. Raises UserError
    if there is no adapter, or it adds layers that the base does not have.
    """
    if pair.tuned is None or pair.adapter is None:
        raise UserError(NO_ADAPTER)
    if strength.as_trained:
        return pair
    if pair.adapter.is_model:
        raise UserError(WHOLE_MODEL)
    tuned, notes = scaled_model(pair.base, pair.tuned, strength, pair.adapter)
    card = pair.adapter
    card = replace(
        card,
        name=f"{card.name} at {strength.words}",
        fingerprint=card.fingerprint + strength.mark,
        strength=strength.to_dict(),
    )
    return replace(pair, tuned=tuned, adapter=card.noting(*notes))


def scaled_model(
    base: PreTrainedModel, tuned: PreTrainedModel, strength: Strength, card: AdapterCard
) -> tuple[PreTrainedModel, list[str]]:
    """A copy of ``tuned`` that shares all it can, at a strength; and what is to be said of it."""
    import torch
    from torch import nn

    from eval_prompts.models.lora_linear import AdaptedLinear
    from eval_prompts.models.pair import fuse_projections, shared_copy
    from tuning.upstream.bitsandbytes_parts import is_quantised

    model, modules = shared_copy(tuned), dict(base.named_modules())
    exact: Mapping[str, LowRank] | None = None
    made: dict[int, nn.Parameter] = {}
    undone: dict[str, nn.Module] = {}
    changed: list[str] = []
    between, added = 0, 0
    with torch.no_grad():
        for path, module in model.named_modules():
            factor = strength.at(path)
            if isinstance(module, AdaptedLinear):
                module.register_buffer("up", module.change.up * factor, persistent=False)
                continue
            for name, own in list(module.named_parameters(recurse=False, remove_duplicate=False)):
                root = modules.get(path)
                if root is None:
                    raise UserError(
                        f"The adapter adds layers ({path}) that the base does not have: only strength 1 fits."
                    )
                if own is getattr(root, name, None) or factor == 1:
                    continue
                if factor == 0 and is_quantised(root):
                    undone[path] = root
                    continue
                if id(own) not in made:
                    exact = plain_changes(card, base) if exact is None else exact
                    change = exact.get(path) if name == "weight" else None
                    between += change is None
                    theirs = base_value(root, name)
                    value, rows = between_weights(theirs, own, factor, change)
                    added = max(added, rows)
                    same = factor == 0 and not rows and isinstance(theirs, nn.Parameter) and theirs.dtype == own.dtype
                    made[id(own)] = theirs if same else nn.Parameter(value, requires_grad=False)  # type: ignore[assignment]
                setattr(module, name, made[id(own)])
                changed.append(path)
        for path, root in undone.items():
            model.set_submodule(path, root)
        if base.device.type != "cpu":
            fuse_projections(model, only=changed)
    notes = []
    if between and strength.overall not in (0, 1) and (parts := whole_parts(card)):
        notes.append(BETWEEN.format(parts=parts))
    if added:
        notes.append(NEW_ROWS.format(count=added))
    return model, notes


def base_value(root: nn.Module, name: str) -> torch.Tensor | None:
    """A parameter of the base's module as numbers, decoded where it is held in 4 or 8 bits; None where it has none."""
    from tuning.upstream.bitsandbytes_parts import dequantised, is_quantised

    if name == "weight" and is_quantised(root):
        return dequantised(root)
    value: torch.Tensor | None = getattr(root, name, None)
    return value


def between_weights(
    theirs: torch.Tensor | None, own: torch.Tensor, factor: float, change: LowRank | None
) -> tuple[torch.Tensor, int]:
    """The base's numbers plus ``factor`` times the change, computed in fp32 and held as ``own`` is; and how many rows
    of ``own`` the base has nothing for, which stay as they are. Without ``change`` it is the difference of the two."""
    import torch

    trained = own.detach().float()
    start = torch.zeros_like(trained) if theirs is None else theirs.detach().float().to(trained.device)
    rows = trained.shape[0] - start.shape[0] if trained.dim() else 0
    value = trained.clone()
    common = min(start.shape[0], trained.shape[0]) if trained.dim() else None
    if change is not None and rows == 0:
        value = start + factor * (change.up.to(start.device) @ change.down.to(start.device))
    elif common is None:
        value = start + factor * (trained - start)
    else:
        value[:common] = start[:common] + factor * (trained[:common] - start[:common])
    return value.to(own.dtype), max(0, rows)


def plain_changes(card: AdapterCard, base: PreTrainedModel) -> Mapping[str, LowRank]:
    """The adapter's factors by module where it is nothing but those, so that a merge is exact before it is rounded; no
    entries for any other adapter, and where its files have gone."""
    from eval_prompts.models.adapter_names import aligned
    from eval_prompts.models.adapters import read_files
    from eval_prompts.models.lora_linear import plain_factors

    try:
        files = aligned(read_files(card.path), [name for name, _ in base.named_modules()])
        return plain_factors(files) or {}
    except UserError as error:
        log.warning("The adapter's factors cannot be read again: %s", error)
        return {}


def whole_parts(card: AdapterCard) -> str:
    """What of an adapter is not the product of two factors, in words; '' where all of it is, or nobody can tell."""
    from eval_prompts.models.adapters import read_files

    try:
        files = read_files(card.path)
    except UserError:
        return "what the adapter has changed is interpolated"
    config = files.config
    if files.kind != "LORA":
        return f"the layers of a {card.kind} adapter are interpolated"
    parts = []
    if config.get("use_dora"):
        parts.append("DoRA's magnitudes are interpolated with the directions")
    saved = [*(config.get("modules_to_save") or ())]
    if saved:
        parts.append(f"what was trained as a whole ({', '.join(map(str, saved))}) is interpolated")
    if config.get("trainable_token_indices"):
        parts.append("the trained tokens are interpolated")
    return " and ".join(parts)


def layer_groups(modules: Mapping[str, Any] | list[str], groups: int = 4) -> list[tuple[int, int]]:
    """The layers of these modules in at most ``groups`` runs of like length, each as its first and last number."""
    layers = sorted({int(found[1]) for module in modules if (found := LAYER.search(f"{module}."))})
    size = max(1, math.ceil(len(layers) / groups))
    return [(part[0], part[-1]) for part in (layers[at : at + size] for at in range(0, len(layers), size))]
