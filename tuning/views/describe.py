"""A data set in words, in marked samples and as JSON: what is in it, what was left out, and what exactly is trained."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NotRequired, TypedDict

from tuning.data.chat import Example, Pair, PromptFormat
from tuning.data.cleaning import SPLITS, Row, split_of
from tuning.data.dataset import DataSet
from tuning.data.encoding import Encoder, conversation, units_of
from tuning.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PERCENTILES = (5, 25, 50, 75, 95, 99)
SAMPLES = 3
Part = Literal["", "chosen", "rejected"]


@dataclass(frozen=True)
class Span:
    """A piece of an encoded example; ``trained`` if its tokens carry a label, ``part`` in a preference pair."""

    text: str
    trained: bool
    part: Part = ""


class SampleMessage(TypedDict):
    """A message of a sample and whether it is trained."""

    role: str
    content: str
    trained: bool


class Sample(TypedDict):
    """A row as it is trained: its messages, the rendered conversation, and the texts that carry a label.

    In a preference pair these are the chosen answer's, and what is rejected stands apart: the answer, and as rendered.
    """

    messages: list[SampleMessage]
    text: str
    trained_text: list[str]
    line: int
    split: str
    id: str
    rejected: NotRequired[str]
    rejected_text: NotRequired[str]


class LeftOutReason(TypedDict):
    """Why something was left out, how often, and the line of an example (None where lines are not known)."""

    reason: str
    count: int
    line: int | None


class Description(TypedDict):
    """What ``data describe --json`` prints."""

    source: str
    rows: int
    splits: dict[str, int]
    columns: dict[str, object]
    left_out: list[LeftOutReason]
    notes: list[str]
    prompt_format: dict[str, object]
    samples: list[Sample]


def spans_of(tokenizer: PreTrainedTokenizerBase, example: Example) -> list[Span]:
    """An example as the model sees it, cut where labels begin and end."""
    pieces: list[tuple[bool, list[int]]] = [(False, example.prompt_ids)]
    labelled = example.labelled or (True,) * len(example.answer_ids)
    for token, trained in zip(example.answer_ids, labelled, strict=True):
        if pieces[-1][0] != trained:
            pieces.append((trained, []))
        pieces[-1][1].append(token)
    return [Span(decoded(tokenizer, ids), trained) for trained, ids in pieces if ids]


def decoded(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """Tokens as the text that they stand for, nothing tidied up."""
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def encoded_spans(dataset: DataSet, tokenizer: PreTrainedTokenizerBase, row: Row, max_tokens: int) -> list[Span]:
    """One row as the model sees it: what the answers follow, and the answers with what closes them."""
    return [
        replace(span, part=part)
        for part, example in named_examples(dataset, tokenizer, row, max_tokens)
        for span in spans_of(tokenizer, example)
    ]


def named_examples(
    dataset: DataSet, tokenizer: PreTrainedTokenizerBase, row: Row, max_tokens: int
) -> list[tuple[Part, Example]]:
    """A row's examples, encoded now if that was not done when the data was loaded, with what they are in a pair."""
    known = dataset.encoded.get(row.id)
    units = known if known is not None else units_of(Encoder(tokenizer, dataset.format, max_tokens), row) or ()
    found: list[tuple[Part, Example]] = []
    for unit in units:
        found += [("chosen", unit.chosen), ("rejected", unit.rejected)] if isinstance(unit, Pair) else [("", unit)]
    return found


def chosen_rows(dataset: DataSet) -> list[Row]:
    """The rows of which samples are shown, by id."""
    return sorted(dataset.train or dataset.validation or dataset.test, key=lambda row: row.id)


