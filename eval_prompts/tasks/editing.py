"""A task while it is written on the page: what is wrong with it, field by field, and what would be asked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from eval_prompts.answers import Settings
from eval_prompts.tasks.catalogue import BUILT_IN, find_task, free_name, own_files
from eval_prompts.tasks.files import FRACTION, NAME, SETTINGS, WHOLE, scorers_of, settings_of, shots_of
from eval_prompts.tasks.questions import columns_of, make_questions, mapping_of
from eval_prompts.tasks.scorers.base import Scorer
from eval_prompts.tasks.scorers.names import KINDS
from eval_prompts.tasks.tables import Table
from eval_prompts.tasks.task import Question, Task, as_text
from eval_prompts.tasks.uploaded import table_of
from tuning.data.chat import Message, PromptFormat
from tuning.data.reading.layouts import guess_roles
from tuning.errors import UserError

SHOWN_ROWS = 5
LONGEST_CELL = 300
TEXT_OPTIONS = frozenset({"text", "pattern", "separator", "column", "code", "fields", "decimal"})
"""Options whose values stay as they are typed."""
LISTED = frozenset({"text"})
"""Options that take several texts, one a line."""
HIDDEN = frozenset({"own"})
"""Scorers that the page does not offer: code comes from files of this machine alone."""

ENCODING = re.compile(r": with --encoding (\S+) it reads")

T = TypeVar("T")


@dataclass
class Draft:
    """What has been understood of a task so far. ``problems`` are sentences by field; where there is none, ``task`` is
    the whole. ``shown`` is what can be asked already, whatever else is still wrong."""

    problems: dict[str, str] = field(default_factory=dict)
    task: Task | None = None
    shown: Task | None = None
    columns: list[str] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)
    rows: Sequence[Mapping[str, Any]] = ()
    notes: list[str] = field(default_factory=list)


def read_draft(sent: Mapping[str, Any]) -> Draft:
    """What the page's form holds as a task, or what is wrong with it. Raises nothing for any content."""
    draft = Draft()

    def tried(name: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except UserError as error:
            draft.problems[name] = str(error)
            return None

    def fail(name: str, words: str) -> UserError:
        return UserError(f"{name}: {words}")

    values = {name: plain_text(sent.get(name)) for name in ("name", "title", "description", "system", "user")}
    name = tried("name", lambda: free(values["name"].strip(), plain_text(sent.get("original")))) or ""
    shots = tried("shots", lambda: whole_shots(sent, fail)) or ()
    format = PromptFormat(values["system"].strip() or None, values["user"].strip() or None, shots)
    scorers = tried("score", lambda: chosen_scorers(sent.get("score"), fail)) or ()
    settings = tried("settings", lambda: settings_of({"settings": numbers(sent.get("settings"))}, fail)) or Settings()
    stop = tried("stop", lambda: replace(settings, stop=stop_texts(sent.get("stop"))).stop) or ()
    questions = tried("questions", lambda: questions_of(sent, format, scorers, draft)) or []
    if re.search(r": user (?:names|holds)\b", draft.problems.get("questions", "")):
        draft.problems.setdefault("user", draft.problems.pop("questions"))
    if questions and not {"questions", "user", "shots"} & draft.problems.keys():
        before = edited(sent)
        draft.shown = Task(
            name=name or "task",
            title=values["title"].strip(),
            description=values["description"].strip(),
            format=format,
            questions=questions,
            scorers=scorers,
            settings=replace(settings, stop=stop),
            show=sent.get("show") is not False,
            battery=before.battery if before else (),
            adapter=before.adapter if before else "",
        )
        draft.task = None if draft.problems else draft.shown
    return draft


def edited(sent: Mapping[str, Any]) -> Task | None:
    """The task that the form began with, if there was one: what the form does not show stays as it is there."""
    given = sent.get("questions")
    name = plain_text(sent.get("original")) or plain_text(given.get("task") if isinstance(given, dict) else None)
    try:
        return find_task(name) if name else None
    except UserError:  # it has been removed meanwhile
        return None


def whole_shots(sent: Mapping[str, Any], fail: Any) -> tuple[Message, ...]:
    """The example turns of the form. Raises UserError where one lacks its question or its answer."""
    shots = shots_of(sent, fail)
    for place, shot in enumerate(shots):
        if not shot["content"].strip():
            lacking = "an answer" if shot["role"] == "assistant" else "a question"
            raise fail("shots", f"example {place // 2 + 1} has no text for {lacking}: write it, or remove the example.")
    return shots


def plain_text(value: Any) -> str:
    """A field of the form as text."""
    return value.replace("\r\n", "\n") if isinstance(value, str) else ""


def free(name: str, original: str) -> str:
    """A name that a task may be kept under. Raises UserError for one that it may not."""
    if not name:
        raise UserError("name: give the task a name.")
    if not NAME.fullmatch(name) or name.startswith((".", "-")):
        raise UserError(
            "name: a name has 1 to 64 letters, digits, dots, dashes and underscores, no dot or dash first, such as "
            f"{free_name(name)}."
        )
    if name in BUILT_IN:
        raise UserError(f"name: {name} is the name of a built-in task: choose another.")
    if name != original and name in own_files():
        raise UserError(f"name: there is a task {name} already: choose another name, or edit that one.")
    return name


def chosen_scorers(value: Any, fail: Any) -> tuple[Scorer, ...]:
    """The scorers of the form, each with its options as they were typed."""
    specs = []
    for chosen in value if isinstance(value, list) else []:
        if not isinstance(chosen, dict) or not isinstance(chosen.get("options", {}), dict):
            raise UserError("score: each scorer has a name and options.")
        options = {
            name: option(name, text) for name, text in chosen.get("options", {}).items() if text not in ("", None)
        }
        specs.append({str(chosen.get("name")): options} if options else str(chosen.get("name")))
    return scorers_of(specs, None, lambda words: fail("score", words))


def option(name: str, text: Any) -> Any:
    """An option as it was typed: JSON where it looks like it, a number, yes or no, a list of lines, or a text."""
    if not isinstance(text, str):
        return text
    if text.lstrip()[:1] in ("{", "[") and name not in ("pattern", "separator"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise UserError(f"score: {name} looks like JSON, and is none.") from None
    if name in LISTED:
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        return lines if len(lines) > 1 else text.strip()
    if text.strip() in ("true", "false"):
        return text.strip() == "true"
    return number_or(text) if name not in TEXT_OPTIONS else text


def number_or(text: str) -> int | float | str:
    """A text as the number that it spells, else as it is."""
    word = text.strip()
    if WHOLE.fullmatch(word) and len(word) < 20:
        return int(word)
    return float(word) if FRACTION.fullmatch(word) else text


def numbers(value: Any) -> dict[str, Any]:
    """The settings of the form; those left empty are the usual ones."""
    given = value if isinstance(value, dict) else {}
    return {
        name: number_or(text) if isinstance(text, str) else text
        for name, text in given.items()
        if name not in SETTINGS or text not in ("", None)
    }


def stop_texts(value: Any) -> tuple[str, ...]:
    """Stop texts, one a line; ``\\n`` and ``\\t`` stand for a line's end and a tab."""
    lines = plain_text(value).split("\n")
    return tuple(line.replace("\\n", "\n").replace("\\t", "\t") for line in lines if line)


def questions_of(
    sent: Mapping[str, Any], format: PromptFormat, scorers: Sequence[Scorer], draft: Draft
) -> list[Question]:
    """The questions of the form's file, or those that the task had; ``draft`` is told of the columns. Raises UserError
    for the first row that cannot be asked."""
    given = sent.get("questions")
    given = given if isinstance(given, dict) else {}
    named = sent.get("columns")
    named = {str(part): str(column) for part, column in named.items()} if isinstance(named, dict) else {}
    if isinstance(given.get("file"), str):
        table = read_upload(given["file"])
        source = given["file"].partition("/")[2]
        numbered: Sequence[tuple[int, Mapping[str, Any]]] = table.rows
        unit = table.unit
        draft.notes += table.notes
    elif given.get("task"):
        task = find_task(plain_text(given["task"]))
        source, unit = task.name, "question"
        numbered = list(enumerate(task.rows(), 1))
    else:
        raise UserError("questions: paste some, upload a file, or take them from a data set.")
    draft.columns = columns_of(row for _, row in numbered)
    draft.rows = [row for _, row in numbered[:SHOWN_ROWS]]
    draft.parts = guessed(draft.columns, named, source)
    if not {"question", "messages", "turns"} & draft.parts.keys() and not format.fields:
        raise UserError(f"{source}: choose which column is the question (there are {', '.join(draft.columns)}).")
    return make_questions(numbered, format, scorers, source=source, unit=unit, named=named | draft.parts)


def read_upload(name: str) -> Table:
    """The rows of an uploaded file. Raises UserError, in words that do not speak of the command line."""
    try:
        return table_of(name)
    except UserError as error:
        words = str(error).replace(", or give its --encoding", "")
        raise UserError(ENCODING.sub(r": save it as UTF-8; as \1 it reads", words)) from None


def guessed(columns: Sequence[str], named: Mapping[str, str], source: str) -> dict[str, str]:
    """Which column is which part: as ``named``, by the usual names, or by a guess where neither tells the question."""
    parts = mapping_of(columns, named, source)
    by_words = {role: column for column, role in guess_roles(list(columns)).items()}
    if not {"question", "messages", "turns"} & parts.keys() or parts.get("question") == by_words.get("question"):
        free = [part for part in ("question", "answer") if part not in parts and part not in named]
        parts |= {part: by_words[part] for part in free if part in by_words and by_words[part] not in parts.values()}
    return parts


def told(draft: Draft) -> dict[str, Any]:
    """A draft for the page: problems, columns with their parts, the first rows, the count of questions."""
    task = draft.shown
    return {
        "problems": draft.problems,
        "columns": draft.columns,
        "parts": draft.parts,
        "rows": [{name: as_text(value)[:LONGEST_CELL] for name, value in row.items()} for row in draft.rows],
        "notes": draft.notes,
        "count": len(task.questions) if task else 0,
    }


def form_of(task: Task) -> dict[str, Any]:
    """A task as the form holds it."""
    given = task.settings.to_dict()
    usual = Settings().to_dict()
    return {
        "original": task.name if task.name not in BUILT_IN else "",
        "name": task.name if task.name not in BUILT_IN else "",
        "title": task.title,
        "description": task.description,
        "system": task.format.system or "",
        "user": task.format.user or "",
        "shots": [dict(shot) for shot in task.format.shots],
        "score": [
            {"name": scorer.name, "options": {name: typed(value) for name, value in scorer.options.items()}}
            for scorer in task.scorers
        ],
        "settings": {name: "" if given[name] == usual[name] else str(given[name]) for name in SETTINGS},
        "stop": "\n".join(text.replace("\n", "\\n").replace("\t", "\\t") for text in task.settings.stop),
        "show": task.show,
        "questions": {"task": task.name},
        "columns": {},
    }


def typed(value: Any) -> str:
    """An option as one would type it."""
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return "\n".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def scorer_list() -> list[dict[str, Any]]:
    """The scorers that the form offers, each with what it asks and its options."""
    return [
        {
            "name": name,
            "about": kind.summary.replace("``", ""),
            "reference": kind.reference,
            "options": [
                {"name": each, "usual": "" if callable(default) or default is None else typed(default)}
                for each, default in kind.options.items()
            ],
        }
        for name, kind in KINDS.items()
        if name not in HIDDEN
    ]
