"""All tasks by name: those that come with LoRA Lens, and one's own in the data folder."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path, PurePath
from typing import Any

from eval_prompts.tasks.files import dump_dict, parse_task, read_task
from eval_prompts.tasks.probes import PROBES
from eval_prompts.tasks.scorers.names import make, nearest
from eval_prompts.tasks.tables import is_table
from eval_prompts.tasks.task import Question, Task
from tuning.data.chat import PLAIN_FORMAT, PYTHON_FORMAT
from tuning.errors import UserError
from tuning.files import data_root, write_whole

DEFAULT = "python"
FOLDER = Path(__file__).with_name("built_in")
ENDINGS = (".yaml", ".yml")
INLINE = 200
"""Questions up to which a kept task is one file."""
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+(@[\w./-]+)?")
QUESTIONS = re.compile(r"\.[0-9a-f]{12}\.jsonl")

log = logging.getLogger(__name__)


@cache
def python_task() -> Task:
    """The default: the original experiment's prompt and its five probes."""
    questions = [
        Question(probe.id, probe.question, probe.title, {"question": probe.question}, probe=probe.id)
        for probe in PROBES
    ]
    return Task(
        DEFAULT, "Python", "The five probes of the original experiment.", PYTHON_FORMAT, questions, (make("python"),)
    )


@cache
def python_suite() -> Task:
    """The questions with tests among the held-out rows of the embedded data set."""
    from tuning.data.dataset import load

    rows = [row for row in load().test if row.check]
    tested = [(row, tests) for row in rows if (tests := assertions(row.check))]
    questions = [
        Question(
            row.id,
            row.question,
            columns={"question": row.question, "input": row.input, "tests": tests},
            references=(row.answer,),
        )
        for row, tests in tested
    ]
    about = (
        f"{len(tested)} questions with tests from the embedded set's test split, which no training sees; "
        f"{len(rows) - len(tested)} whose tests are more than assertions are left out."
    )
    return Task("python-suite", "Python suite", about, PYTHON_FORMAT, questions, (make("python"),))


def assertions(script: str) -> list[str]:
    """A check of the embedded set as single assertions; none where a line of it is something else."""
    lines = [line for line in script.splitlines() if line.strip()]
    return lines if all(line.startswith("assert ") for line in lines) else []


@cache
def plain_task() -> Task:
    """No task: a question goes to the model as it is, without a system prompt, and no answer is judged."""
    about = "Your own questions as they are: no system prompt, and no verdict."
    return Task("plain", "No task", about, PLAIN_FORMAT)


@cache
def _from_file(name: str) -> Task:
    return read_task(FOLDER / f"{name}.yaml")


def _reader(name: str) -> Callable[[], Task]:
    return lambda: _from_file(name)


BUILT_IN: dict[str, Callable[[], Task]] = {
    DEFAULT: python_task,
    "python-suite": python_suite,
    **{path.stem: _reader(path.stem) for path in sorted(FOLDER.glob("*.yaml"))},
    "plain": plain_task,
}


def tasks_folder() -> Path:
    """Where one's own tasks lie."""
    return data_root() / "tasks"


def own_files() -> dict[str, Path]:
    """One's own task files by name."""
    return {path.stem: path for path in sorted(tasks_folder().glob("*")) if path.suffix in ENDINGS}


def find_task(name: str) -> Task:
    """The task of that name, or in that file. Raises UserError for none, naming the nearest, and for a bad file."""
    if name in BUILT_IN:
        return BUILT_IN[name]()
    own = own_files()
    if name in own:
        task = read_own(own[name], stamp(own[name]))
        return task if task.name == name else replace(task, name=name)  # it is found by its file's name
    path = Path(name).expanduser()
    if is_table(path) and path.is_file():
        raise UserError(
            f"{path.name} holds questions and is no task: write a task file beside it, of at least the line questions: "
            f"{path.name}"
        )
    if path.suffix.lower() in ENDINGS or path.is_file():
        return read_task(path)
    raise UserError(f"There is no task {name!r}{nearest(name, [*BUILT_IN, *own])}")