def samples(dataset: DataSet, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> list[list[Span]]:
    """The first training rows (by id), each as spans."""
    return [encoded_spans(dataset, tokenizer, row, max_tokens) for row in chosen_rows(dataset)[:SAMPLES]]


def sample_of(dataset: DataSet, tokenizer: PreTrainedTokenizerBase, row: Row, max_tokens: int) -> Sample:
    """A row with its messages, its text and what is trained of it."""
    spans = encoded_spans(dataset, tokenizer, row, max_tokens)
    worse = "".join(span.text for span in spans if span.part == "rejected")
    spans = [span for span in spans if span.part != "rejected"]
    sample = Sample(
        messages=messages_of(row, dataset.format),
        text="".join(span.text for span in spans),
        trained_text=[span.text for span in spans if span.trained],
        line=row.line,
        split=split_of(row),
        id=row.id,
    )
    if row.rejected:
        sample["rejected"], sample["rejected_text"] = row.rejected, worse
    return sample


def messages_of(row: Row, prompt_format: PromptFormat) -> list[SampleMessage]:
    """A row's messages; a plain text is one of the role 'text'."""
    if row.turns and row.turns[0].role == "text":
        return [SampleMessage(role="text", content=row.turns[0].text, trained=True)]
    messages, trained = conversation(row, prompt_format)
    return [
        SampleMessage(role=message["role"], content=message["content"], trained=at in trained)
        for at, message in enumerate(messages)
    ]


def as_json(
    dataset: DataSet, tokenizer: PreTrainedTokenizerBase, max_tokens: int, count: int | None = SAMPLES
) -> Description:
    """All there is to say of a data set, with its first ``count`` rows (None: all), as they stand in the source."""
    rows = dataset.rows()
    return Description(
        source=dataset.source,
        rows=len(dataset),
        splits={name: len(dataset.split(name)) for name in SPLITS},
        columns={"used": dict(dataset.used), "unused": list(dataset.unused)},
        left_out=left_out(dataset),
        notes=list(dataset.notes),
        prompt_format=dataset.format.to_dict(),
        samples=[sample_of(dataset, tokenizer, row, max_tokens) for row in rows[:count]],
    )


def left_out(dataset: DataSet) -> list[LeftOutReason]:
    """What was left out, by reason."""
    lines = dataset.dropped.lines
    return [
        LeftOutReason(reason=reason, count=count, line=lines.get(reason) or None)
        for reason, count in sorted(dataset.dropped.items())
    ]


def describe(dataset: DataSet, tokenizer: PreTrainedTokenizerBase, max_tokens: int, *, colour: bool = False) -> str:
    """Counts, token lengths, what was dropped and why, and three samples with the trained tokens between ‹ and ›."""
    lines = [f"{dataset.source}: {len(dataset):,} rows (fingerprint {dataset.fingerprint})"]
    lines += [f"  {name:<11}{len(dataset.split(name)):>8,}" for name in SPLITS]
    lines += columns_words(dataset)
    lines += dataset.notes
    lines.append("dropped" if dataset.dropped else "dropped: nothing")
    for item in left_out(dataset):
        where = f"   (first in line {item['line']:,})" if item["line"] else ""
        lines.append(f"  {item['reason']:<45}{item['count']:>8,}{where}")
    examples = encoded(dataset, tokenizer, max_tokens)
    lines += ["", f"{'tokens':<11}{'mean':>7}" + "".join(f"{f'p{p}':>7}" for p in PERCENTILES) + f"{'max':>7}"]
    lines.append(length_line("prompt", [len(example) - example.label_count for example in examples]))
    lines.append(length_line("answer", [example.label_count for example in examples]))
    lines.append(length_line("both", [len(example) for example in examples]))
    opening, closing = ("\x1b[32m‹", "›\x1b[0m") if colour else ("‹", "›")
    for number, spans in enumerate(samples(dataset, tokenizer, max_tokens), start=1):
        for part in dict.fromkeys(span.part for span in spans):
            shown = [span for span in spans if span.part == part]
            lines += ["", f"── sample {number}{f' {part}'.rstrip()}, trained tokens between ‹ and › ──"]
            lines.append("".join(f"{opening}{span.text}{closing}" if span.trained else span.text for span in shown))
    return "\n".join(lines)


def columns_words(dataset: DataSet) -> list[str]:
    """Which columns are used as what, and which are not used."""
    used = ", ".join(name if name == role else f"{name} as {role}" for name, role in dataset.used.items())
    lines = [f"columns: {used}"] if used else []
    return [*lines, f"columns not used: {', '.join(dataset.unused)}"] if dataset.unused else lines


def encoded(dataset: DataSet, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> list[Example]:
    """All rows as token ids; a prompt that alone is too long is left out."""
    examples: list[Example] = []
    for row in (row for name in SPLITS for row in dataset.split(name)):
        try:
            examples += [example for _, example in named_examples(dataset, tokenizer, row, max_tokens)]
        except UserError:
            continue
    return examples


def length_line(name: str, lengths: Iterable[int]) -> str:
    """Mean, percentiles and maximum of token counts."""
    counts = list(lengths)
    if not counts:
        return f"{name:<11}{'no rows':>7}"
    cuts = statistics.quantiles(counts, n=100, method="inclusive") if len(counts) > 1 else counts * 99
    chosen = "".join(f"{cuts[p - 1]:>7.0f}" for p in PERCENTILES)
    return f"{name:<11}{statistics.mean(counts):>7.0f}{chosen}{max(counts):>7}"
