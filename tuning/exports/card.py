"""The card that goes with an export: what it is, in which prompt it answers, how it runs, what its certificate says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tuning.exports.certify.certificate import Certificate
from tuning.exports.subject import Subject

BEGIN, END = "<!-- certificate -->", "<!-- end of the certificate -->"
RELATIONS = {"adapter": "adapter", "vllm": "adapter", "mlx": "adapter", "lora-gguf": "adapter", "merged": "merge"}


def write_card(
    subject: Subject, folder: Path, kind: str, use: Sequence[str], certificate: Certificate | None, notes: Sequence[str]
) -> None:
    """Write README.md to a folder; one that an adapter brings along keeps its text, and gets the certificate."""
    path = folder / "README.md"
    proof = "" if certificate is None else f"\n{BEGIN}\n{certificate.markdown()}\n{END}\n"
    if path.is_file() and kind in ("adapter", "vllm"):
        text = path.read_text(encoding="utf-8")
        before, found, after = text.partition(BEGIN)
        text = before.rstrip() + "\n" + after.partition(END)[2] if found else text
        path.write_text(text.rstrip() + "\n" + proof, encoding="utf-8")
        return
    base = subject.weights.hub_id or subject.weights.name
    public = subject.weights.hub_id or (base if "/" not in base.strip("/") else Path(base).name)
    prompt = subject.prompt_format
    lines = [
        "---",
        *([f"base_model: {subject.weights.hub_id}"] if subject.weights.hub_id else []),
        f"base_model_relation: {RELATIONS.get(kind, 'quantized')}",
        "pipeline_tag: text-generation",
        "tags: [lora, lora-lens]",
        "---",
        "",
        f"# {subject.name}",
        "",
        f"{public} with the LoRA adapter {subject.name}, exported by LoRA Lens ({kind}).",
        "",
        f"System prompt: {json.dumps(prompt.system, ensure_ascii=False) if prompt.system else 'none'}. "
        f"User turn: {json.dumps(prompt.user, ensure_ascii=False) if prompt.user else 'the question as it is'}.",
        "",
        *[f"- {note}" for note in notes],
        "",
        "## Use",
        "",
        "```sh",
        *use,
        "```",
    ]
    path.write_text("\n".join(lines) + "\n" + proof, encoding="utf-8")