def is_listed(name: str) -> bool:
    """Whether a task of that name comes along or is one's own, and is not a file that was named."""
    return name in BUILT_IN or name in own_files()


def all_tasks() -> tuple[list[Task], list[str]]:
    """Every task there is, and what is wrong with files of one's own that are none."""
    found, problems = [], []
    for name in [*BUILT_IN, *(name for name in own_files() if name not in BUILT_IN)]:
        try:
            found.append(find_task(name))
        except UserError as error:
            problems.append(str(error))
    return found, problems


def stamp(path: Path) -> tuple[float, ...]:
    """What changes with a task's file and whatever lies beside it under its name."""
    try:
        return tuple(
            value
            for part in sorted(path.parent.glob(f"{path.stem}.*"))
            for value in (part.stat().st_mtime_ns, part.stat().st_size)
        )
    except FileNotFoundError:  # one was replaced just now
        return (time.time(),)


@lru_cache(maxsize=32)
def read_own(path: Path, _: tuple[float, ...]) -> Task:
    """A task of one's own, read once for as long as its files stay the same."""
    return read_task(path)


def save_task(task: Task) -> Path:
    """Keep a task in the data folder under its name; more than ``INLINE`` questions lie in a file beside it. A reader
    sees the old one or the new one, whole.

    Raises UserError for a built-in task's name, and a full disk.
    """
    if task.name in BUILT_IN:
        raise UserError(f"{task.name} is the name of a built-in task: choose another.")
    folder = tasks_folder()
    path = folder / f"{task.name}.yaml"
    told = task.to_dict()
    beside: Path | None = None
    if len(task.questions) > INLINE:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in told["questions"])
        digest = hashlib.sha256(lines.encode()).hexdigest()[:12]
        beside = folder / f"{task.name}.{digest}.jsonl"
        told["questions"] = beside.name
    text = dump_dict(told)
    if beside is None:
        parse_task(text, path.name)  # what is kept can be read back
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if beside is not None:
            write_whole(beside, lines)
            parse_task(text, path.name, path)
        write_whole(path, text)
    except OSError as error:
        raise UserError(f"The task cannot be kept ({error.strerror}): make room and try again.") from error
    remove_questions(task.name, but=beside)
    return path


def remove_questions(name: str, but: Path | None = None) -> None:
    """Remove the questions that lay beside a task's file before."""
    for path in tasks_folder().glob(f"{name}.*.jsonl"):
        if QUESTIONS.fullmatch(path.name.removeprefix(name)) and path != but:
            path.unlink(missing_ok=True)


def delete_task(name: str) -> None:
    """Remove one of one's own tasks. Raises UserError if there is none of that name."""
    path = own_files().get(name)
    if path is None:
        raise UserError(f"There is no task {name!r} of your own.")
    path.unlink(missing_ok=True)
    remove_questions(name)


def free_name(title: str) -> str:
    """A task's name from what it is called."""
    return re.sub(r"[^\w.-]+", "-", title.strip().lower()).strip("-.")[:64] or "task"


def called(adapter: str) -> str:
    """An adapter's name without the folders of this machine, which are nobody else's business."""
    return adapter if HUB_ID.fullmatch(adapter) else PurePath(adapter).name


def summary(task: Task) -> dict[str, Any]:
    """A task in a list, as JSON data."""
    return {
        "name": task.name,
        "title": task.words,
        "description": task.description,
        "questions": len(task.questions),
        "system": task.format.system,
        "user": task.format.user,
        "score": [scorer.public for scorer in task.scorers],
        "settings": task.settings.to_dict(),
        "notes": list(task.notes),
        "adapter": called(task.adapter),
        "show": task.show,
        "built_in": task.name in BUILT_IN,
    }
