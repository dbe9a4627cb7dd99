"""What an adapter does to the weights, layer by layer: ``python -m eval_prompts adapter ADAPTER``.

Only the adapter's factors and the weights that they change are read, one at a time: no model is loaded.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval_prompts.lens import report_words, weight_change
from eval_prompts.models.adapter_files import PEFT_PREFIX, read_json
from tuning.errors import UserError
from tuning.file_names import CONFIG_FILE, WEIGHTS_FILE

if TYPE_CHECKING:
    import torch

    from eval_prompts.models.lora_linear import LowRank

FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<part>A|B)(?:\.[A-Za-z0-9_-]+)??\.weight")
EMBEDDING_FACTOR = re.compile(r"(?P<module>.+)\.lora_embedding_(?P<part>A|B)(?:\.[A-Za-z0-9_-]+)?")
LAYER = re.compile(r"\.(?:layers|h|blocks|layer)\.(\d+)\.")
BASE_PREFIXES = ("", "model.", "language_model.", "model.language_model.", "transformer.")


@dataclass(frozen=True)
class ModuleChange:
    """How one layer's weight is changed. Norms are Frobenius norms; ``alignment`` and ``intruders`` are None where the
    weight's directions were not computed, ``weight_norm`` and ``relative`` where the base has no such weight."""

    module: str
    layer: int | None
    kind: str
    rank: int
    scale: float
    change_norm: float
    weight_norm: float | None
    relative: float | None
    effective_rank: float
    largest_value: float
    alignment: float | None = None
    intruders: int | None = None


@dataclass(frozen=True)
class Factors:
    """The factors of one layer as the adapter holds them, with the scale that multiplies their product."""

    module: str
    change: LowRank
    scale: float


