"""Rows to train on: read, cleaned, decontaminated, and split so that a row stays in its split for ever."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tuning.data.probe_questions import PROBE_QUESTIONS
from tuning.data.sources import EMBEDDED, RawRow, read_source
from tuning.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TRAIN_SHARE, VALIDATION_SHARE = 0.8, 0.1
NGRAM = 5
PROBE_OVERLAP = 0.5
SPLITS = ("train", "validation", "test")
MAX_CHARACTERS = 1_000_000
WORDS_ONLY = bytes(byte if chr(byte) in "abcdefghijklmnopqrstuvwxyz0123456789" else ord(" ") for byte in range(256))
Phrases = frozenset[bytes]


@dataclass(frozen=True)
class Row:
    """One cleaned question with its answer. ``id`` depends on question and input alone."""

    id: str
    question: str
    input: str
    answer: str
    check: str = ""


@dataclass(frozen=True)
class DataSet:
    """Cleaned rows in three splits. ``dropped`` counts what was left out, by reason; nothing goes silently."""

    source: str
    revision: str
    fingerprint: str
    train: list[Row]
    validation: list[Row]
    test: list[Row]
    dropped: dict[str, int] = field(default_factory=dict)

    def split(self, name: str) -> list[Row]:
        """The rows of 'train', 'validation' or 'test'."""
        return getattr(self, name)

    def __len__(self) -> int:
        return len(self.train) + len(self.validation) + len(self.test)


def load(
    source: str = EMBEDDED,
    *,
    empty_input_only: bool = False,
    limit: int | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    max_tokens: int | None = None,
    exclude: Iterable[str] = tuple(PROBE_QUESTIONS.values()),
) -> DataSet:
    """Read, clean and split a source (see :func:`tuning.data.sources.read_source`).

    ``empty_input_only`` keeps questions without an input; ``limit`` keeps that many training rows, always the same
    ones; with ``tokenizer`` and ``max_tokens``, longer examples are dropped. Questions that repeat one of ``exclude``
    are dropped. Raises UserError if the source cannot be used or nothing is left of it.
    """
    if limit is not None and limit < 1:
        raise UserError(f"The limit is {limit}, but at least one training row is needed.")
    raw = read_source(source)
    dropped: Counter[str] = Counter(raw.unusable)
    rows = clean(raw.rows, dropped, exclude)
    if empty_input_only:
        rows = keep(rows, lambda row: not row.input, "has an input", dropped)
    if tokenizer is not None and max_tokens is not None:
        rows = keep(rows, lambda row: fits(row, tokenizer, max_tokens), f"over {max_tokens} tokens", dropped)
    if not rows:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in dropped.items())
        raise UserError(f"No row of {source} can be used ({reasons or 'it is empty'}).")
    splits: dict[str, list[Row]] = {name: [] for name in SPLITS}
    for row in rows:
        splits[split_of(row)].append(row)
    if limit is not None and len(splits["train"]) > limit:
        dropped["over the limit"] += len(splits["train"]) - limit
        chosen = {row.id for row in sorted(splits["train"], key=lambda row: digest("limit", row.id))[:limit]}
        splits["train"] = [row for row in splits["train"] if row.id in chosen]
    return DataSet(source, raw.revision, fingerprint(splits), **splits, dropped=dict(dropped))


def clean(rows: Iterable[RawRow], dropped: Counter[str], exclude: Iterable[str]) -> list[Row]:
    """Rows stripped of surrounding white space, without the empty, broken, repeated and excluded ones."""
    phrases = [phrases_of(question) for question in exclude]
    seen: set[str] = set()
    kept = []
    for raw in rows:
        row = clean_row(raw, phrases)
        if isinstance(row, str):
            dropped[row] += 1
        elif row.id in seen:
            dropped["duplicate question"] += 1
        else:
            seen.add(row.id)
            kept.append(row)
    return kept


def clean_row(raw: RawRow, excluded: Iterable[Phrases]) -> Row | str:
    """One row stripped of surrounding white space, or the reason why it is left out."""
    if max(len(raw.question), len(raw.input), len(raw.answer)) > MAX_CHARACTERS:
        return f"over {MAX_CHARACTERS:,} characters"
    question, given, answer = raw.question.strip(), raw.input.strip(), raw.answer.strip()
    if not question:
        return "empty question"
    if not answer:
        return "empty answer"
    if "\x00" in question or "\x00" in given or "\x00" in answer:
        return "NUL byte"
    spaced = spaced_words(f"{question} {given}")
    if any(repeats(spaced, phrases) for phrases in excluded):
        return "repeats a probe question"
    return Row(row_id(question, given), question, given, answer, raw.check)


def keep(rows: list[Row], condition: Callable[[Row], bool], reason: str, dropped: Counter[str]) -> list[Row]:
    """The rows for which ``condition`` holds; the others are counted under ``reason``."""
    kept = [row for row in rows if condition(row)]
    if len(kept) < len(rows):
        dropped[reason] += len(rows) - len(kept)
    return kept


def fits(row: Row, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> bool:
    """Whether prompt and whole answer take at most ``max_tokens`` tokens."""
    from tuning.data.chat import encode_example

    try:
        return not encode_example(tokenizer, row.question, row.input, row.answer, max_tokens).truncated
    except UserError:
        return False


def spaced_words(text: str) -> bytes:
    """Lower-case words and numbers (ASCII) of a text, with one space before, between and after them."""
    only_words = text.lower().encode("ascii", "replace").translate(WORDS_ONLY)
    return b" " + b" ".join(only_words.split()) + b" "


def phrases_of(text: str, size: int = NGRAM) -> Phrases:
    """All runs of ``size`` words of a text, each as :func:`spaced_words`; a shorter text is one run."""
    words = spaced_words(text).split()
    runs = range(max(1, len(words) - size + 1))
    return frozenset(b" " + b" ".join(words[at : at + size]) + b" " for at in runs)


def repeats(spaced: bytes, phrases: Phrases) -> bool:
    """Whether a question (as :func:`spaced_words`) holds at least half of a probe's runs of five words. A probe of
    fewer words is repeated only by a question of just these."""
    if len(phrases) == 1 and min(phrases).count(b" ") <= NGRAM:
        return spaced in phrases
    return sum(phrase in spaced for phrase in phrases) >= PROBE_OVERLAP * len(phrases)


def normalised(text: str) -> str:
    """Text without differences of case and white space."""
    return " ".join(text.lower().split())


def digest(*parts: str) -> str:
    """SHA-256 of texts, unambiguous about where one ends and the next begins, as hexadecimal digits."""
    joined = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(joined.encode("utf-8", "surrogatepass")).hexdigest()


def row_id(question: str, given: str) -> str:
    """Sixteen hexadecimal digits that depend on the normalised question and input alone."""
    return digest(normalised(question), normalised(given))[:16]


def split_of(row: Row) -> str:
    """The split of a row: by its id alone, so that neither order nor growth of the data moves it."""
    position = int(row.id, 16) / 16**16
    if position < TRAIN_SHARE:
        return "train"
    return "validation" if position < TRAIN_SHARE + VALIDATION_SHARE else "test"


def fingerprint(splits: dict[str, list[Row]]) -> str:
    """Sixteen hexadecimal digits over split, id and answer of every row, whatever their order."""
    lines = sorted(f"{name} {row.id} {digest(row.answer)}" for name, rows in splits.items() for row in rows)
    return digest(*lines)[:16]
