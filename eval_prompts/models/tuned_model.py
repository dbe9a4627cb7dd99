"""A whole model as the tuned side: a merged or fully fine-tuned checkpoint, which shares what it has unchanged."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from eval_prompts.models.adapter_files import read_json
from eval_prompts.models.adapter_tokenizer import VOCABULARIES
from eval_prompts.models.adapters import WHOLE_MODEL, AdapterCard, public_name, recorded_facts
from eval_prompts.models.mmap_pages import release_pages
from eval_prompts.models.owned import share_equal
from eval_prompts.models.pair import Pair, fuse_projections, storages_of
from tuning.errors import UserError
from tuning.file_names import RECORD_FILE
from tuning.models.causal import GIGABYTE, free_bytes, needed_bytes
from tuning.upstream.bitsandbytes_parts import keep_weight_layout

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tuning.models.weights import Weights

log = logging.getLogger(__name__)

SAMPLE = 4096
SAME = "It is the base model: every one of its weights is the base's, so both sides answer the same."
BESIDE_COMPUTING = frozenset(
    {
        *("_name_or_path", "transformers_version", "dtype", "architectures", "use_cache"),
        *("bos_token_id", "eos_token_id", "pad_token_id"),
    }
)
"""Settings that change no logits."""
NO_TOKENIZER = "It brings no tokenizer: the base's is used."
Report = Callable[[str, float | None], None]


def with_tuned_model(
    pair: Pair,
    weights: Weights,
    report: Report = lambda _words, _share: None,
    quantize: Literal["4bit", "8bit"] | None = None,
) -> Pair:
    """The base of ``pair`` against another whole model; every tensor in which the two are equal is held once.

    The models need not be built alike: then nothing is shared, and each side has its own tokenizer. ``report`` is told
    beforehand what the second model takes. Raises UserError if it cannot be loaded or does not fit in memory.
    """
    from tuning.models.weights import load_model

    base = pair.base
    needed = needed_bytes(weights.path, {"4bit": 0.6, "8bit": 1.1, None: base.dtype.itemsize}[quantize])
    free = free_bytes(pair.device.name)
    report(f"loading the tuned model ({needed / GIGABYTE:.1f} GB more, {free / GIGABYTE:.1f} GB are free)", None)
    card = card_of(weights)
    tokenizer, notes = tokenizer_for(weights, pair.tokenizer)
    model = load_model(weights, pair.device, quantize)
    keep_weight_layout(model)
    check_entries(tokenizer, model, card.name)
    notes += share(model, base)
    release_pages([*base.parameters(), *model.parameters()])
    if pair.device.name != "cpu":
        import torch

        modules = dict(base.named_modules())
        own = [path for path, module in model.named_modules() if not shares(module, modules.get(path))]
        with torch.no_grad():
            fuse_projections(model, only=own)
    card = card.noting(*notes)
    for note in card.notes:
        log.info("tuned model %s: %s", card.name, note)
    return replace(pair.alone, tuned=model, adapter=card, side_tokenizers={"tuned": tokenizer})


def share(model: PreTrainedModel, base: PreTrainedModel) -> list[str]:
    """Have ``model`` hold the base's tensors wherever the numbers are the same; what is to be said of that."""
    if type(model) is not type(base):
        kinds = f"a {type(model).__name__}, and the base a {type(base).__name__}"
        return [f"It is {kinds}: the two share no memory, and each answers by its own decoder."]
    differing = share_equal(model, base)
    mine, theirs = storages_of(model), storages_of(base)
    if not differing and mine.keys() == theirs.keys() and settings_of(model) == settings_of(base):
        return [SAME]
    shared, whole = sum(size for place, size in mine.items() if place in theirs), sum(mine.values())
    if not shared:
        return ["None of its weights is the base's: the two share no memory."]
    return [f"It shares {shared / 2**20:,.0f} of its {whole / 2**20:,.0f} MB of weights with the base, bit for bit."]


def settings_of(model: PreTrainedModel) -> dict[str, Any]:
    """What a model's configuration says of how it computes."""
    return {name: value for name, value in model.config.to_dict().items() if name not in BESIDE_COMPUTING}


