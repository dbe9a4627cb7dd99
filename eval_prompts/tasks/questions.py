"""From rows to a task's questions: which column is what, and what is wrong with a row, by file, line and field."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eval_prompts.tasks.scorers.base import Scorer
from eval_prompts.tasks.scorers.names import make, nearest
from eval_prompts.tasks.task import Question, as_text
from tuning.data.chat import Message, PromptFormat, check_question, is_message
from tuning.errors import UserError

MOST = 100_000
NAMES = {
    "id": ("id", "task_id"),
    "title": ("title",),
    "question": ("question", "prompt", "instruction", "text"),
    "answer": ("answer", "reference", "references", "expected", "completion", "output", "response"),
    "messages": ("messages", "conversation"),
    "tags": ("tags",),
    "checks": ("checks",),
}
"""What each part of a question may be called, first come, first served."""
ROLES = ("system", "user", "assistant")


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """All columns that rows have, in order."""
    return list(dict.fromkeys(name for row in rows for name in row))


def mapping_of(columns: Sequence[str], named: Mapping[str, str], where: str) -> dict[str, str]:
    """Which column is which part of a question: as ``named``, else by the usual names. Raises UserError for a part or
    a column that there is not."""
    for part, column in named.items():
        if part not in NAMES:
            raise UserError(f"{where}: there is no part {part!r} of a question{nearest(part, NAMES)}")
        if column not in columns:
            raise UserError(f"{where}: the column {column!r} for {part} is not there{nearest(column, columns)}")
    lowered = {column.lower(): column for column in reversed(columns)}
    found = {part: next((lowered[name] for name in names if name in lowered), "") for part, names in NAMES.items()}
    return {part: column for part, column in (found | dict(named)).items() if column}


def needed(format: PromptFormat) -> list[str]:
    """The columns without which a question cannot be put into a format; an input may be missing."""
    return [name for name in format.fields if name != "input"]


def make_questions(
    rows: Sequence[tuple[int, Mapping[str, Any]]],
    format: PromptFormat,
    scorers: Sequence[Scorer],
    *,
    source: str,
    unit: str = "line",
    named: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> list[Question]:
    """The questions of rows that were read from ``source``, each with its ``unit`` number there.

    Raises UserError, naming source, line and field, for a row that cannot be asked or that a scorer cannot judge.
    """
    if len(rows) > MOST:
        raise UserError(f"{source} holds {len(rows):,} questions; at most {MOST:,} are taken.")
    columns = columns_of(row for _, row in rows)
    parts = mapping_of(columns, named or {}, source)
    if "question" not in parts and "messages" not in parts and not format.fields:
        raise UserError(f"{source} has no column question (there are {', '.join(columns)}): name it under columns.")
    for name in needed(format):
        if name not in columns and name not in parts:
            raise UserError(f"{source}: user names the column {name!r}, which is not there{nearest(name, columns)}")
    seen: dict[str, int] = {}
    questions: list[Question] = []
    for number, row in rows:
        where = f"{source}, {unit} {number}"
        question = _question(row, parts, format, where, str(len(questions) + 1), folder)
        if question.id in seen:
            raise UserError(f"{where}, id: {question.id!r} stands in {unit} {seen[question.id]} already.")
        seen[question.id] = number
        for scorer in (*scorers, *question.checks):
            if scorer.needs_reference and not question.references:
                column = parts.get("answer", "answer")
                raise UserError(f"{where}, {column}: {scorer.name} needs a reference, and this question has none.")
            for column in scorer.columns:
                if not question.columns.get(column):
                    raise UserError(f"{where}, {column}: {scorer.name} needs this column, and it is empty.")
        questions.append(question)
    return questions


def _question(
    row: Mapping[str, Any], parts: Mapping[str, str], format: PromptFormat, where: str, number: str, folder: Path | None
) -> Question:
    def part(name: str) -> Any:
        return row.get(parts.get(name, ""))

    messages, last = _messages(part("messages"), f"{where}, {parts.get('messages', '')}")
    columns = {str(name): value for name, value in row.items() if value is not None}
    columns |= {name: columns[column] for name, column in parts.items() if column in columns and name not in columns}
    text = as_text(part("question")).strip()
    if not text and messages:
        text = next(turn["content"].strip() for turn in reversed(messages) if turn["role"] == "user")
    if not text and format.fields and "question" not in format.fields:
        text = format.user_turn({name: as_text(columns.get(name, ""), name) for name in format.fields})
    if not text:
        raise UserError(f"{where}, {parts.get('question', 'question')}: the question is empty.")
    try:
        check_question(text)
    except UserError as error:
        raise UserError(f"{where}, {parts.get('question', 'question')}: {error}") from None
    if not messages:
        for name in needed(format):
            if not as_text(columns.get(name, "")).strip():
                raise UserError(f"{where}, {name}: user names this column, and it is empty.")
    references = _references(part("answer")) or ((last,) if last else ())
    return Question(
        id=as_text(part("id")).strip() or number,
        text=text,
        title=as_text(part("title")).strip(),
        columns={"question": text, **columns},
        references=references,
        messages=messages,
        tags=_tags(part("tags")),
        checks=_checks(part("checks"), f"{where}, {parts.get('checks', '')}", folder),
    )


def _references(value: Any) -> tuple[str, ...]:
    """A cell's references: a list is several; an object is JSON."""
    values = value if isinstance(value, list) else [value]
    return tuple(text for item in values if (text := as_text(item)).strip())


def _tags(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else as_text(value).split(",")
    return tuple(tag for item in values if (tag := str(item).strip()))


def _messages(value: Any, where: str) -> tuple[tuple[Message, ...], str]:
    """A conversation up to the turn that is to be answered, and the answer that followed it, if one did."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise UserError(f"{where}: a conversation is a list of turns in JSON.") from None
    if not value:
        return (), ""
    if not isinstance(value, list) or not all(is_message(turn) and turn["role"] in ROLES for turn in value):
        raise UserError(f"{where}: each turn has a role ({', '.join(ROLES)}) and a content.")
    turns = [Message(role=turn["role"], content=turn["content"]) for turn in value]
    last = turns.pop()["content"] if turns[-1]["role"] == "assistant" else ""
    if not turns or turns[-1]["role"] != "user":
        raise UserError(f"{where}: a conversation ends with the user's turn, or with the answer to it.")
    return tuple(turns), last


def _checks(value: Any, where: str, folder: Path | None) -> tuple[Scorer, ...]:
    """A question's own scorers: a list as under ``score``, in a table as JSON."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = [name.strip() for name in value.split(",")]
    if not value:
        return ()
    try:
        return tuple(make(spec, folder) for spec in (value if isinstance(value, list) else [value]))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
