"""What an adapter says of itself, and whether it can be used with a base model."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from eval_prompts.models.adapter_files import (
    PEFT_PREFIX,
    AdapterFiles,
    peft_names,
    read_json,
    stored_shapes,
    tidy_config,
)
from eval_prompts.models.adapter_source import (
    PICKLES,
    find,
    looks_like_hub_id,
    pickled,
)
from eval_prompts.models.mlx_adapter import read_mlx
from tuning.errors import UserError
from tuning.file_names import CONFIG_FILE, MLX_FILE, RECORD_FILE, WEIGHTS_FILE

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tuning.models.weights import Weights

COPY_MARKS = ("-unsloth-bnb-4bit", "-unsloth", "-bnb-4bit", "-bnb-8bit", "-4bit", "-8bit", "-hf", "-bf16", "-fp16")
WHOLE_MODEL = "model"
"""The kind of a card that stands for a whole model: a merged or fully fine-tuned checkpoint."""
KIND_WORDS = {"LORA": "LoRA", "ADALORA": "AdaLoRA", "LOHA": "LoHa", "LOKR": "LoKr", "VERA": "VeRA"}


@dataclass(frozen=True)
class AdapterCard:
    """An adapter in a few words. Steps and losses are None where the adapter brings no run record; rank is 0 for kinds
    that have none.

    ``notes`` are sentences for people: what was put right when it was read, and what speaks against its answers.
    """

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
    kind: str = "LoRA"
    notes: tuple[str, ...] = ()
    recorded: bool = False
    """Whether it brings a run record of LoRA Lens."""
    prompt_format: dict[str, Any] | None = None
    """The prompt format it was trained in, as its record has it; records of before have none."""
    task: str | None = None
    """The name of the task it was trained for, if its record says so."""
    origin: str = ""
    """Of a whole model: where its weights are from, in one line."""

    strength: dict[str, Any] | None = None
    """How strongly it speaks, where that is not as it was trained: strength, layers_off and kinds_off."""

    @property
    def is_model(self) -> bool:
        """Whether this is a whole model that is compared with the base, and no adapter on it."""
        return self.kind == WHOLE_MODEL

    @property
    def noun(self) -> str:
        """What it is, within a sentence: adapter or model."""
        return "model" if self.is_model else "adapter"

    @property
    def summary(self) -> str:
        """In a few words for people: 'adapter python-qa · r16 · 60 steps · loss 0.70 to 0.52'."""
        words = [f"{self.noun} {self.name}"]
        if not self.is_model:
            words.append(f"r{self.rank}" if self.rank else self.kind)
        if self.steps is not None:
            words.append(f"{self.steps} steps")
        if self.loss_before is not None and self.loss_after is not None:
            words.append(f"loss {self.loss_before:.2f} to {self.loss_after:.2f}")
        return " · ".join(words)

    def noting(self, *notes: str) -> AdapterCard:
        """The same card with further notes."""
        return replace(self, notes=(*self.notes, *notes))

    def to_dict(self) -> dict[str, Any]:
        """For JSON: everything but the places of this folder and of the base model's on this machine."""
        return {key: value for key, value in asdict(self).items() if key != "path"} | {"base": public_name(self.base)}


def read_card(adapter: str) -> AdapterCard:
    """What an adapter says of itself, wherever it is. Raises UserError if it cannot be used with any base."""
    return open_adapter(adapter)[0]


def open_adapter(adapter: str) -> tuple[AdapterCard, AdapterFiles]:
    """An adapter's card and its files in peft's words. Raises UserError if it cannot be used with any base."""
    from tuning.models.weights import fingerprint

    path = find(adapter)
    files = read_files(path)
    config = files.config
    record = read_json(path / RECORD_FILE) if (path / RECORD_FILE).is_file() else {}
    targets = config.get("target_modules") or config.get("target_parameters") or ()
    try:
        card = AdapterCard(
            name=str(record.get("name") or name_of(path)),
            path=path,
            base=str(config.get("base_model_name_or_path") or ""),
            rank=int(config.get("r") or 0),
            alpha=float(config.get("lora_alpha") or config.get("alpha") or 0),
            target_modules=(targets,) if isinstance(targets, str) else tuple(sorted(map(str, targets))),
            fingerprint=fingerprint(path),
            kind=KIND_WORDS.get(files.kind, files.kind),
            notes=files.notes,
            **recorded_facts(record),
        )
    except (TypeError, ValueError) as error:
        raise UserError(f"The adapter's {CONFIG_FILE} lacks a usable {error}.") from error
    return card, files


def recorded_facts(record: dict[str, Any]) -> dict[str, Any]:
    """What a card takes from a run record, which may be empty or of an earlier version."""
    return {
        "steps": of_kind(record.get("steps"), int),
        "loss_before": of_kind(record.get("loss_before"), (int, float)),
        "loss_after": of_kind(record.get("loss_after"), (int, float)),
        "data": of_kind(record.get("data"), str),
        "base_fingerprint": of_kind(record.get("base_fingerprint"), str),
        "recorded": bool(record),
        "prompt_format": of_kind(record.get("prompt_format"), dict),
        "task": of_kind(record.get("task"), str),
    }


def of_kind(value: Any, kind: type | tuple[type, ...]) -> Any:
    """``value`` if it is of that kind, else None: a record may have been written by hand."""
    return value if isinstance(value, kind) and not isinstance(value, bool) else None