def shares(module: Any, other: Any) -> bool:
    """Whether two modules hold the same parameters."""
    theirs = {} if other is None else dict(other.named_parameters(recurse=False))
    return all(each is theirs.get(name) for name, each in module.named_parameters(recurse=False))


def card_of(weights: Weights) -> AdapterCard:
    """A whole model in the words of an adapter's card; what made it is known where it brings a run record."""
    path = weights.path / RECORD_FILE
    record = read_json(path) if path.is_file() else {}
    name = public_name(weights.hub_id or weights.name)
    revision = weights.name.partition("@")[2] if weights.hub_id else ""
    return AdapterCard(
        name=str(record.get("name") or (f"{name}@{revision}" if revision else name)),
        path=weights.path,
        base="",
        rank=0,
        alpha=0.0,
        target_modules=(),
        fingerprint=digest_of(weights.path),
        kind=WHOLE_MODEL,
        origin=weights.origin,
        **recorded_facts(record),
    )


def digest_of(folder: Path) -> str:
    """Sixteen hexadecimal digits that tell a model's weights from those of another training of the same model.

    SHA-256 over the headers of all safetensors files and the first and last :data:`SAMPLE` bytes of every tensor. A
    merged adapter changes every number of the matrices that it is on, and may leave the file's beginning and end alone.
    """
    content = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = file.read(min(length, path.stat().st_size))
            content.update(header)
            try:
                tensors = json.loads(header)
            except ValueError:  # loading says what is wrong with it
                continue
            for name in sorted(tensors.keys() - {"__metadata__"}):
                begin, end = tensors[name]["data_offsets"]
                for place in (begin, max(begin, end - SAMPLE)):
                    file.seek(8 + length + place)
                    content.update(file.read(min(SAMPLE, end - place)))
    return content.hexdigest()[:16]


def tokenizer_for(weights: Weights, base: PreTrainedTokenizerBase) -> tuple[PreTrainedTokenizerBase, list[str]]:
    """The tokenizer that a whole model is asked with, and what is to be said of it: ``base`` where nothing differs."""
    from tuning.data.template import LISTED_ENDS
    from tuning.models.weights import load_tokenizer

    if not any((weights.path / name).is_file() for name in VOCABULARIES):
        return base, [NO_TOKENIZER]
    own = load_tokenizer(weights)
    ours, theirs = own.get_vocab(), base.get_vocab()
    parts = []
    if ours != theirs:
        parts.append(f"its own tokenizer ({len(ours):,} tokens, the base's has {len(theirs):,})")
    elif rules_of(own) != rules_of(base):
        parts.append("its own tokenizer (the base's tokens, cut by other rules)")
    if own.chat_template != base.chat_template:
        words = "its own chat template" if own.chat_template else "the plain format, since it has no chat template"
        parts.append(words if base.chat_template else f"{words} (the base has none)")
    ends = getattr(own, LISTED_ENDS, None) != getattr(base, LISTED_ENDS, None) or own.eos_token_id != base.eos_token_id
    if ends:
        parts.append("its own end tokens")
    return (own, [f"It is asked with {' and '.join(parts)}."]) if parts else (base, [])


def rules_of(tokenizer: PreTrainedTokenizerBase) -> object:
    """How a tokenizer cuts texts, for comparing; of one that is not written in Rust its class alone."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return type(tokenizer).__name__
    rules = json.loads(backend.to_str())
    return {name: value for name, value in rules.items() if name not in ("version", "truncation", "padding")}


def check_entries(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, name: str) -> None:
    """Raise UserError if the tokenizer has tokens that the model lacks."""
    entries = model.get_input_embeddings().get_parameter("weight").shape[0]
    last = max(tokenizer.get_vocab().values(), default=-1)
    if last >= entries:
        raise UserError(
            f"The tokenizer for {name} has tokens up to number {last:,}, but the model has {entries:,} entries: put "
            "the model's own tokenizer into its folder."
        )
