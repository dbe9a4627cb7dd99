"""From a data source of any supported layout to questions with answers, recognised by its columns."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.data.place import is_place
from tuning.errors import UserError
from tuning.quiet import quiet

if TYPE_CHECKING:
    from datasets import Dataset

EMBEDDED = "python_qa"
EMBEDDED_FILE = Path(__file__).parents[1] / "datasets" / "python_qa.jsonl"
BUILDERS = {".jsonl": "json", ".ndjson": "json", ".json": "json", ".csv": "csv", ".parquet": "parquet"}
MESSAGE_COLUMNS = {"message", "message_type", "conversation_id"}
# (question, input, answer) in the order in which they are tried.
COLUMN_NAMES = (
    ("instruction", "input", "output"),
    ("prompt", "input", "completion"),
    ("question", "input", "answer"),
    ("QuestionAsked", "QuestionInput", "OutputAnswer"),
    ("text", "input", "code"),
)


@dataclass(frozen=True)
class RawRow:
    """One question with its answer as the source has it; ``check`` is an assertion script where there is one."""

    question: str
    input: str
    answer: str
    check: str = ""


@dataclass
class Source:
    """What a source holds. ``unusable`` counts, by reason, what could not even be read as a question with an answer."""

    name: str
    rows: list[RawRow]
    revision: str = ""
    unusable: Counter[str] = field(default_factory=Counter)


def read_source(name: str) -> Source:
    """Read 'python_qa' (the embedded set), a local JSONL, JSON, CSV or Parquet file, a Hub data set id, or a table
    (``duckdb:FILE?table=T&where=SQL`` or ``md:DATABASE?table=T&where=SQL``).

    Raises UserError, in one line, if the source is missing, damaged, empty, or has no columns that are understood.
    """
    if is_place(name):
        from tuning.ingest.read_back import read_table

        return read_table(name)
    path = local_file(name)
    if path is None:
        table, revision = load_from_hub(name)
    else:
        table, revision = load_file(path), "embedded" if name == EMBEDDED else ""
    if not len(table):
        raise UserError(f"The data source {name} holds no rows.")
    source = Source(name, [], revision)
    source.rows = list(rows_of(table, table.column_names, source))
    return source


def local_file(name: str) -> Path | None:
    """The file of a source's name; None if it names a Hub data set. Raises UserError if it can be neither."""
    if name == EMBEDDED:
        return EMBEDDED_FILE
    path = Path(name).expanduser()
    if path.exists() or path.suffix.lower() in BUILDERS:
        return path
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return None
    raise UserError(
        f"There is no data source {name.partition('?')[0]!r}: name {EMBEDDED}, a file, a Hub data set (OWNER/NAME), or "
        "a table (duckdb:FILE?table=TABLE)."
    )


def load_file(path: Path) -> Dataset:
    """A local file as a table. Raises UserError naming the line of a JSONL file that is malformed."""
    if not path.is_file():
        raise UserError(f"There is no data file {path}.")
    builder = BUILDERS.get(path.suffix.lower())
    if builder is None:
        raise UserError(f"{path.name} is no data file: use one of {', '.join(BUILDERS)}.")
    if path.stat().st_size == 0:
        raise UserError(f"The data file {path.name} is empty.")
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        check_lines(path)
    from datasets import load_dataset

    return quietly(lambda: load_dataset(builder, data_files=str(path), split="train"), path.name)