@dataclass(frozen=True)
class AdapterReport:
    """An adapter's changes, and in ``verdicts`` what they mean in words. ``left_out`` names, with a reason, every
    tensor of the adapter that no figure covers."""

    adapter: str
    base: str
    modules: list[ModuleChange]
    verdicts: list[str]
    left_out: dict[str, str]
    unmatched: list[str]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def report(
    adapter: Path,
    base: Path | None,
    *,
    directions: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> AdapterReport:
    """Measure the LoRA adapter in a folder against the base model's folder of safetensors (None: no base at hand).

    With ``directions`` each touched weight is decomposed, which takes about a second for 2,048 rows on two cores.
    ``on_progress(done, total)`` counts layers. Raises UserError if the adapter is not LoRA or cannot be read.
    """
    config = read_json(adapter / CONFIG_FILE)
    if str(config.get("peft_type", "")).upper() != "LORA":
        raise UserError(
            f"The adapter {adapter.name} is of type {config.get('peft_type')!r}: the report describes LoRA factors."
        )
    factors, left_out = read_factors(adapter, config)
    changes, unmatched = [], []
    with weights_of(base) as weight_named:
        for number, entry in enumerate(factors):
            weight = weight_named(entry.module)
            if base is not None and (weight is None or weight.shape != shape_of(entry.change)):
                unmatched.append(entry.module)
                weight = None
            changes.append(measure(entry, weight, directions))
            on_progress(number + 1, len(factors))
    if config.get("use_dora"):
        left_out["lora_magnitude_vector"] = "DoRA also rescales each output; the figures are of its low-rank part"
    verdicts = report_words.verdicts(changes, unmatched, known_base=base is not None)
    return AdapterReport(
        adapter.name, str(config.get("base_model_name_or_path") or ""), changes, verdicts, left_out, unmatched
    )


def shape_of(change: LowRank) -> tuple[int, int]:
    """The shape [out, in] of what two factors change."""
    return (change.up.shape[0], change.down.shape[1])


def measure(entry: Factors, weight: torch.Tensor | None, directions: bool) -> ModuleChange:
    """All figures of one layer; ``weight`` [out, in] is None where the base has none."""
    change = entry.change
    values = weight_change.singular_values(change)
    norm = float(values.square().sum().sqrt())
    weight_norm = None if weight is None else float(weight.double().norm())
    aligned = intruders = None
    if weight is not None and directions:
        known = weight_change.directions_of(weight)
        aligned = weight_change.alignment(change, known)
        intruders = weight_change.intruder_count(change, weight, known)
    layer = LAYER.search(f".{entry.module}.")
    return ModuleChange(
        module=entry.module,
        layer=int(layer[1]) if layer else None,
        kind=entry.module.rpartition(".")[2],
        rank=change.down.shape[0],
        scale=entry.scale,
        change_norm=norm,
        weight_norm=weight_norm,
        relative=None if not weight_norm else norm / weight_norm,
        effective_rank=weight_change.effective_rank(values),
        largest_value=float(values[0]) if len(values) else 0.0,
        alignment=aligned,
        intruders=intruders,
    )


def read_factors(adapter: Path, config: dict[str, Any]) -> tuple[list[Factors], dict[str, str]]:
    """The pairs of factors in an adapter, in the order of their layers, and what else it holds, with why that is left
    out.

    Raises UserError if the file is damaged or a factor has no partner.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from eval_prompts.models.lora_linear import LowRank

    try:
        tensors = load_file(adapter / WEIGHTS_FILE)
    except (SafetensorError, OSError) as error:
        raise UserError(f"The adapter's {WEIGHTS_FILE} cannot be read ({error}): copy or train it again.") from error
    parts: dict[str, dict[str, torch.Tensor]] = {}
    left_out: dict[str, str] = {}
    for name, tensor in tensors.items():
        match = FACTOR.fullmatch(name) or EMBEDDING_FACTOR.fullmatch(name)
        if match is None:
            left_out[name] = "not a pair of low-rank factors: replaced or added as a whole"
            continue
        module = match["module"].removeprefix(PEFT_PREFIX)
        # An embedding's factors change its transpose: E + (B @ A).T, with A [rank, entries] and B [width, rank].
        turned = "lora_embedding" in name
        part = ("B" if match["part"] == "A" else "A") if turned else match["part"]
        parts.setdefault(module, {})[part] = (tensor.T if turned else tensor).float()
    factors = []
    for module, pair in sorted(parts.items(), key=lambda item: natural(item[0])):
        if set(pair) != {"A", "B"} or pair["A"].shape[0] != pair["B"].shape[1]:
            raise UserError(f"The adapter lacks one of the two factors of {module}, or they do not fit together.")
        if pair["A"].dim() != 2 or not (pair["A"].isfinite().all() and pair["B"].isfinite().all()):
            raise UserError(f"The factors of {module} hold numbers that are not finite, or are not matrices.")
        scale = scale_of(module, config, pair["A"].shape[0])
        factors.append(Factors(module, LowRank(pair["A"], pair["B"] * scale), scale))
    return factors, left_out


def scale_of(module: str, config: dict[str, Any], rank: int) -> float:
    """What multiplies ``B @ A``: alpha / rank (https://arxiv.org/abs/2106.09685), with rsLoRA alpha / sqrt(rank)
    (https://arxiv.org/abs/2312.03732); alpha may be given for some layers by a pattern. Raises UserError."""
    alpha = config.get("lora_alpha", 8)
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            alpha = value
            break
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise UserError(f"The adapter's lora_alpha is {alpha!r}: it must be a number.")
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts 'layers.2' before 'layers.10'."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]


@contextmanager
def weights_of(base: Path | None) -> Iterator[Callable[[str], torch.Tensor | None]]:
    """A function from a module's dotted name to its weight in the base's safetensors, or None if there is none."""
    from safetensors import safe_open

    with ExitStack() as stack:
        holders: dict[str, Any] = {}
        for path in sorted(base.glob("*.safetensors")) if base is not None else ():
            file = stack.enter_context(safe_open(path, framework="pt"))
            holders.update(dict.fromkeys(file.keys(), file))

        def weight_named(module: str) -> torch.Tensor | None:
            for prefix in BASE_PREFIXES:
                for name in (f"{prefix}{module}.weight", f"{module.removeprefix('model.')}.weight"):
                    if name in holders:
                        tensor: torch.Tensor = holders[name].get_tensor(name)
                        return tensor.float()
            return None

        yield weight_named


def write_json(found: AdapterReport, path: Path) -> None:
    """Write the report as JSON. Raises UserError if the file cannot be written."""
    try:
        path.write_text(json.dumps(found.to_dict(), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): choose another place.") from error