def read_files(folder: Path) -> AdapterFiles:
    """Read an adapter's configuration and the names and shapes of its tensors, and put both into peft's words.

    Raises UserError, with the remedy, for what cannot be used: pickles, pointers, damaged or half-written files, and
    kinds of adapter that cannot be merged.
    """
    if (folder / MLX_FILE).is_file() and not (folder / WEIGHTS_FILE).is_file():
        return read_mlx(folder)
    if not (folder / CONFIG_FILE).is_file():
        raise UserError(f"{folder.name} is not an adapter: it has no {CONFIG_FILE}.")
    if not (folder / WEIGHTS_FILE).is_file():
        if any(path.suffix in PICKLES for path in folder.iterdir()):
            raise UserError(pickled(folder.name))
        raise UserError(f"The adapter {folder.name} has no {WEIGHTS_FILE}.")
    config, notes = tidy_config(read_json(folder / CONFIG_FILE), folder.name)
    stored = stored_shapes(folder / WEIGHTS_FILE)
    names, renamed = peft_names(stored, config)
    if renamed:
        notes.append(f"The names of {renamed} of its tensors were not peft's and were put right.")
    return AdapterFiles(
        folder, config, {ours: stored[theirs] for ours, theirs in names.items()}, tuple(notes), names=names
    )


def name_of(path: Path) -> str:
    """What to call an adapter without a record: its folder; of a snapshot from the Hub, the repository."""
    place = path.resolve()
    parts = place.parts
    if "snapshots" in parts:
        at = len(parts) - 1 - parts[::-1].index("snapshots")
        repository, within = parts[at - 1], parts[at + 2 :]
        if repository.startswith("models--"):
            return "/".join([repository.rpartition("--")[2], *within])
    return place.name


def base_notes(card: AdapterCard, weights: Weights) -> list[str]:
    """What is to be said where an adapter names another base than this one; nothing where it names none."""
    ours = weights.hub_id or weights.name
    if not card.base or same_model(card.base, ours) or same_model(card.base, weights.name):
        return []
    theirs, mine = public_name(card.base), public_name(ours)
    if plain_name(card.base) == plain_name(ours):
        return [f"It was trained on {theirs}, another copy of {mine} by its name; shapes and vocabulary fit."]
    if not weights.hub_id or not looks_like_hub_id(card.base):
        return [f"It was trained on {theirs}, and the base here is called {mine}; shapes and vocabulary fit."]
    return [
        f"It was trained on {theirs}, not on {mine}: shapes and vocabulary fit, but if these are other weights its "
        "answers mean little."
    ]


def same_model(one: str, other: str) -> bool:
    """Whether two names are those of one model: letter for letter, a path as it is resolved."""
    if one.lower() == other.lower():
        return True
    paths = [PurePath(name) for name in (one, other)]
    return all(path.is_absolute() for path in paths) and Path(one).resolve() == Path(other).resolve()


def plain_name(model: str) -> str:
    """The last part of a model's name without what copies of it add, in lower case."""
    name = PurePath(model.replace("\\", "/")).name.lower()
    for mark in COPY_MARKS:
        name = name.removesuffix(mark)
    return name


def check_shapes(card: AdapterCard, files: AdapterFiles, base: PreTrainedModel, weights: Weights) -> list[str]:
    """The dotted names of the layers that an adapter of LoRA factors changes, where it holds nothing else.

    Raises UserError, naming the reason, unless these are layers of ``base``, with both factors, of its shapes and of
    the configuration's rank. Vocabulary layers may be larger than the base's.
    """
    ours = public_name(weights.hub_id or weights.name)
    parts: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in files.shapes.items():
        path, _, part = name.removeprefix(PEFT_PREFIX).partition(".lora_")
        if part in ("A.weight", "B.weight"):
            parts.setdefault(path, {})[part[0]] = shape
    modules = dict(base.named_modules())
    vocabulary = {id(layer) for layer in (base.get_input_embeddings(), base.get_output_embeddings())}
    converted = bool(files.config.get("layer_replication")) or is_mixture(base)
    ranks = {int(rank) for rank in (card.rank, *(files.config.get("rank_pattern") or {}).values())}
    for path, shapes in parts.items():
        module = modules.get(path.removesuffix(".base_layer"))
        if module is None and converted:
            continue  # peft knows such layers by other names, and says if it does not
        if module is None:
            raise UserError(f"The adapter {card.name} is for another base: it changes {path}, which {ours} lacks.")
        if set(shapes) != {"A", "B"}:
            raise UserError(f"The adapter {card.name} lacks one of the two factors of {path}: train or copy it again.")
        down, up = shapes["A"], shapes["B"]
        if len(down) != 2 or len(up) != 2 or not hasattr(module, "in_features"):
            continue
        outputs_fit = up[0] == module.out_features or (id(module) in vocabulary and up[0] > module.out_features)
        if down[1] != module.in_features or not outputs_fit:
            raise UserError(
                f"The adapter {card.name} was made for {public_name(card.base) or 'another model'} and does not fit "
                f"{ours}: {path} is {module.out_features} x {module.in_features}, the adapter's is {up[0]} x "
                f"{down[1]}. Start the app with that --model, or train an adapter for this one."
            )
        if down[0] != up[1] or down[0] not in ranks:
            raise UserError(
                f"The adapter {card.name} has rank {down[0]} in {path}, its {CONFIG_FILE} says {card.rank}: the two "
                "files are from different trainings; copy both again."
            )
    return sorted(parts)


def is_mixture(model: PreTrainedModel) -> bool:
    """Whether a model's layers choose among experts; transformers 5 holds those otherwise than older adapters do."""
    config = model.config.get_text_config()
    return any(getattr(config, name, None) for name in ("num_experts", "num_local_experts", "n_routed_experts"))


def public_name(model: str) -> str:
    """A model's name for everyone: a Hub id or a preset as it is, of a path on this machine the last part."""
    return model if looks_like_hub_id(model) else PurePath(model).name
