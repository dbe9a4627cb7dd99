"""The weights of a base with its adapter merged in, one tensor at a time.

Plain LoRA is merged while the base's file is read: no more than one layer is in memory. What is more than that (DoRA,
LoHa, trained embeddings, a quantised base, ...) is merged by peft in a model that is loaded as a whole.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tuning.errors import UserError
from tuning.exports.subject import Subject
from tuning.file_names import WEIGHTS_FILE
from tuning.files import first_line

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

PREFIX = "base_model.model."
UNCHANGING = ("gaussian", "eva", "orthogonal")
"""Named initialisations that leave the base as it is."""
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
UNDERSTOOD = {
    *("peft_type", "peft_version", "task_type", "base_model_name_or_path", "revision", "auto_mapping", "bias"),
    *("r", "lora_alpha", "use_rslora", "lora_dropout", "inference_mode", "init_lora_weights", "rank_pattern"),
    *("alpha_pattern", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
    *("megatron_core", "qalora_group_size", "loftq_config"),
}
"""Settings of peft's ``LoraConfig`` under which a layer is ``W + scale * B @ A``."""
WHOLE = "The adapter is more than plain LoRA over plain weights ({reason}), so the whole model was merged in memory."


class Tensors(Protocol):
    """Weights by the names of transformers' checkpoints."""

    notes: list[str]
    untied: bool
    """Whether head and embedding have a weight each where the base has one for both."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor, in the order in which they are read best."""

    def get(self, name: str) -> torch.Tensor:
        """One tensor in fp32, merged."""


@dataclass(frozen=True)
class Change:
    """The low-rank change of one weight: ``up @ down * scale``, of [out, rank] and [rank, in]."""

    down: torch.Tensor
    up: torch.Tensor
    scale: float

    def delta(self) -> torch.Tensor:
        """The change itself, [out, in], in fp32."""
        change: torch.Tensor = self.up.float() @ self.down.float() * self.scale
        return change


class Streamed:
    """The base's safetensors with plain LoRA added to what is read."""

    def __init__(self, folder: Path, changes: Mapping[str, Change]) -> None:
        self.notes: list[str] = []
        self._files = index(folder)
        self._changes = dict(changes)
        self.untied = HEAD in changes and HEAD not in self._files and EMBEDDING in self._files

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """As :class:`Tensors` says."""
        found = {name: shape for name, (_, shape) in self._files.items()}
        return found | ({HEAD: found[EMBEDDING]} if self.untied else {})

    def fits(self) -> bool:
        """Whether every change has a weight of its shape."""
        shapes = self.shapes()
        return all(
            shapes.get(name) == (change.up.shape[0], change.down.shape[1]) for name, change in self._changes.items()
        )

    def get(self, name: str) -> torch.Tensor:
        """As :class:`Tensors` says."""
        from safetensors import safe_open

        stored = EMBEDDING if self.untied and name == HEAD else name
        with safe_open(self._files[stored][0], "pt") as file:
            tensor: torch.Tensor = file.get_tensor(stored).float()
        change = self._changes.get(name)
        merged: torch.Tensor = tensor if change is None else tensor + change.delta()
        return merged


@dataclass
class InMemory:
    """A merged model's own state."""

    model: PreTrainedModel
    untied: bool
    notes: list[str] = field(default_factory=list)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """As :class:`Tensors` says."""
        state = self.model.state_dict()
        tied = self.model.config.get_text_config().tie_word_embeddings and HEAD in state
        return {name: tuple(tensor.shape) for name, tensor in state.items() if not (tied and name == HEAD)}

    def get(self, name: str) -> torch.Tensor:
        """As :class:`Tensors` says."""
        tensor: torch.Tensor = self.model.state_dict()[name].detach().float()
        return tensor


