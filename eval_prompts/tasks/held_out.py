"""Held-out rows of training data as questions: what a model was not trained on, with the answers it should give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from eval_prompts.tasks.catalogue import assertions
from tuning.data.chat import PLAIN_FORMAT, PromptFormat
from tuning.errors import UserError

if TYPE_CHECKING:
    from tuning.data.cleaning import Row
    from tuning.data.dataset import DataSet
    from tuning.presets import Config

Split = Literal["test", "validation", "both"]
SPLITS: dict[Split, tuple[str, ...]] = {
    "test": ("test",),
    "validation": ("validation",),
    "both": ("validation", "test"),
}
MOST = 100_000


@dataclass(frozen=True)
class HeldOut:
    """Rows for a task's questions, the prompt format that they are asked in, and what is to be said of them."""

    rows: list[dict[str, Any]]
    format: PromptFormat
    notes: list[str] = field(default_factory=list)


def held_out(source: str, split: Split = "test", config: Config | None = None) -> HeldOut:
    """The held-out rows of a data source (see :func:`tuning.data.dataset.read_source`); with ``config``, as a run with
    these settings held them out. Raises UserError if the source cannot be read, or none of its rows can be asked."""
    from tuning.data.dataset import load

    if split not in SPLITS:
        raise UserError(f"There is no split {str(split)[:40]!r}: choose {', '.join(SPLITS)}.")
    if config is None:
        data = load(source)
    else:
        data = load(
            config.data,
            empty_input_only=config.empty_input_only,
            reading=config.reading,
            wish=config.format_wish,
        )
    kept = [row for name in SPLITS[split] for row in data.split(name)]
    if not kept:
        counts = f"{len(data.train):,} rows are trained, {len(data.validation):,} validate, {len(data.test):,} test"
        raise UserError(f"{Path(source).name} has no rows held out there ({counts}): choose another split.")
    return as_questions(sorted(kept, key=lambda row: row.line), data)


def as_questions(kept: Sequence[Row], data: DataSet) -> HeldOut:
    """Rows as questions. One system prompt for all becomes the format's own; otherwise each row keeps its own turns."""
    notes = [f"Left out of the data: {data.dropped.words()}."] if data.dropped else []
    texts = [row for row in kept if any(turn.role == "text" for turn in row.turns)]
    if texts:
        notes.append(f"{len(texts):,} rows are texts to be continued, which no question asks for: left out.")
    asked = [row for row in kept if row not in texts][:MOST]
    if not asked:
        raise UserError(f"No held-out row of {data.source} can be asked ({' '.join(notes)})")
    systems = {system_of(row) for row in asked}
    single = all(is_single(row) for row in asked)
    if single and len(systems) == 1:
        (system,) = systems
        format = data.format if system is None else PromptFormat(system)
        return HeldOut([plain_row(row) for row in asked], format, notes)
    several = sum(not is_single(row) for row in asked)
    if several:
        notes.append(
            f"{several:,} conversations of several turns: the last answer is asked, the turns before are given."
        )
    if len(systems) > 1:
        notes.append(f"{len(systems):,} system prompts: each row is asked with its own.")
    format = data.format if all(not row.turns for row in asked) else PLAIN_FORMAT
    return HeldOut([turn_row(row, data.format) for row in asked], format, notes)


def system_of(row: Row) -> str | None:
    """A row's own system prompt; None where the row brings no turns of its own."""
    if not row.turns:
        return None
    return next((turn.text for turn in row.turns if turn.role == "system"), "")


def is_single(row: Row) -> bool:
    """Whether a row is one question with one answer."""
    return [turn.role for turn in row.turns if turn.role != "system"] in ([], ["user", "assistant"])


def plain_row(row: Row) -> dict[str, Any]:
    """A question with its answer, its input and its tests."""
    if row.turns:
        question, answer = (turn.text for turn in row.turns if turn.role != "system")
    else:
        question, answer = row.question, row.answer
    told: dict[str, Any] = {"id": row.id, "question": question, "input": row.input, "answer": answer}
    if tests := assertions(row.check):
        told["tests"] = tests
    return {name: value for name, value in told.items() if value}


def turn_row(row: Row, format: PromptFormat) -> dict[str, Any]:
    """A conversation up to its last answer, which is the reference."""
    if not row.turns:
        messages: list[Any] = format.messages({"question": row.question, "input": row.input})
        return {"id": row.id, "messages": messages, "answer": row.answer}
    last = max(at for at, turn in enumerate(row.turns) if turn.role == "assistant")
    messages = [{"role": turn.role, "content": turn.text} for turn in row.turns[:last]]
    return {"id": row.id, "messages": messages, "answer": row.turns[last].text}
