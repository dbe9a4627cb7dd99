"""Task files: YAML that a person writes. The schema stands in docs/tasks.md."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from eval_prompts.answers import Settings
from eval_prompts.tasks.questions import make_questions
from eval_prompts.tasks.scorers.base import Scorer
from eval_prompts.tasks.scorers.names import make, nearest
from eval_prompts.tasks.tables import read_table
from eval_prompts.tasks.task import Question, Task
from eval_prompts.tasks.turns import Turns
from tuning.data.chat import Message, PromptFormat, is_message
from tuning.errors import UserError

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""libyaml's where it is there: the same, and some ten times as fast."""
MOST_CHARACTERS = 20_000_000
DEEPEST = 40
FIELDS = (
    "name",
    "title",
    "description",
    "system",
    "user",
    "shots",
    "questions",
    "turns",
    "columns",
    "score",
    "settings",
    "stop",
    "battery",
    "adapter",
    "show",
)
SETTINGS = {"max_new_tokens": int, "temperature": float, "top_p": float, "seed": int}
PLAIN_TAGS = (None, "!", *(f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq")))
"""Tags that say what a node is anyway; any other would change it, and is not followed."""
NAME = re.compile(r"[\w.-]{1,64}")
WHOLE, FRACTION = re.compile(r"[-+]?\d+"), re.compile(r"[-+]?(\d+\.\d*|\.\d+|\d+)([eE][-+]?\d+)?")


def read_task(path: Path) -> Task:
    """The task in a file. Raises UserError, naming file, line and field, for what is wrong with it."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"There is no task file {path}: check the path.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"The task file {path.name} is not UTF-8 (byte {error.start + 1}): save it as UTF-8.") from None
    except OSError as error:
        raise UserError(f"The task file {path.name} cannot be read: {error.strerror}.") from None
    return parse_task(text, path.name, path)


def parse_task(text: str, source: str, file: Path | None = None) -> Task:
    """The task that a text describes. ``file`` is where it lies: only then may it name other files.

    Raises UserError, naming line and field, for what is wrong with it.
    """
    root = compose(text, source)
    lines = {key.value: key.start_mark.line + 1 for key, _ in root.value}
    for field in lines:
        if field not in FIELDS:
            raise UserError(f"{source}, line {lines[field]}: there is no field {field!r}{nearest(field, FIELDS)}")
    content = {key.value: value for key, value in root.value}
    values = {field: plain(node, typed=field not in ("questions", "name", "title")) for field, node in content.items()}

    def fail(field: str, words: str) -> UserError:
        return UserError(f"{source}, line {lines.get(field, 1)}, {field}: {words}")

    def text_of(field: str) -> str:
        value = values.get(field)
        if value is not None and not isinstance(value, str):
            raise fail(field, "it must be a text: put it in quotes.")
        return value or ""

    folder = file.parent if file is not None else None
    name = text_of("name") or (file.stem if file else "")
    if not NAME.fullmatch(name):
        raise fail("name", "a name has 1 to 64 letters, digits, dots, dashes and underscores.")
    format = PromptFormat(text_of("system").strip() or None, text_of("user").strip() or None, shots_of(values, fail))
    scorers = scorers_of(values.get("score"), folder, lambda words: fail("score", words))
    columns = values.get("columns") or {}
    columns = {part: name or "" for part, name in columns.items()} if isinstance(columns, dict) else columns
    if not isinstance(columns, dict) or not all(isinstance(column, str) for column in columns.values()):
        raise fail("columns", "it names a column for each part of a question: {question: Frage, answer: Antwort}.")
    battery = values.get("battery") or []
    battery = [battery] if isinstance(battery, str) else battery
    if not isinstance(battery, list) or not all(isinstance(name, str) and name.strip() for name in battery):
        raise fail("battery", "it is a list of tasks' names or files, which are scored beside this one.")
    show = values.get("show", True)
    if not isinstance(show, bool):
        raise fail("show", "it must be true or false.")
    turns = values.get("turns", "given")
    if turns not in ("given", "own"):
        raise fail("turns", "it is given (answers that the file gives stand in the prompt) or own (each side's stand).")
    notes: list[str] = []
    questions = _questions(values, content, source, folder, format, scorers, columns, fail, notes, turns)
    return Task(
        name=name,
        title=text_of("title"),
        description=text_of("description"),
        format=format,
        questions=questions,
        scorers=scorers,
        settings=settings_of(values, fail),
        show=show,
        notes=tuple(notes),
        file=file,
        battery=tuple(battery),
        adapter=beside_file(text_of("adapter").strip(), folder),
    )


def beside_file(adapter: str, folder: Path | None) -> str:
    """An adapter's name; a folder or a zip that lies beside the task's file is named by its whole path."""
    if adapter and folder is not None and (folder / adapter).exists():
        return str((folder / adapter).absolute())
    return adapter


def dump_dict(told: Mapping[str, Any]) -> str:
    """The text of a task file with these fields."""
    return str(yaml.dump(dict(told), Dumper=DUMPER, allow_unicode=True, sort_keys=False, width=100))


def compose(text: str, source: str) -> yaml.MappingNode:
    """The nodes of a YAML mapping. Raises UserError for what is none, and for what YAML could grow out of bounds."""
    if len(text) > MOST_CHARACTERS:
        raise UserError(
            f"{source} is longer than {MOST_CHARACTERS:,} characters: put the questions in a file of their own."
        )
    try:
        depth = 0
        for event in yaml.parse(text, Loader=LOADER):
            line = event.start_mark.line + 1
            if getattr(event, "tag", None) not in PLAIN_TAGS:
                raise UserError(f"{source}, line {line}: the tag {event.tag} is not taken: write the value itself.")
            if isinstance(event, yaml.AliasEvent):
                raise UserError(f"{source}, line {line}: aliases (*{event.anchor}) are not taken: write it out.")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise UserError(f"{source}, line {line}: it is nested more than {DEEPEST} deep.")
        root = yaml.compose(text, Loader=LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}" if mark else ""
        reason = error.problem or error.context
        if reason and "nesting depth" in reason:
            raise UserError(f"{source}{place}: it is nested more than {DEEPEST} deep.") from None
        if mark and "\t" in "".join(text.splitlines()[mark.line : mark.line + 1])[: mark.column + 1]:
            raise UserError(f"{source}{place}: a tab cannot indent a line: use spaces.") from None
        raise UserError(f"{source}{place}: it is not valid YAML ({reason}): put texts in quotes.") from None
    except yaml.YAMLError as error:
        raise UserError(f"{source} is not valid YAML: {' '.join(str(error).split())[:200]}.") from None
    if not isinstance(root, yaml.MappingNode):
        raise UserError(f"{source} is not a task: it must have fields such as name, questions and score.")
    check_keys(root, source)
    return root


def check_keys(node: yaml.Node, source: str) -> None:
    """Raise UserError where a key is no text or stands twice: YAML would let the last one win, in silence."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise UserError(f"{source}, line {line}: a key must be a text.")
            if key.value in seen:
                raise UserError(f"{source}, line {line}: {key.value!r} stands twice.")
            seen.add(key.value)
            check_keys(value, source)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            check_keys(value, source)


def plain(node: yaml.Node, typed: bool) -> Any:
    """A node as data. Only ``typed`` has numbers, true, false and null; else what is written is what is meant, so that
    the answer ``no`` is not false and ``007`` not 7."""
    if isinstance(node, yaml.MappingNode):
        return {key.value: plain(value, typed or key.value == "checks") for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [plain(value, typed) for value in node.value]
    word = str(node.value)
    if node.style or not typed:
        return word
    constants = {"true": True, "false": False, "null": None, "~": None, "": None}
    if word.lower() in constants:
        return constants[word.lower()]
    if WHOLE.fullmatch(word) and len(word) < 300:
        return int(word)
    return float(word) if FRACTION.fullmatch(word) else word


def shots_of(values: Mapping[str, Any], fail: Any) -> tuple[Message, ...]:
    """The example turns among a task's fields; ``fail(field, words)`` makes the UserError for what is none."""
    shots = values.get("shots") or []
    if not isinstance(shots, list):
        raise fail("shots", "they are a list of turns.")
    turns: list[Message] = []
    for shot in shots:
        if is_message(shot) and shot["role"] in ("user", "assistant"):
            turns.append(Message(role=shot["role"], content=shot["content"]))
        elif is_exchange(shot):
            turns += [Message(role=role, content=str(shot[role])) for role in ("user", "assistant")]
        else:
            raise fail("shots", "each is {user: …, assistant: …}.")
    return tuple(turns)


def is_exchange(shot: object) -> bool:
    """Whether an example is a question with its answer; a number is a text there, a list is none."""
    if not isinstance(shot, dict) or set(shot) != {"user", "assistant"}:
        return False
    return all(isinstance(text, str | int | float) and not isinstance(text, bool) for text in shot.values())


def scorers_of(value: Any, folder: Path | None, fail: Any) -> tuple[Scorer, ...]:
    """The scorers under ``score``; ``fail(words)`` makes the UserError for what is none."""
    specs = value if isinstance(value, list) else [] if value is None else [value]
    try:
        return tuple(make(spec, folder) for spec in specs)
    except UserError as error:
        words = str(error)
        raise fail(words if words.endswith((".", "?")) else f"{words}.") from None


def settings_of(values: Mapping[str, Any], fail: Any) -> Settings:
    """The generation settings among a task's fields; ``fail(field, words)`` makes the UserError for what is none."""
    asked = values.get("settings") or {}
    if not isinstance(asked, dict):
        raise fail("settings", f"they are {', '.join(SETTINGS)}, each with its value.")
    for name in asked:
        if name not in SETTINGS:
            raise fail("settings", f"there is no setting {name!r}{nearest(str(name), SETTINGS)}")
    stop = values.get("stop") or []
    try:
        return Settings(**asked, stop=tuple(stop) if isinstance(stop, list) else (stop,))
    except UserError as error:
        raise fail("stop" if "top text" in str(error) else "settings", str(error)) from None


def _questions(
    values: Mapping[str, Any],
    content: Mapping[str, yaml.Node],
    source: str,
    folder: Path | None,
    format: PromptFormat,
    scorers: tuple[Scorer, ...],
    columns: Mapping[str, str],
    fail: Any,
    notes: list[str],
    turns: Turns,
) -> list[Question]:
    asked = values.get("questions")
    if not asked:
        raise fail("questions", "there are none: name a file, or write them as a list.")
    if isinstance(asked, str):
        if folder is None:
            raise fail("questions", "a task from the page cannot name a file: upload the file beside it.")
        path = folder / asked
        table = read_table(path)
        notes += table.notes
        return make_questions(
            table.rows,
            format,
            scorers,
            source=path.name,
            named=columns,
            folder=folder,
            unit=table.unit,
            turns=turns,
        )
    if not isinstance(asked, list):
        raise fail("questions", "they are a list, or the name of a file.")
    nodes = content["questions"].value
    rows = [
        (node.start_mark.line + 1, row if isinstance(row, dict) else {"question": row})
        for node, row in zip(nodes, asked, strict=True)
    ]
    return make_questions(rows, format, scorers, source=source, named=columns, folder=folder, turns=turns)