def index(folder: Path) -> dict[str, tuple[Path, tuple[int, ...]]]:
    """File and shape of every tensor of a model's folder. Raises UserError for a damaged file."""
    from safetensors import SafetensorError, safe_open

    found: dict[str, tuple[Path, tuple[int, ...]]] = {}
    listed = folder / "model.safetensors.index.json"
    names = sorted(set(json.loads(listed.read_text())["weight_map"].values())) if listed.is_file() else None
    for path in [folder / name for name in names] if names else sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118
                    found[name] = (path, tuple(file.get_slice(name).get_shape()))
        except (SafetensorError, OSError) as error:
            raise UserError(f"The base's {path.name} cannot be read ({first_line(error)}): copy it again.") from error
    return found


def plain_changes(subject: Subject) -> dict[str, Change] | str:
    """The changes of plain LoRA by the name of the weight, or why the adapter is more than that.

    The scale is alpha / rank (LoRA, https://arxiv.org/abs/2106.09685), with rsLoRA alpha / sqrt(rank)
    (https://arxiv.org/abs/2312.03732).
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = subject.config
    kind = str(config.get("peft_type", "LORA")).rpartition(".")[2].upper()
    if kind != "LORA":
        return kind
    further = sorted(name for name, value in config.items() if value and name not in UNDERSTOOD)
    if config.get("bias", "none") not in ("none", None):
        further.append("bias")
    if isinstance(config.get("init_lora_weights"), str) and config["init_lora_weights"] != "gaussian":
        further.append("init_lora_weights")
    if further:
        return ", ".join(further)
    try:
        tensors = load_file(subject.adapter / WEIGHTS_FILE)
    except (SafetensorError, OSError) as error:
        raise UserError(f"The adapter's {WEIGHTS_FILE} is damaged ({error}): copy it again.") from error
    bad = [name for name, tensor in tensors.items() if not bool(tensor.float().isfinite().all())]
    if bad:
        raise UserError(f"The adapter holds NaN or infinite numbers ({bad[0]}): use an earlier checkpoint.")
    paths = {name.removeprefix(PREFIX).partition(".lora_")[0] for name in tensors}
    if {f"{PREFIX}{path}.lora_{part}.weight" for path in paths for part in "AB"} != set(tensors):
        return "names of its own"

    def of_path(pattern: str, path: str, usual: float) -> float:
        for name, value in (config.get(pattern) or {}).items():
            if re.match(rf"(.*\.)?({name})$", path):  # as peft reads these patterns
                return float(value)
        return usual

    changes = {}
    for path in sorted(paths):
        down, up = (tensors[f"{PREFIX}{path}.lora_{part}.weight"] for part in "AB")
        rank = int(of_path("rank_pattern", path, float(config["r"])))
        if down.dim() != 2 or up.dim() != 2 or not down.shape[0] == up.shape[1] == rank:
            return "ranks that its configuration does not name"
        alpha = of_path("alpha_pattern", path, float(config["lora_alpha"]))
        changes[f"{path}.weight"] = Change(down, up, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))
    return changes


def merged_tensors(subject: Subject, *, bare: bool = False) -> Tensors:
    """The merged weights, read layer by layer where that can be done; those of the base where ``bare``.

    Raises UserError if they cannot be merged, or a bare base is quantised.
    """
    changes: dict[str, Change] | str = {} if bare else plain_changes(subject)
    reason = changes if isinstance(changes, str) else ""
    if not isinstance(changes, str):
        from tuning.models import causal

        config = causal.read_config(subject.weights.path)
        streamed = Streamed(subject.weights.path, changes)
        if causal.quantization(config) is not None:
            reason = "the base is quantised: it was dequantised first"
            if bare:
                raise UserError("This base is quantised, and its GGUF is its author's to make: export --as gguf.")
        elif streamed.fits():
            return streamed
        else:
            reason = "its layers have other names in the base's file"
    model, untied = merged_model(subject)
    return InMemory(model, untied, [WHOLE.format(reason=reason)])


def merged_model(subject: Subject) -> tuple[PreTrainedModel, bool]:
    """Base and adapter as one model in fp32, merged by peft; and whether its head had to be untied.

    Raises UserError if the adapter does not fit.
    """
    from tuning.models.device import pick_device
    from tuning.models.weights import load_model
    from tuning.quiet import quiet

    with quiet():
        base = load_model(subject.weights, pick_device("cpu"))
        if getattr(base, "hf_quantizer", None) is not None:
            base = base.dequantize()
        base = base.float()
        needed = len(subject.tokenizer())
        if needed > entries_of(base) and grows(subject):
            base.resize_token_embeddings(needed)
        tied = bool(base.config.get_text_config().tie_word_embeddings)
        untie(base, subject.adapter)
        untied = tied and not base.config.get_text_config().tie_word_embeddings
        tuned = with_adapter(base, subject)
        try:
            merged: PreTrainedModel = tuned.merge_and_unload(safe_merge=True)
        except Exception as error:
            raise UserError(f"The adapter {subject.name} cannot be merged: {first_line(error)}") from error
    return merged, untied


def untie(model: PreTrainedModel, adapter: Path) -> None:
    """Give head and embedding a weight each where the base has one for both and the adapter changes either of them:
    merged into the one weight, its change would be in both."""
    from safetensors import safe_open
    from torch import nn

    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    tied = embedding.get_parameter("weight")
    if head is None or head.weight is not tied:
        return
    paths = [path for path, module in model.named_modules() if module is head or module is embedding]
    with safe_open(adapter / WEIGHTS_FILE, "pt") as file:
        if not any(f".{path}." in name for name in file.keys() for path in paths):  # noqa: SIM118
            return
    head.weight = nn.Parameter(tied.detach().clone(), requires_grad=False)
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = False


def entries_of(model: PreTrainedModel) -> int:
    """How many rows a model's embedding has."""
    return int(model.get_input_embeddings().get_parameter("weight").shape[0])


