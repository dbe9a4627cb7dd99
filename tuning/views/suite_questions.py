"""The questions of a suite: of a file of questions with or without answers, a task file, or the embedded ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tuning.data.dataset import load, read_source
from tuning.data.place import is_place
from tuning.data.probe_questions import PROBE_QUESTIONS
from tuning.data.reading.layouts import CHATS, CONTEXTS, QUESTIONS, plain_name
from tuning.data.reading.readers import read_file
from tuning.data.reading.text_files import kind_of
from tuning.data.sources import local_file
from tuning.errors import UserError

TASK_ENDINGS = (".yaml", ".yml")
QUESTION_COLUMNS = ("question", *(name for name in QUESTIONS if name != "question"), "text", "input")
USERS = ("user", "human")


def probes() -> list[str]:
    """The five probe questions."""
    return list(PROBE_QUESTIONS.values())


def tested_rows() -> list[str]:
    """The embedded set's test rows that have tests."""
    return [f"{row.question} {row.input}".strip() for row in load().test if row.check]


EMBEDDED_SUITES: dict[str, Callable[[], list[str]]] = {"python": probes, "python-suite": tested_rows}


def questions_of(name: str) -> list[str]:
    """The questions of a suite as they stand there: ``python``, ``python-suite``, a task file (YAML), a file of
    questions (MBPP's and HumanEval's formats and any layout of training data, the answers not needed), a table, or a
    Hub data set. Raises UserError for what cannot be read, naming the line that holds no question.
    """
    if name in EMBEDDED_SUITES:
        return EMBEDDED_SUITES[name]()
    path = Path(name).expanduser()
    if path.suffix.lower() in TASK_ENDINGS:
        return task_questions(path)
    if kind_of(path) is not None and not is_place(name):
        return list(file_questions(path, ()))
    try:
        if not is_place(name):
            local_file(name)
    except UserError:
        known = ", ".join(EMBEDDED_SUITES)
        raise UserError(f"There is no suite {name!r}: name {known}, a task file, or a file of questions.") from None
    return [f"{row.question} {row.input}".strip() for row in read_source(name).rows]


def file_questions(path: Path, first: tuple[str, ...]) -> Iterator[str]:
    """The question in each row of a file; columns named in ``first`` come before the usual names."""
    for line, row in read_file(path).rows:
        yield question_in(row, first, f"line {line} of {path.name}")


def question_in(row: Mapping[str, Any], first: tuple[str, ...], where: str) -> str:
    """A row's question with its input, or the user's words of its messages. Raises UserError if it has none."""
    named = {plain_name(column): value for column, value in row.items()}
    for column in (*first, *QUESTION_COLUMNS, *CHATS):
        value = named.get(plain_name(column))
        if isinstance(value, str) and value.strip():
            beside = [named[name] for name in CONTEXTS if name != column and isinstance(named.get(name), str)]
            return " ".join([value, *beside]).strip()
        if isinstance(value, list) and (words := user_words(value)):
            return words
    raise UserError(f"{where} holds no question ({', '.join(row)}): name its column question, prompt or text.")


def user_words(messages: list[Any]) -> str:
    """What the user says in a list of messages."""
    said = []
    for message in messages:
        if not isinstance(message, Mapping):
            continue
        role, content = (message.get(a, message.get(b)) for a, b in (("role", "from"), ("content", "value")))
        if str(role).lower() in USERS:
            parts = content if isinstance(content, list) else [content]
            texts = (part.get("text") if isinstance(part, Mapping) else part for part in parts)
            said += [text for text in texts if isinstance(text, str)]
    return " ".join(said)


def task_questions(path: Path) -> list[str]:
    """The questions of a task file, which stand in it or in a file beside it."""
    import yaml

    try:
        task = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"There is no task file {path}.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"{path.name} is no task that can be read ({type(error).__name__}).") from error
    questions = task.get("questions") if isinstance(task, dict) else None
    columns = task.get("columns") if isinstance(task, dict) else None
    asked = columns.get("question") if isinstance(columns, dict) else None
    first = (asked,) if isinstance(asked, str) else ()
    if isinstance(questions, str):
        return list(file_questions(path.parent / questions, first))
    if not isinstance(questions, list):
        raise UserError(f"{path.name} is no task with questions: it needs a list of them, or the name of a file.")
    rows = [each if isinstance(each, dict) else {"question": each} for each in questions]
    return [question_in(row, first, f"question {at} of {path.name}") for at, row in enumerate(rows, start=1)]
