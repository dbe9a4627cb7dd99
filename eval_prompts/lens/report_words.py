"""What an adapter's figures mean in sentences, and the table of them for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eval_prompts.lens.adapter_report import AdapterReport, ModuleChange

NOT_LOOKED_AT = (
    "Not looked at: alignment with the weights' own directions, and intruder dimensions. They take about a second a "
    "layer: python -m eval_prompts adapter with --directions, or /adapter_report with directions."
)


def verdicts(changes: list[ModuleChange], unmatched: list[str], *, known_base: bool) -> list[str]:
    """What the figures of an adapter mean, the most important first."""
    if not changes:
        return ["This adapter does nothing: it holds no low-rank factors."]
    if known_base and len(unmatched) == len(changes):
        return [f"This adapter does nothing here: none of its {len(changes)} layers is in this base model."]
    if not any(change.change_norm for change in changes):
        return [f"This adapter does nothing: the product of the factors is zero in all {len(changes)} layers."]
    found = []
    idle = sum(not change.change_norm for change in changes)
    if idle:
        found.append(f"{idle} of {len(changes)} layers are not changed at all: the product of their factors is zero.")
    if unmatched:
        found.append(f"{len(unmatched)} of {len(changes)} layers are not in this base model: {unmatched[0]} is one.")
    found += [sentence for sentence in (size_words(changes), place_words(changes), rank_words(changes)) if sentence]
    examined = [change for change in changes if change.intruders is not None]
    new = [change for change in examined if change.intruders]
    if new:
        total = sum(change.intruders or 0 for change in new)
        found.append(
            f"{len(new)} of {len(examined)} layers have intruder dimensions ({total} in all): strong new directions "
            "that the base does not have. They go along with forgetting."
        )
    elif examined:
        found.append(f"None of the {len(examined)} layers has intruder dimensions: no strong direction is new.")
    else:
        found.append(NOT_LOOKED_AT)
    return found


def size_words(changes: list[ModuleChange]) -> str | None:
    """How large the change is beside the weights."""
    sizes = sorted((change.relative, change.module) for change in changes if change.relative is not None)
    if not sizes:
        return None
    largest, module = sizes[-1]
    middle = sizes[len(sizes) // 2][0]
    if middle >= 1:
        return f"The update is larger than the weights (median {middle:.0%}): expect damage."
    if largest >= 1:
        return f"In {module} the update is larger than the weight ({largest:.0%}; median {middle:.1%}): expect damage."
    return f"The update is {middle:.1%} of the weights in the median layer, at most {largest:.1%} ({module})."


def place_words(changes: list[ModuleChange]) -> str | None:
    """In which run of layers 90% of the squared change sits, where that is less than two thirds of them."""
    energy: dict[int, float] = {}
    for change in changes:
        if change.layer is not None:
            energy[change.layer] = energy.get(change.layer, 0.0) + change.change_norm**2
    layers = sorted(energy)
    total = sum(energy.values())
    if len(layers) < 3 or not total:
        return None
    runs = [
        (last - first, first, last)
        for first in range(len(layers))
        for last in range(first, len(layers))
        if sum(energy[layer] for layer in layers[first : last + 1]) >= 0.9 * total
    ]
    length, first, last = min(runs)
    if (length + 1) * 3 > 2 * len(layers):
        return f"The change is spread over the layers {layers[0]} to {layers[-1]}."
    if length == 0:
        return f"90% of the change sits in layer {layers[first]}."
    return f"90% of the change sits in layers {layers[first]} to {layers[last]} of {layers[0]} to {layers[-1]}."


def rank_words(changes: list[ModuleChange]) -> str:
    """How much of the rank is used."""
    used = sorted(change.effective_rank for change in changes if change.change_norm)
    ranks = sorted({change.rank for change in changes})
    rank = f"Rank {ranks[0]}" if len(ranks) == 1 else f"Ranks {ranks[0]} to {ranks[-1]}"
    return f"{rank} used as {used[len(used) // 2]:.1f} in the median layer ({used[0]:.1f} to {used[-1]:.1f})."


def table(found: AdapterReport) -> str:
    """The report for a terminal: verdicts, then one line for each layer with a cell for each kind of module."""
    kinds = list(dict.fromkeys(change.kind for change in found.modules))
    cells = {(change.layer, change.kind): change for change in found.modules}
    lines = [
        f"adapter {found.adapter} for {found.base or 'an unnamed base'}",
        *(f"- {line}" for line in found.verdicts),
    ]
    for reason in sorted(set(found.left_out.values())):
        names = [name for name, why in found.left_out.items() if why == reason]
        lines.append(f"- left out: {len(names)} tensors ({names[0]}): {reason}")
    relative = any(change.relative is not None for change in found.modules)
    lines += ["", f"{'|change|/|weight|' if relative else '|change|':>18} " + " ".join(f"{kind:>10}" for kind in kinds)]
    for layer in sorted({change.layer for change in found.modules}, key=lambda value: (value is None, value or 0)):
        row = [cells.get((layer, kind)) for kind in kinds]
        lines.append(f"{'elsewhere' if layer is None else f'layer {layer}':>18} " + " ".join(map(cell, row)))
    return "\n".join(lines)


def cell(change: ModuleChange | None) -> str:
    """One figure of the table, ten characters wide."""
    if change is None:
        return " " * 10
    return f"{change.relative:>10.2%}" if change.relative is not None else f"{change.change_norm:>10.3g}"
