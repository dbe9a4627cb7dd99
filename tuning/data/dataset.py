"""Rows to train on: read, cleaned, decontaminated, encoded, and split so that a row stays in its split for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tuning.data import sources
from tuning.data.chat import PLAIN_FORMAT, PromptFormat, Unit
from tuning.data.cleaning import SPLITS, Row, clean, digest, keep, split_of
from tuning.data.options import FormatWish, Reading
from tuning.data.place import EMBEDDED, EMBEDDED_SETS, is_place
from tuning.data.probe_questions import PROBE_QUESTIONS
from tuning.data.reading.readers import read_file
from tuning.data.reading.records import Records
from tuning.data.rows import LeftOut
from tuning.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class DataSet:
    """Cleaned rows in three splits. ``dropped`` counts what was left out, by reason; nothing goes silently.

    ``used`` names the columns with their roles and ``unused`` the others, ``notes`` say how the source is read.
    ``format`` is the prompt format of rows that bring none; ``encoded`` holds the rows' examples by id, where a
    tokenizer was given.
    """

    source: str
    revision: str
    fingerprint: str
    train: list[Row]
    validation: list[Row]
    test: list[Row]
    dropped: LeftOut = field(default_factory=LeftOut)
    used: Mapping[str, str] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    format: PromptFormat = PLAIN_FORMAT
    encoded: Mapping[str, tuple[Unit, ...]] = field(default_factory=dict)

    def split(self, name: str) -> list[Row]:
        """The rows of 'train', 'validation' or 'test'."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]

    def rows(self) -> list[Row]:
        """All rows as they stand in the source."""
        return sorted((row for name in SPLITS for row in self.split(name)), key=lambda row: row.line)

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
    reading: Reading = sources.PLAIN_READING,
    wish: FormatWish = FormatWish(),  # noqa: B008 (it is frozen)
    prompt_format: PromptFormat | None = None,
) -> DataSet:
    """Read, clean and split a source (see :func:`read_source`).

    ``empty_input_only`` keeps questions without an input; ``limit`` keeps that many training rows, always the same
    ones; with ``tokenizer`` and ``max_tokens``, rows are encoded and longer ones are dropped. Questions that repeat one
    of ``exclude`` are dropped. ``wish`` changes the source's own prompt format, ``prompt_format`` replaces it. Raises
    UserError if the source cannot be used or nothing is left of it.
    """
    if limit is not None and limit < 1:
        raise UserError(f"The limit is {limit}, but at least one training row is needed.")
    raw = read_source(source, reading)
    dropped = raw.unusable
    rows = clean(raw.rows, dropped, exclude)
    raw.rows = []
    chosen_format = prompt_format or wish.of(raw.format)
    if empty_input_only:
        rows = keep(rows, lambda row: not row.input, "has an input", dropped)
    encoded: dict[str, tuple[Unit, ...]] = {}
    if tokenizer is not None and max_tokens is not None:
        rows, encoded = encode(rows, tokenizer, chosen_format, max_tokens, dropped)
    if not rows:
        raise UserError(f"No row of {source} can be used ({dropped.words() or 'it is empty'}).")
    splits: dict[str, list[Row]] = {name: [] for name in SPLITS}
    for row in rows:
        splits[split_of(row)].append(row)
    if limit is not None and len(splits["train"]) > limit:
        dropped["over the limit"] += len(splits["train"]) - limit
        chosen = {row.id for row in sorted(splits["train"], key=lambda row: digest("limit", row.id))[:limit]}
        splits["train"] = [row for row in splits["train"] if row.id in chosen]
    return DataSet(
        source,
        raw.revision,
        fingerprint(splits),
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        dropped=dropped,
        used=raw.used,
        unused=tuple(raw.unused),
        notes=(*raw.notes, *other_answers(rows)),
        format=chosen_format,
        encoded=encoded,
    )


def other_answers(rows: list[Row]) -> list[str]:
    """What must be said of rows that answer a question otherwise than another row does: all are trained."""
    asked = Counter((row.question, row.input) for row in rows if not row.turns)
    several = [count for count in asked.values() if count > 1]
    if not several:
        return []
    return [f"Questions with several answers: {len(several):,} ({sum(several):,} rows, all of them kept)."]


def read_source(name: str, reading: Reading = sources.PLAIN_READING) -> sources.Source:
    """Read an embedded set (such as 'python_qa'), a local file (JSONL, JSON, CSV, TSV, Parquet, Arrow, Excel; text also
    compressed), a Hub data set (see :mod:`tuning.data.hub_data`), or a table (``duckdb:FILE?table=T&where=SQL`` or
    ``md:DATABASE?table=T&where=SQL``).

    Raises UserError, in one line, if the source is missing, damaged, empty, or has no columns that are understood.
    """
    if is_place(name):
        from tuning.ingest.read_back import read_table

        return read_table(name, reading)
    path = sources.local_file(name)
    if path is None:
        from tuning.data import hub_data

        found = hub_data.load(name)
        records, revision = Records(hub_data.rows_of(name, found.table), found.notes), found.revision
    else:
        records = read_file(path, reading.encoding)
        revision = "embedded" if name in EMBEDDED_SETS else sources.file_revision(path)
    source = sources.source_of(name, records.rows, reading, revision, sources.format_of(name))
    source.notes += records.notes
    source.unused += records.ignored
    return source


def encode(
    rows: list[Row],
    tokenizer: PreTrainedTokenizerBase,
    prompt_format: PromptFormat,
    max_tokens: int,
    dropped: LeftOut,
) -> tuple[list[Row], dict[str, tuple[Unit, ...]]]:
    """The rows that fit into ``max_tokens``, with their examples by id; the others are counted."""
    from tuning.data.encoding import Encoder, units_of

    encoder = Encoder(tokenizer, prompt_format, max_tokens)
    kept: list[Row] = []
    encoded: dict[str, tuple[Unit, ...]] = {}
    for row in rows:
        try:
            units = units_of(encoder, row)
        except UserError as error:
            dropped.add(str(error).rstrip("."), row.line)
            continue
        if units is None or any(unit.truncated for unit in units):
            dropped.add(f"over {max_tokens} tokens", row.line)
            continue
        for note in encoder.notes(row):
            dropped.add(note, row.line)
        kept.append(row)
        encoded[row.id] = units
    return kept, encoded


def fingerprint(splits: Mapping[str, list[Row]]) -> str:
    """Sixteen hexadecimal digits over split, id and answer of every row, whatever their order."""
    lines = sorted(f"{name} {row.id} {digest(*texts(row))}" for name, rows in splits.items() for row in rows)
    return digest(*lines)[:16]


def texts(row: Row) -> list[str]:
    """What of a row is trained: its answer, or all turns of a conversation and which of them are."""
    told = [part for turn in row.turns for part in (turn.role, turn.text, str(turn.trained))] or [row.answer]
    return [*told, row.rejected] if row.rejected else told
