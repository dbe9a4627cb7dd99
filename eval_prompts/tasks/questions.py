"""From rows to a task's questions: which column is what, and what is wrong with a row, by file, line and field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from eval_prompts.tasks.scorers.base import Scorer
from eval_prompts.tasks.scorers.names import make, nearest
from eval_prompts.tasks.task import Question, as_text
from eval_prompts.tasks.turns import (
    NONE,
    Turn,
    Turns,
    divided,
    read_messages,
    read_turns,
    references_by_turn,
    with_turns,
)
from tuning.data.chat import PromptFormat, check_question
from tuning.errors import UserError

MOST = 100_000
BRACES = re.compile(r"\{\{([^{}]*)\}\}|\{([^{}]*)\}")
NAMES = {
    "id": ("id", "task_id"),
    "title": ("title",),
    "question": ("question", "prompt", "instruction", "text"),
    "answer": ("answer", "reference", "references", "expected", "completion", "output", "response"),
    "messages": ("messages", "conversation"),
    "turns": ("turns",),
    "tags": ("tags",),
    "checks": ("checks",),
}
"""What each part of a question may be called, first come, first served."""


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """All columns that rows have, in order."""
    return list(dict.fromkeys(name for row in rows for name in row))


def mapping_of(columns: Sequence[str], named: Mapping[str, str], where: str) -> dict[str, str]:
    """Which column is which part of a question: as ``named`` ('' for none), else by the usual names. Raises UserError
    for a part or a column that there is not."""
    for part, column in named.items():
        if part not in NAMES:
            raise UserError(f"{where}: there is no part {part!r} of a question{nearest(part, NAMES)}")
        if column and column not in columns:
            raise UserError(f"{where}: the column {column!r} for {part} is not there{nearest(column, columns)}")
    lowered = {column.lower(): column for column in reversed(columns)}
    found = {part: next((lowered[name] for name in names if name in lowered), "") for part, names in NAMES.items()}
    parts = {part: column for part, column in (found | dict(named)).items() if column}
    if "question" in parts and parts["question"] == parts.get("answer"):
        raise UserError(f"{where}: the column {parts['question']!r} is both question and answer: choose another.")
    return parts


def needed(format: PromptFormat) -> list[str]:
    """The columns without which a question cannot be put into a format; an input may be missing."""
    return [name for name in format.fields if name != "input"]


def named_like(columns: Iterable[str]) -> dict[str, str]:
    """Columns whose names are no words, by the words that a template can name them with: Good reply by Good_reply."""
    return {re.sub(r"\W+", "_", column.strip()): column for column in columns if re.search(r"\W", column)}


def check_template(format: PromptFormat, columns: Sequence[str], where: str) -> None:
    """Raise UserError where a user's turn seems to name columns and does not: what it holds would be asked as it is."""
    template = format.user or ""
    words = {re.sub(r"\W+", "_", column.strip()): column for column in columns}
    for found in BRACES.finditer(template):
        inner = found.group(1) if found.group(1) is not None else found.group(2)
        name = re.sub(r"\W+", "_", inner.strip())
        if name in words and f"{{{name}}}" != found.group() and not (found.group(1) and format.fields):
            raise UserError(f"{where}: user holds {found.group()}, which is no column: write {{{name}}}.")
    if template and not format.fields and "question" in columns:
        raise UserError(f"{where}: user names no column, so that all questions would be the same: write {{question}}.")


