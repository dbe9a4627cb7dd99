"""A merged model as one GGUF file, written tensor by tensor."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.errors import UserError
from tuning.exports.llama_cpp import families, vocabulary
from tuning.exports.llama_cpp.families import Family
from tuning.exports.llama_cpp.quantisation import FILE_TYPES, Quantiser, Type
from tuning.exports.merged import check_space
from tuning.exports.subject import Subject
from tuning.exports.tensors import HEAD, Tensors, merged_tensors
from tuning.progress import Progress

if TYPE_CHECKING:
    import gguf
    import numpy as np
    import numpy.typing as npt
    from transformers import PreTrainedConfig

PASSED_OVER = ("rotary_emb.inv_freq", "attn.bias", "masked_bias")
"""Buffers of older checkpoints, which are computed."""


def write_model(subject: Subject, file: Path, kind: Type, report: Progress, *, bare: bool = False) -> list[str]:
    """Write base and adapter as one GGUF with weights in ``kind``, ``bare`` the base alone; returns what is to be said.

    Raises UserError for a family, a tokenizer or a tensor that a GGUF cannot hold, and OSError for a full disk.
    """
    import gguf

    report("reading the adapter", 0.0)
    config, family = families.read(subject.weights.path)
    tensors = merged_tensors(subject, bare=bare)
    shapes = renamed(tensors, config, family)
    tied = not any(name == "output.weight" for name, _ in shapes.values())
    quantiser = Quantiser(kind, tied)
    needed = sum(quantiser.bytes_of(name, shape) for name, shape in shapes.values())
    check_space(file.parent, needed)
    writer = gguf.GGUFWriter(file, family.arch, use_temp_file=False)
    try:
        notes = describe(writer, subject, config, family, kind, entries_of(shapes))
        further = notes.pop()
        assert isinstance(further, dict)
        write_tensors(writer, tensors, shapes, further, config, family, quantiser, report)
    finally:
        writer.close()
    return [*tensors.notes, *(str(note) for note in notes), *quantiser.notes]


def entries_of(shapes: dict[str, tuple[str, tuple[int, ...]]]) -> int:
    """How many rows the embedding has."""
    return next(shape[0] for name, shape in shapes.values() if name == "token_embd.weight")


def describe(
    writer: gguf.GGUFWriter, subject: Subject, config: PreTrainedConfig, family: Family, kind: Type, entries: int
) -> list[Any]:
    """Write everything but the weights. Returns what is to be said, and last the further tensors."""
    import gguf

    writer.add_type("model")
    # llama.cpp tells some tokenizers' habits by the model's name.
    writer.add_name(f"{subject.weights.hub_id or subject.weights.name} with {subject.name}")
    writer.add_description("A base model with a LoRA adapter merged in, written by LoRA Lens")
    writer.add_file_type(gguf.LlamaFileType[FILE_TYPES[kind]])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    further, notes = families.describe(writer, config, family)
    return [*notes, *vocabulary.describe(writer, subject.tokenizer(), entries), further]


def renamed(tensors: Tensors, config: PreTrainedConfig, family: Family) -> dict[str, tuple[str, tuple[int, ...]]]:
    """GGUF's name and the shape of each tensor, by transformers' name.

    Raises UserError for one that llama.cpp's architecture has no place for: left out, the model would be another.
    """
    import gguf

    arch = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == family.arch)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    found = {}
    for name, shape in tensors.shapes().items():
        if name.endswith(PASSED_OVER) or (name == HEAD and config.tie_word_embeddings and not tensors.untied):
            continue
        mapped = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if mapped is None:
            raise UserError(f"llama.cpp has no place for the tensor {name} in {family.arch}: export it --as merged.")
        found[name] = (mapped, shape)
    return found


def write_tensors(
    writer: gguf.GGUFWriter,
    tensors: Tensors,
    shapes: dict[str, tuple[str, tuple[int, ...]]],
    further: dict[str, npt.NDArray[np.float32]],
    config: PreTrainedConfig,
    family: Family,
    quantiser: Quantiser,
    report: Progress,
) -> None:
    """Write the header and then one tensor after the other."""
    import gguf
    import numpy as np

    for name, shape in shapes.values():
        kind = gguf.GGMLQuantizationType[quantiser.type_of(name, shape)]
        writer.add_tensor_info(name, shape, np.dtype(np.float32), quantiser.bytes_of(name, shape), kind)
    for name, values in further.items():
        writer.add_tensor_info(name, values.shape, values.dtype, values.nbytes)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for done, (name, (mapped, shape)) in enumerate(shapes.items()):
        report(f"merging and rounding {done + 1} of {len(shapes)} tensors", done / len(shapes))
        values = families.arranged(name, tensors.get(name).numpy(), config, family)
        rounded, _ = quantiser.round(mapped, np.ascontiguousarray(values))
        if math.prod(shape) != values.size:
            raise UserError(f"The tensor {name} has another shape than its file says: copy the base again.")
        writer.write_tensor_data(rounded)
    for values in further.values():
        writer.write_tensor_data(values)