def grows(subject: Subject) -> bool:
    """Whether an adapter brings vocabulary layers of its own, which may have more entries than the base's."""
    from safetensors import safe_open

    with safe_open(subject.adapter / WEIGHTS_FILE, "pt") as file:
        return any("embed" in name and "lora_" not in name for name in file.keys())  # noqa: SIM118


def with_adapter(base: PreTrainedModel, subject: Subject) -> Any:
    """A peft model of ``base`` (which is changed) with the adapter, unmerged. Raises UserError unless every tensor of
    the adapter found its place: what fits nothing would be left out in silence."""
    from peft import PeftConfig, get_peft_model, set_peft_model_state_dict
    from safetensors.torch import load_file

    try:
        config = PeftConfig.from_pretrained(str(subject.adapter))
        config.inference_mode = True
        start = getattr(config, "init_lora_weights", None)
        if isinstance(start, str):
            config.init_lora_weights = True
        tuned = get_peft_model(base, config)
        tensors = load_file(subject.adapter / WEIGHTS_FILE)
        result: Any = set_peft_model_state_dict(tuned, tensors)
    except Exception as error:
        mismatch = re.search(r"size mismatch for (\S+?):", str(error))
        reason = f"{mismatch[1].removeprefix(PREFIX)} has another shape there" if mismatch else first_line(error)
        raise UserError(f"The adapter {subject.name} does not fit this base: {reason}.") from error
    if isinstance(start, str) and start not in UNCHANGING:
        raise UserError(
            f"The adapter {subject.name} was initialised with {start!r}, which changed the base's own weights: save it "
            "with path_initial_model_for_weight_conversion, which makes it plain LoRA."
        )
    if result.unexpected_keys:
        raise UserError(
            f"The adapter {subject.name} is for another base: {len(result.unexpected_keys)} of its {len(tensors)} "
            f"tensors fit nothing in this one, such as {result.unexpected_keys[0].removeprefix(PREFIX)}."
        )
    return tuned.eval()