def make_questions(
    rows: Sequence[tuple[int, Mapping[str, Any]]],
    format: PromptFormat,
    scorers: Sequence[Scorer],
    *,
    source: str,
    unit: str = "line",
    named: Mapping[str, str] | None = None,
    folder: Path | None = None,
    turns: Turns = "given",
) -> list[Question]:
    """The questions of rows that were read from ``source``, each with its ``unit`` number there; a row that is a
    conversation gives one for each turn that is asked (see :mod:`eval_prompts.tasks.turns`).

    Raises UserError, naming source, line and field, for a row that cannot be asked or that a scorer cannot judge.
    """
    if len(rows) > MOST:
        raise UserError(f"{source} holds {len(rows):,} questions; at most {MOST:,} are taken.")
    columns = columns_of(row for _, row in rows)
    parts = mapping_of(columns, named or {}, source)
    if not {"question", "messages", "turns"} & parts.keys() and not format.fields:
        raise UserError(f"{source} has no column question (there are {', '.join(columns)}): name it under columns.")
    check_template(format, [*columns, *parts], source)
    known = {*columns, *named_like(columns), *parts, *(["question"] if "turns" in parts else [])}
    for name in needed(format):
        if name not in known:
            raise UserError(f"{source}: user names the column {name!r}, which is not there{nearest(name, columns)}")
    seen: dict[str, int] = {}
    questions: list[Question] = []
    for place, (number, row) in enumerate(rows, 1):
        where = f"{source}, {unit} {number}"
        found = _asked(row, parts, format, where, str(place), folder, turns)
        for question in found:
            if question.id in seen:
                raise UserError(
                    f"{where}, {parts.get('id', 'id')}: {question.id!r} stands in {unit} {seen[question.id]} already: "
                    "each question needs an id of its own, or no column for it."
                )
            seen[question.id] = number
            needing = [scorer for scorer in question.checks if scorer.needs_reference and not question.references]
            if not any(one.references for one in found):
                needing += [scorer for scorer in scorers if scorer.needs_reference]
            if needing:
                column = parts.get("answer", "answer")
                raise UserError(f"{where}, {column}: {needing[0].name} needs a reference, and this question has none.")
            for scorer in (*scorers, *question.checks):
                for column in scorer.columns:
                    if not question.columns.get(column):
                        raise UserError(f"{where}, {column}: {scorer.name} needs this column, and it is empty.")
        questions += found
    return questions


def _asked(
    row: Mapping[str, Any],
    parts: Mapping[str, str],
    format: PromptFormat,
    where: str,
    number: str,
    folder: Path | None,
    mode: Turns,
) -> list[Question]:
    """The question of a row, or, where it is a conversation, those of its turns."""
    given = read_messages(row.get(parts.get("messages", "")), f"{where}, {parts.get('messages', '')}")
    told = divided(given, mode, f"{where}, {parts.get('messages', '')}")
    later = read_turns(row.get(parts.get("turns", "")), f"{where}, {parts.get('turns', '')}")
    if not told and later and not as_text(row.get(parts.get("question", ""))).strip():
        row = {**row, parts.get("question", "question"): later[0].text}
        parts = {"question": "question", **parts}
        head = later.pop(0)
        told = [Turn(head.messages if len(head.messages) > 1 else [], head.references, head.checks)]
    first = told[0] if told else Turn()
    later = [*told[1:], *later]
    answers = row.get(parts.get("answer", ""))
    by_turn = references_by_turn(answers, 1 + len(later))
    if by_turn is not None:
        first.references, *rest = ([*_references(one)] for one in by_turn)
        for turn, references in zip(later, rest, strict=True):
            turn.references = references
    elif later and not later[-1].references:
        later[-1].references = [*_references(answers)]
    if later:
        row = {name: value for name, value in row.items() if name != parts.get("answer", "")}
    if first.checks is not None:
        row = {**row, parts.get("checks", "checks"): first.checks}
        parts = {"checks": "checks", **parts}
    question = _question(row, parts, format, where, number, folder, first)
    asked = with_turns(question, later)
    checks = [_checks(turn.checks, f"{where}, {parts.get('turns', '')}", folder) for turn in later]
    return [asked[0], *(replace(one, checks=own) for one, own in zip(asked[1:], checks, strict=True))]


def _question(
    row: Mapping[str, Any],
    parts: Mapping[str, str],
    format: PromptFormat,
    where: str,
    number: str,
    folder: Path | None,
    turn: Turn,
) -> Question:
    def part(name: str) -> Any:
        return row.get(parts.get(name, ""))

    messages = turn.messages
    columns = {str(name): value for name, value in row.items() if value is not None and name != parts.get("turns")}
    columns |= {name: columns[column] for name, column in parts.items() if column in columns and name not in columns}
    if lacking := [name for name in format.fields if name not in columns]:
        like = named_like(columns)
        columns |= {name: columns[like[name]] for name in lacking if name in like}
    text = as_text(part("question")).strip()
    if not text and messages:
        text = turn.text
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
    references = _references(part("answer")) or tuple(turn.references)
    return Question(
        id=as_text(part("id")).strip() or number,
        text=text,
        title=as_text(part("title")).strip(),
        columns={"question": text, **columns},
        references=references,
        messages=tuple(messages),
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


def _checks(value: Any, where: str, folder: Path | None) -> tuple[Scorer, ...]:
    """A question's own scorers: a list as under ``score``, in a table as JSON."""
    is_cell = isinstance(value, str)
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
        raise UserError(f"{where}: {error}{NONE.format(part='checks') if is_cell else ''}") from None
