"""Chat templates of the usual kinds, each with the text that it must give for a system text and one question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.conftest import CHAT_TEMPLATE

CONTROL = (
    *("<start_of_turn>", "<end_of_turn>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    *("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
)
"""Control tokens that the tests' tokenizer has for them besides its own."""


@dataclass(frozen=True)
class Template:
    """A template, None for a model without one; ``closing`` is the token that it ends an assistant's turn with, and
    ``prompt`` writes by hand what must be asked."""

    name: str
    jinja: str | None
    closing: str
    prompt: Callable[[str, str], str]


LLAMA_3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else 'user' }}\n{{ m['content'] | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
PHI_3 = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)

TEMPLATES = (
    Template(
        "ChatML",
        CHAT_TEMPLATE,
        "<|im_end|>",
        lambda system, user: (
            f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"
        ),
    ),
    Template(
        "Llama 3",
        LLAMA_3,
        "<|eot_id|>",
        lambda system, user: (
            f"<|im_start|><|start_header_id|>system<|end_header_id|>\n\n{system}<|eot_id|>"
            f"<|start_header_id|>user<|end_header_id|>\n\n{user}<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n"
        ),
    ),
    Template(
        "Gemma (no system role)",
        GEMMA,
        "<end_of_turn>",
        lambda system, user: (
            f"<|im_start|><start_of_turn>user\n{system}\n\n{user}<end_of_turn>\n<start_of_turn>model\n"
        ),
    ),
    Template(
        "Phi-3",
        PHI_3,
        "<|end|>",
        lambda system, user: f"<|system|>\n{system}<|end|>\n<|user|>\n{user}<|end|>\n<|assistant|>\n",
    ),
    Template(
        "none (plain format)",
        None,
        "<|im_end|>",
        lambda system, user: f"{system}\n\n### Question:\n{user}\n\n### Answer:\n",
    ),
)
"""The tests' tokenizer calls ``<|im_start|>`` its first token, which it does not write by itself, and ``<|im_end|>``
its last one; the plain format writes a first token only for tokenizers that do."""
