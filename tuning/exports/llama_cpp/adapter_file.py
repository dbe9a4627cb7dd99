"""A LoRA adapter as a GGUF of its own, which llama.cpp adds to the GGUF of its base."""

from __future__ import annotations

from pathlib import Path

from tuning.errors import UserError
from tuning.exports.llama_cpp import families
from tuning.exports.subject import Subject
from tuning.exports.tensors import plain_changes
from tuning.progress import Progress

ALPHA = "adapter.lora.alpha"


def write_adapter(subject: Subject, file: Path, report: Progress) -> list[str]:
    """Write the adapter's factors in F32; returns what is to be said.

    llama.cpp multiplies by one alpha over each factor's own rank; what an adapter scales otherwise (rsLoRA, patterns)
    is multiplied into its second factor. Raises UserError for parts that such a file cannot hold.
    """
    import gguf
    import numpy as np

    config, family = families.read(subject.weights.path)
    changes = plain_changes(subject)
    if isinstance(changes, str):
        raise UserError(
            f"A LoRA-GGUF cannot hold this adapter (it is more than plain LoRA: {changes}): export --as gguf, which "
            "merges it."
        )
    arch = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == family.arch)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    alpha = float(subject.config["lora_alpha"])
    writer = gguf.GGUFWriter(file, family.arch)
    try:
        writer.add_type("adapter")
        writer.add_name(subject.name)
        writer.add_string("adapter.type", "lora")
        writer.add_float32(ALPHA, alpha)
        for done, (name, change) in enumerate(changes.items()):
            report(f"writing {done + 1} of {len(changes)} layers", done / len(changes))
            mapped = names.get_name(name, try_suffixes=(".weight",))
            head = name == "lm_head.weight" and config.tie_word_embeddings
            if mapped is None or mapped == "token_embd.weight" or head:
                part = name.removesuffix(".weight")
                raise UserError(f"A LoRA-GGUF cannot hold the change of {part}: export --as gguf, which merges it.")
            down, up = change.down.float().numpy(), change.up.float().numpy()
            up = up * np.float32(change.scale * down.shape[0] / alpha)
            heads = families.heads_of(name, config) if family.permuted else 0
            if heads:
                up = families.in_pairs(up, heads)
            writer.add_tensor(f"{mapped}.lora_a", np.ascontiguousarray(down, dtype=np.float32))
            writer.add_tensor(f"{mapped}.lora_b", np.ascontiguousarray(up, dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
    return []
