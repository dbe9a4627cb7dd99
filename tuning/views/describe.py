"""A data set in words and in marked samples: what is in it, what was left out, and what exactly is trained."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuning.data.chat import Example, encode_example
from tuning.data.dataset import SPLITS, DataSet, Row
from tuning.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PERCENTILES = (5, 25, 50, 75, 95, 99)
SAMPLES = 3


@dataclass(frozen=True)
class Span:
    """A piece of an encoded example; ``trained`` if its tokens carry a label."""

    text: str
    trained: bool


def encoded_spans(tokenizer: PreTrainedTokenizerBase, row: Row, max_tokens: int) -> list[Span]:
    """One row as the model sees it: the prompt, then the answer and its closing token, which are trained."""
    example = encode_example(tokenizer, row.question, row.input, row.answer, max_tokens)
    return [Span(tokenizer.decode(example.prompt_ids), False), Span(tokenizer.decode(example.answer_ids), True)]


def samples(dataset: DataSet, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> list[list[Span]]:
    """The first training rows (by id), each as spans."""
    rows = sorted(dataset.train or dataset.validation or dataset.test, key=lambda row: row.id)
    return [encoded_spans(tokenizer, row, max_tokens) for row in rows[:SAMPLES]]


def describe(dataset: DataSet, tokenizer: PreTrainedTokenizerBase, max_tokens: int, *, colour: bool = False) -> str:
    """Counts, token lengths, what was dropped and why, and three samples with the trained tokens between ‹ and ›."""
    lines = [f"{dataset.source}: {len(dataset):,} rows (fingerprint {dataset.fingerprint})"]
    lines += [f"  {name:<11}{len(dataset.split(name)):>8,}" for name in SPLITS]
    lines.append("dropped" if dataset.dropped else "dropped: nothing")
    lines += [f"  {reason:<45}{count:>8,}" for reason, count in sorted(dataset.dropped.items())]
    examples = encoded(dataset, tokenizer, max_tokens)
    lines += ["", f"{'tokens':<11}{'mean':>7}" + "".join(f"{f'p{p}':>7}" for p in PERCENTILES) + f"{'max':>7}"]
    lines.append(length_line("prompt", [len(example.prompt_ids) for example in examples]))
    lines.append(length_line("answer", [len(example.answer_ids) for example in examples]))
    lines.append(length_line("both", [len(example) for example in examples]))
    opening, closing = ("\x1b[32m‹", "›\x1b[0m") if colour else ("‹", "›")
    for number, spans in enumerate(samples(dataset, tokenizer, max_tokens), start=1):
        shown = "".join(f"{opening}{span.text}{closing}" if span.trained else span.text for span in spans)
        lines += ["", f"── sample {number}, trained tokens between ‹ and › ──", shown]
    return "\n".join(lines)


def encoded(dataset: DataSet, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> list[Example]:
    """All rows as token ids; a prompt that alone is too long is left out."""
    examples = []
    for name in SPLITS:
        for row in dataset.split(name):
            try:
                examples.append(encode_example(tokenizer, row.question, row.input, row.answer, max_tokens))
            except UserError:
                continue
    return examples


def length_line(name: str, lengths: list[int]) -> str:
    """Mean, percentiles and maximum of token counts."""
    if not lengths:
        return f"{name:<11}{'no rows':>7}"
    cuts = statistics.quantiles(lengths, n=100, method="inclusive") if len(lengths) > 1 else lengths * 99
    chosen = "".join(f"{cuts[p - 1]:>7.0f}" for p in PERCENTILES)
    return f"{name:<11}{statistics.mean(lengths):>7.0f}{chosen}{max(lengths):>7}"
