"""What an adapter folder says of itself, and whether it can be used with a base model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from tuning.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tuning.models.weights import Weights

STARTER = Path(__file__).parents[1] / "starter_adapter"
CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
RECORD_FILE = "run_record.json"
HUB_PATTERNS = [CONFIG_FILE, WEIGHTS_FILE, RECORD_FILE, "README.md"]
FACTOR_MARKS = (".lora_A", ".lora_B", ".lora_magnitude_vector")
PEFT_PREFIX = "base_model.model."


@dataclass(frozen=True)
class AdapterCard:
    """An adapter in a few words. Steps and losses are None where the adapter brings no run record."""

    name: str
    path: Path
    base: str
    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    steps: int | None = None
    loss_before: float | None = None
    loss_after: float | None = None
    data: str | None = None
    base_fingerprint: str | None = None
    fingerprint: str = ""

    @property
    def summary(self) -> str:
        """In a few words for people: 'adapter python-qa · r16 · 60 steps · loss 0.70 to 0.52'."""
        words = [f"adapter {self.name}", f"r{self.rank}"]
        if self.steps is not None:
            words.append(f"{self.steps} steps")
        if self.loss_before is not None and self.loss_after is not None:
            words.append(f"loss {self.loss_before:.2f} to {self.loss_after:.2f}")
        return " · ".join(words)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: everything but the places of this folder and of the base model's on this machine."""
        return {key: value for key, value in asdict(self).items() if key != "path"} | {"base": public_name(self.base)}


def find(adapter: str) -> Path:
    """The folder of an adapter named by a folder, 'starter', or a Hub id. Raises UserError if there is none."""
    if adapter == "starter":
        return STARTER
    path = Path(adapter).expanduser()
    if path.is_dir():
        return path
    if not looks_like_hub_id(adapter):
        raise UserError(f"There is no adapter folder {adapter}: check the path.")
    return download(adapter)


def download(repo_id: str) -> Path:
    """Fetch an adapter's configuration, safetensors and card from the Hub. Raises UserError if that fails."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repo_id, allow_patterns=HUB_PATTERNS))
    except Exception as error:
        raise UserError(
            f"The adapter {repo_id} is no folder here and could not be had from the Hub "
            f"({type(error).__name__}): check the name and the network."
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of an adapter; raises UserError naming the file if it is not one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"The adapter's {path.name} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"The adapter's {path.name} does not hold a JSON object.")
    return content


def read_card(adapter: str) -> AdapterCard:
    """Read an adapter's configuration and run record. Raises UserError if it is not a safetensors LoRA adapter."""
    from tuning.models.weights import fingerprint

    path = find(adapter)
    if not (path / CONFIG_FILE).is_file():
        raise UserError(f"{path.name} is not an adapter: it has no {CONFIG_FILE}.")
    if not (path / WEIGHTS_FILE).is_file():
        if any(path.glob("*.bin")) or any(path.glob("*.pt")):
            raise UserError(
                f"The adapter {path.name} is a pickle, which can run code when loaded: "
                f"save it as {WEIGHTS_FILE} (safe_serialization=True) and try again."
            )
        raise UserError(f"The adapter {path.name} has no {WEIGHTS_FILE}.")
    config = read_json(path / CONFIG_FILE)
    if config.get("peft_type") != "LORA":
        raise UserError(f"The adapter {path.name} is of type {config.get('peft_type')!r}: only LoRA can be merged.")
    if config.get("bias", "none") != "none":
        raise UserError(f"The adapter {path.name} also trains biases, which cannot be shared: train with bias='none'.")
    record = read_json(path / RECORD_FILE) if (path / RECORD_FILE).is_file() else {}
    targets = config.get("target_modules") or ()
    try:
        return AdapterCard(
            name=str(record.get("name") or path.resolve().name),
            path=path,
            base=str(config.get("base_model_name_or_path") or ""),
            rank=int(config["r"]),
            alpha=float(config["lora_alpha"]),
            target_modules=(targets,) if isinstance(targets, str) else tuple(sorted(targets)),
            steps=record.get("steps"),
            loss_before=record.get("loss_before"),
            loss_after=record.get("loss_after"),
            data=record.get("data"),
            base_fingerprint=record.get("base_fingerprint"),
            fingerprint=fingerprint(path),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"The adapter's {CONFIG_FILE} lacks a usable {error}.") from error


def factor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor in an adapter, read from the file's header alone."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path / WEIGHTS_FILE, framework="pt") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"The adapter's {WEIGHTS_FILE} is damaged ({error}): copy or train it again.") from error


def touched_modules(path: Path) -> list[str]:
    """Dotted names, in the base model, of the layers that an adapter changes.

    Raises UserError if the adapter replaces whole layers instead of adding low-rank factors to them.
    """
    names = set()
    for key in factor_shapes(path):
        mark = next((mark for mark in FACTOR_MARKS if mark in key), None)
        if mark is None:
            raise UserError(f"The adapter replaces {key.removeprefix(PEFT_PREFIX)} as a whole: only LoRA factors work.")
        names.add(key.removeprefix(PEFT_PREFIX).split(mark)[0])
    if not names:
        raise UserError("The adapter holds no weights: train it again.")
    return sorted(names)


def check_fits(card: AdapterCard, modules: list[str], base: PreTrainedModel, weights: Weights) -> None:
    """Raise UserError, naming the reason, unless the adapter's layers, shapes and base are those of ``base``."""
    ours = weights.hub_id or weights.name
    if weights.hub_id and looks_like_hub_id(card.base) and card.base.lower() != ours.lower():
        raise UserError(
            f"The adapter {card.name} was made for {card.base}, not for {ours}: load that base or another adapter."
        )
    shapes = factor_shapes(card.path)
    linears = {name: module for name, module in base.named_modules() if hasattr(module, "in_features")}
    for name in modules:
        if name not in linears:
            raise UserError(f"The adapter {card.name} is for another base: it changes {name}, which {ours} lacks.")
        module = linears[name]
        factor_in = shapes.get(f"{PEFT_PREFIX}{name}.lora_A.weight")
        factor_out = shapes.get(f"{PEFT_PREFIX}{name}.lora_B.weight")
        if factor_in is None or factor_out is None:
            raise UserError(f"The adapter {card.name} lacks one of the two factors of {name}: train or copy it again.")
        if (factor_out[0], factor_in[1]) != (module.out_features, module.in_features):
            raise UserError(
                f"The adapter {card.name} was made for {public_name(card.base) or 'another model'} and does not fit "
                f"{ours}: {name} is {module.out_features} x {module.in_features}, the adapter's is {factor_out[0]} x "
                f"{factor_in[1]}. Start the app with that --model, or train an adapter for this one."
            )


def public_name(model: str) -> str:
    """A model's name for everyone: a Hub id or a preset as it is, of a path on this machine the last part."""
    return model if looks_like_hub_id(model) else PurePath(model).name


def looks_like_hub_id(name: str) -> bool:
    """True for names of the form OWNER/MODEL that are not plainly paths."""
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and not name.endswith("/")
