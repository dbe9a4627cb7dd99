"""The questions of a suite: of a file of questions with or without answers, a task file, or the embedded ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuning.data.dataset import load
from tuning.data.place import is_place
from tuning.data.probe_questions import PROBE_QUESTIONS
from tuning.data.reading.exchanges import exchange
from tuning.data.reading.layouts import CHATS, CONTEXTS, QUESTIONS, guess_roles, plain_name
from tuning.data.reading.messages import CONTENT_KEYS, ROLES, Unusable, message_list, speaker
from tuning.data.reading.readers import read_file
from tuning.data.reading.records import Record
from tuning.data.reading.text_files import kind_of
from tuning.data.sources import local_file
from tuning.errors import UserError

TASK_ENDINGS = (".yaml", ".yml")
QUESTION_COLUMNS = ("question", *(name for name in QUESTIONS if name != "question"), "text", "input")


def probes() -> list[str]:
    """The five probe questions."""
    return list(PROBE_QUESTIONS.values())


def tested_rows() -> list[str]:
    """The embedded set's test rows that have tests."""
    return [f"{row.question} {row.input}".strip() for row in load().test if row.check]


EMBEDDED_SUITES: dict[str, Callable[[], list[str]]] = {"python": probes, "python-suite": tested_rows}


@dataclass
class Suite:
    """A suite's questions, the columns that they were taken from, and how many rows hold none.

    ``first`` are columns that go before the usual ones; ``only`` says that no others are meant.
    """

    first: tuple[str, ...] = ()
    only: bool = False
    questions: list[str] = field(default_factory=list)
    columns: dict[str, None] = field(default_factory=dict)
    empty: int = 0

    def words(self) -> str:
        """Where the questions are from, for a message; '' where that is plain."""
        told = [f"its columns {' and '.join(self.columns)}" if len(self.columns) > 1 else ""]
        if len(self.columns) == 1:
            told = [f"its column {next(iter(self.columns))}"]
        if self.empty:
            told.append(f"{self.empty:,} rows of it hold no question")
        return ", ".join(filter(None, told))

    def names(self, row: Mapping[str, Any]) -> Iterator[str]:
        """The names under which a question may stand, the likeliest first."""
        yield from self.first
        if not self.only:
            yield from (*QUESTION_COLUMNS, *CHATS)
            yield from (column for column, role in guess_roles(list(row)).items() if role == "question")

    def add(self, row: Mapping[str, Any]) -> bool:
        """Take the question in a row, with its input, or the user's words of its messages; False if it has none."""
        named: dict[str, str] = {}
        for column in row:
            named.setdefault(plain_name(column), column)
        for name in self.names(row):
            column = named.get(plain_name(name), "")
            value = row.get(column)
            if name in CHATS:
                value = message_list(value) or value
            if isinstance(value, str) and value.strip():
                beside = [named[name] for name in CONTEXTS if named.get(name, column) != column]
                texts = {name: text for name in beside if isinstance(text := row[name], str) and text}
                self.columns |= dict.fromkeys([column, *texts])
                self.questions.append(" ".join([value, *texts.values()]).strip())
                return True
            if isinstance(value, list) and (words := user_words(value)):
                self.columns |= {column: None}
                self.questions.append(words)
                return True
        return False


def questions_of(name: str) -> list[str]:
    """The questions of a suite; see :func:`suite_of`."""
    return suite_of(name).questions


def suite_of(name: str, column: str | None = None) -> Suite:
    """The questions of a suite as they stand there: ``python``, ``python-suite``, a task file (YAML), a file of
    questions (MBPP's and HumanEval's formats and any layout of training data, the answers not needed), a table, or a
    Hub data set, whose rows without a question are counted.

    ``column`` holds the questions; else it is found by its name. Raises UserError for what cannot be read or holds no
    question, naming the line of a file.
    """
    suite = Suite() if column is None else Suite((column,), only=True)
    if name in EMBEDDED_SUITES:
        return Suite(questions=EMBEDDED_SUITES[name]())
    path = Path(name).expanduser()
    if path.suffix.lower() in TASK_ENDINGS:
        return task_questions(path)
    if (kind_of(path) is not None or path.is_dir()) and not is_place(name):
        return file_questions(path, suite)
    if is_place(name):
        from tuning.ingest.read_back import plain_rows

        return stored_questions(name, plain_rows(name), suite)
    try:
        local_file(name)
    except UserError:
        known = ", ".join(EMBEDDED_SUITES)
        raise UserError(
            f"There is no suite {name!r}: name {known}, a task file, a file of questions, a table, or a Hub data set "
            "(OWNER/NAME?config=CONFIG&split=SPLIT)."
        ) from None
    from tuning.data import hub_data

    return stored_questions(name, hub_data.rows_of(name, hub_data.load(name).table), suite)


def file_questions(path: Path, suite: Suite) -> Suite:
    """The suite with the question in each row of a file."""
    for line, row in read_file(path).rows:
        if not suite.add(row):
            raise no_question(f"line {line} of {path.name}", row)
    return suite


def stored_questions(name: str, records: Iterable[Record], suite: Suite) -> Suite:
    """The suite with the question in each row of a table or a Hub data set. Raises UserError if not one has any."""
    row: Mapping[str, Any] = {}
    for _, row in records:
        suite.empty += not suite.add(row)
    if not suite.questions:
        raise no_question(name, row)
    return suite


def no_question(where: str, row: Mapping[str, Any]) -> UserError:
    """The error for what has no question."""
    return UserError(
        f"{where} holds no question ({', '.join(row)}): name its column question, prompt or text, or give it with "
        "--against-column."
    )


def user_words(messages: list[Any]) -> str:
    """What the user says in a list of messages, in whichever of their spellings; '' for nothing."""
    said: list[str] = []
    for message in messages:
        try:
            said += [turn.text for turn in exchange(message, lambda _: None) if turn.role == "user"]
        except Unusable:  # an image beside the question, say: its words count all the same
            said += words_beside(message)
    return " ".join(said)


def words_beside(message: Any) -> list[str]:
    """The texts of a user's message that holds more than text."""
    if not isinstance(message, Mapping) or ROLES.get(speaker(message)) != "user":
        return []
    content = next((message[key] for key in CONTENT_KEYS if key in message), None)
    parts = content if isinstance(content, list) else [content]
    texts = (part.get("text") if isinstance(part, Mapping) else part for part in parts)
    return [text for text in texts if isinstance(text, str)]


def task_questions(path: Path) -> Suite:
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
    suite = Suite((asked,) if isinstance(asked, str) else ())
    if isinstance(questions, str):
        return file_questions(path.parent / questions, suite)
    if not isinstance(questions, list):
        raise UserError(f"{path.name} is no task with questions: it needs a list of them, or the name of a file.")
    for at, each in enumerate(questions, start=1):
        row = each if isinstance(each, dict) else {"question": each}
        if not suite.add(row):
            raise no_question(f"question {at} of {path.name}", row)
    return suite
