"""Base and adapter as one model in transformers' layout, written tensor by tensor."""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tuning.data.template import chat_template, ids_of
from tuning.errors import UserError
from tuning.exports.subject import Subject
from tuning.exports.tensors import InMemory, Tensors, merged_tensors
from tuning.files import write_json
from tuning.models.weights import GENERATION_CONFIG, listed_ends
from tuning.progress import Progress

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

Precision = Literal["fp32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
BYTES: dict[Precision, int] = {"fp32": 4, "bf16": 2, "fp16": 2}
STORED: dict[Precision, str] = {"fp32": "F32", "bf16": "BF16", "fp16": "F16"}
DTYPES: dict[Precision, str] = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
SHARD_BYTES = 5 * 10**9
SPARE_BYTES = 32 << 20
"""For tokenizer, card and file system."""


def write_merged(
    subject: Subject, folder: Path, precision: Precision, report: Progress, shard_bytes: int = SHARD_BYTES
) -> list[str]:
    """Write the merged model, its tokenizer and its settings to ``folder``, which is made; returns what is to be said.

    Merged in fp32 and rounded once. Raises UserError if the adapter cannot be merged or a weight does not fit into
    fp16, OSError for a full disk.
    """
    report("reading the adapter", 0.0)
    tensors = merged_tensors(subject)
    check_space(folder.parent, needed_bytes(tensors, BYTES[precision]))
    folder.mkdir()
    if isinstance(tensors, InMemory):
        save_whole(tensors, folder, precision, shard_bytes)
    else:
        write_shards(folder, tensors, precision, shard_bytes, report)
        write_settings(subject, folder, precision, tensors.untied)
    tokenizer = subject.tokenizer()
    tokenizer.chat_template = chat_template(tokenizer).text
    tokenizer.save_pretrained(folder)
    return [*tensors.notes, *write_ends(tokenizer, folder)]


def write_ends(tokenizer: PreTrainedTokenizerBase, folder: Path) -> list[str]:
    """Have a model's generation_config.json list every token that ended an answer in training, as ``generate`` ends at
    no others; returns what is to be said."""
    path = folder / GENERATION_CONFIG
    listed, ends = ids_of(listed_ends(folder)), chat_template(tokenizer).end_ids()
    if ends <= listed:
        return []
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    given = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    content = {name: config[name] for name in ("bos_token_id", "pad_token_id") if config.get(name) is not None}
    write_json(path, content | given | {"eos_token_id": sorted(listed | ends)}, indent=2)
    names = ", ".join(str(tokenizer.convert_ids_to_tokens(token)) for token in sorted(ends - listed))
    return [f"{GENERATION_CONFIG} lists {names} as an end, too, as training did."]


def needed_bytes(tensors: Tensors, size: float) -> int:
    """Bytes of all weights at ``size`` bytes each."""
    return int(sum(math.prod(shape) for shape in tensors.shapes().values()) * size)


def check_space(folder: Path, needed: int) -> None:
    """Raise UserError unless ``needed`` bytes are free where ``folder`` lies."""
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise UserError(
            f"The export needs {(needed + SPARE_BYTES) / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in {folder}: "
            "free some space or choose another place."
        )


def write_shards(folder: Path, tensors: Tensors, precision: Precision, limit: int, report: Progress) -> None:
    """Write all tensors to files of at most ``limit`` bytes (or one tensor), with an index where there are several."""
    shapes = tensors.shapes()
    shards: list[dict[str, tuple[int, ...]]] = [{}]
    size = 0
    for name, shape in shapes.items():
        bytes_ = math.prod(shape) * BYTES[precision]
        if shards[-1] and size + bytes_ > limit:
            shards.append({})
            size = 0
        shards[-1][name] = shape
        size += bytes_
    names = (
        ["model.safetensors"]
        if len(shards) == 1
        else [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    )
    done, total = 0, len(shapes)

    def get(name: str) -> torch.Tensor:
        nonlocal done
        report(f"merging {done + 1} of {total} tensors", done / total)
        done += 1
        return rounded(tensors.get(name), precision, name)

    for file, shard in zip(names, shards, strict=True):
        write_safetensors(folder / file, shard, precision, get)
    if len(shards) > 1:
        places = {name: file for file, shard in zip(names, shards, strict=True) for name in shard}
        content = {"metadata": {"total_size": needed_bytes(tensors, BYTES[precision])}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(content, indent=2) + "\n")


def write_safetensors(
    path: Path, shapes: Mapping[str, tuple[int, ...]], precision: Precision, get: Callable[[str], torch.Tensor]
) -> None:
    """Write tensors to a safetensors file one after the other, so that only one is in memory.

    The format is a header's length in eight bytes, a header in JSON, and the numbers
    (https://github.com/huggingface/safetensors#format).
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in shapes.items():
        end = offset + math.prod(shape) * BYTES[precision]
        header[name] = {"dtype": STORED[precision], "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in shapes:
            file.write(raw_bytes(get(name)))


def raw_bytes(tensor: torch.Tensor) -> bytes:
    """A tensor's numbers as they lie in memory."""
    import torch

    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def rounded(tensor: torch.Tensor, precision: Precision, name: str) -> torch.Tensor:
    """A tensor in ``precision``. Raises UserError if one of its numbers is too large for fp16."""
    import torch

    cast = tensor.to(getattr(torch, DTYPES[precision]))
    if precision == "fp16" and not bool(cast.isfinite().all()) and bool(tensor.isfinite().all()):
        raise UserError(f"The weight {name} has numbers that fp16 cannot hold: choose bf16 or fp32.")
    return cast


def save_whole(tensors: InMemory, folder: Path, precision: Precision, limit: int) -> None:
    """Have transformers write a model that is in memory anyway. Raises UserError as :func:`rounded` does."""
    import torch

    model = tensors.model
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.data = rounded(parameter.data, precision, name)
    model.config.dtype = getattr(torch, DTYPES[precision])
    model.save_pretrained(folder, max_shard_size=limit)


def write_settings(subject: Subject, folder: Path, precision: Precision, untied: bool) -> None:
    """The base's configuration with what the merge has changed of it, and the files that go with a model."""
    base = subject.weights.path
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config.pop("quantization_config", None)
    for part in (config, *(config[name] for name in ("text_config",) if isinstance(config.get(name), dict))):
        part["dtype"] = DTYPES[precision]
        if "torch_dtype" in part:
            part["torch_dtype"] = DTYPES[precision]
        if untied:
            part["tie_word_embeddings"] = False
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for path in sorted([*base.glob(GENERATION_CONFIG), *base.glob("*.py"), *base.glob("preprocessor*.json")]):
        shutil.copy(path, folder / path.name)