def check_lines(path: Path) -> None:
    """Raise UserError naming the first line that is not a JSON object in UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8"))
            except ValueError as error:
                reason = error.msg if isinstance(error, json.JSONDecodeError) else "it is not UTF-8"
                raise UserError(f"{path.name} is malformed in line {number}: {reason}.") from error
            if not isinstance(row, dict):
                raise UserError(f"{path.name} is malformed in line {number}: it is no JSON object.")


def load_from_hub(name: str) -> tuple[Dataset, str]:
    """All splits of a Hub data set as one table, and its revision. Raises UserError if it cannot be had."""
    from datasets import concatenate_datasets, load_dataset

    splits = quietly(lambda: load_dataset(name), name)
    return concatenate_datasets(list(splits.values())), hub_revision(name)


def hub_revision(name: str) -> str:
    """The commit of a Hub data set, or '' where the Hub cannot be asked (the data then comes from the cache)."""
    from huggingface_hub import HfApi

    try:
        return (HfApi().dataset_info(name, timeout=10).sha or "")[:12]
    except Exception:
        return ""


def quietly(load: Any, name: str) -> Any:
    """Call a loader of the ``datasets`` library without its bars; its errors become one line for the user."""
    import datasets  # noqa: F401, so that its bars are there to be switched off

    try:
        with quiet():
            return load()
    except (ConnectionError, TimeoutError) as error:
        raise UserError(f"The data set {name} could not be fetched: check the network, or use {EMBEDDED}.") from error
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if "corresponds to no data" in reason:
            reason = "it holds no rows"
        if type(error).__name__ == "DatasetNotFoundError":
            reason = "the Hub knows no such data set, or it is private or out of reach"
        raise UserError(f"The data source {name} cannot be read: {reason}") from error


def rows_of(table: Iterable[Mapping[str, Any]], columns: list[str], source: Source) -> Iterator[RawRow]:
    """The rows of a table whose columns are understood. Raises UserError naming them if they are not."""
    have = set(columns)
    if have >= MESSAGE_COLUMNS:
        return join_messages(table, source)
    if "messages" in have:
        return from_messages(table, source)
    question, given, answer, check = question_columns(columns, source.name)
    return (RawRow(text(row[question]), text(row.get(given)), text(row[answer]), text(row.get(check))) for row in table)


def understood(columns: Iterable[str]) -> bool:
    """Whether a table with these columns can be trained on."""
    have = set(columns)
    known = (MESSAGE_COLUMNS, {"messages"}, *({question, answer} for question, _, answer in COLUMN_NAMES))
    return any(have >= needed for needed in known)


def question_columns(columns: list[str], name: str) -> tuple[str, str, str, str]:
    """The names of question, input, answer and check among a table's columns; input and check may be missing there.

    Raises UserError naming the columns of the source ``name`` if they are not understood.
    """
    for question, given, answer in COLUMN_NAMES:
        if {question, answer} <= set(columns):
            return question, given, answer, "AnswerCheck" if "AnswerCheck" in columns else "check"
    known = "; ".join(f"{question}/{answer}" for question, _, answer in COLUMN_NAMES)
    raise UserError(
        f"{name} has no usable columns ({', '.join(columns)}): "
        f"it needs {known}; messages; or {'/'.join(sorted(MESSAGE_COLUMNS))}."
    )


def text(value: Any) -> str:
    """A cell as text; a missing one is empty."""
    return "" if value is None else str(value)


def join_messages(table: Iterable[Mapping[str, Any]], source: Source) -> Iterator[RawRow]:
    """One message per row, joined by conversation whatever their order; incomplete conversations are counted."""
    conversations: dict[Any, dict[str, str]] = {}
    for row in table:
        conversations.setdefault(row["conversation_id"], {})[text(row["message_type"])] = text(row["message"])
    for messages in conversations.values():
        if "instruction" in messages and "output" in messages:
            yield RawRow(messages["instruction"], messages.get("input", ""), messages["output"])
        else:
            source.unusable["incomplete conversation"] += 1


def from_messages(table: Iterable[Mapping[str, Any]], source: Source) -> Iterator[RawRow]:
    """Chat messages: the first user turn and the answer to it; system turns and later turns are counted, not used."""
    for row in table:
        messages = row["messages"] or []
        turns = [(turn.get("role"), text(turn.get("content"))) for turn in messages]
        spoken = [turn for turn in turns if turn[0] != "system"]
        if [role for role, _ in spoken[:2]] != ["user", "assistant"]:
            source.unusable["no question followed by an answer"] += 1
            continue
        if len(spoken) > 2:
            source.unusable["later turns of a conversation (first one kept)"] += 1
        yield RawRow(spoken[0][1], "", spoken[1][1])
