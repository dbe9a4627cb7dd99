"""All tasks by name: those that come with LoRA Lens, and one's own in the data folder."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from eval_prompts.tasks.files import dump_task, parse_task, read_task
from eval_prompts.tasks.probes import PROBES
from eval_prompts.tasks.scorers.names import make, nearest
from eval_prompts.tasks.task import Question, Task
from tuning.data.chat import PLAIN_FORMAT, PYTHON_FORMAT
from tuning.errors import UserError
from tuning.files import data_root, write_whole

DEFAULT = "python"
FOLDER = Path(__file__).with_name("built_in")
ENDINGS = (".yaml", ".yml")

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
        return read_task(own[name])
    path = Path(name).expanduser()
    if path.suffix.lower() in ENDINGS or path.is_file():
        return read_task(path)
    raise UserError(f"There is no task {name!r}{nearest(name, [*BUILT_IN, *own])}")


def all_tasks() -> tuple[list[Task], list[str]]:
    """Every task there is, and what is wrong with files of one's own that are none."""
    found, problems = [], []
    for name in [*BUILT_IN, *(name for name in own_files() if name not in BUILT_IN)]:
        try:
            found.append(find_task(name))
        except UserError as error:
            problems.append(str(error))
    return found, problems


def save_task(task: Task) -> Path:
    """Keep a task in the data folder under its name. Raises UserError for a built-in task's name, or a full disk."""
    if task.name in BUILT_IN:
        raise UserError(f"{task.name} is the name of a built-in task: choose another.")
    path = tasks_folder() / f"{task.name}.yaml"
    text = dump_task(task)
    parse_task(text, path.name)  # what is kept can be read back
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text)
    except OSError as error:
        raise UserError(f"The task cannot be kept ({error.strerror}): make room and try again.") from error
    return path


def delete_task(name: str) -> None:
    """Remove one of one's own tasks. Raises UserError if there is none of that name."""
    path = own_files().get(name)
    if path is None:
        raise UserError(f"There is no task {name!r} of your own.")
    path.unlink(missing_ok=True)


def free_name(title: str) -> str:
    """A task's name from what it is called."""
    return re.sub(r"[^\w.-]+", "-", title.strip().lower()).strip("-.")[:64] or "task"


def summary(task: Task) -> dict[str, Any]:
    """A task in a list, as JSON data."""
    return {
        "name": task.name,
        "title": task.words,
        "description": task.description,
        "questions": len(task.questions),
        "system": task.format.system,
        "user": task.format.user,
        "score": [scorer.spec for scorer in task.scorers],
        "built_in": task.name in BUILT_IN,
    }
