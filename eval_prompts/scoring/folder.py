"""A scoring as a folder: its plan, its questions, its events, and what came of it. Nothing here imports torch."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from eval_prompts.scoring.subject import Subject
from eval_prompts.tasks.scorers.names import nearest
from eval_prompts.tasks.task import Question
from tuning.errors import UserError
from tuning.files import data_root, is_full, write_whole
from tuning.runs import events, process
from tuning.runs.folder import ENDINGS, WORKER_FILE, WorkFolder, dated_name, newest_first

PLAN, QUESTIONS = "plan.json", "questions.json"
RESERVE_BYTES = 1 << 16
LONGEST_SUBJECT = 54
NAME = re.compile(r"[^\W_][\w.-]{0,79}")


class State(StrEnum):
    """How a scoring stands."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """Its process ended without a word: it was killed, or the machine went down."""


@dataclass(frozen=True)
class Scoring(WorkFolder):
    """A scoring by its folder."""

    def plan(self) -> dict[str, Any]:
        """What was to be scored, and who. Raises UserError if this is no scoring's folder."""
        plan = self._read(PLAN)
        if not isinstance(plan, dict) or not {"created", "tasks", "sides", "samples"} <= plan.keys():
            raise UserError(f"{self.path} is not a readable scoring ({PLAN}): check the path.")
        return plan

    def questions(self) -> dict[str, list[dict[str, Any]]]:
        """The questions as they were asked, by task. Raises UserError."""
        found = self._read(QUESTIONS)
        return found if isinstance(found, dict) else {}

    def write(self, plan: dict[str, Any], subjects: Sequence[Subject]) -> None:
        """Keep what is to be scored. Raises UserError if the disk is full."""
        questions = {subject.name: [kept_question(question) for question in subject.questions] for subject in subjects}
        with translated(self.path):
            write_whole(self.path / QUESTIONS, json.dumps(questions, ensure_ascii=False) + "\n")
            write_whole(self.path / PLAN, json.dumps(plan, ensure_ascii=False, indent=2) + "\n")

    def extend(self, plan: dict[str, Any], subjects: Sequence[Subject]) -> None:
        """Have a finished scoring go on with more; from here on it is to be resumed. Raises UserError if the disk is
        full."""
        with translated(self.path):
            events.append(self.events_path, {"event": "extended", "time": round(time.time(), 3)})
        self.write(plan, subjects)

    def state(self) -> tuple[State, str]:
        """How it stands, and why in words. Raises UserError if this is no scoring's folder."""
        self.plan()
        if self.working():
            return State.RUNNING, "scoring"
        last = next((event for event in reversed(events.tail(self.events_path)) if event["event"] in ENDINGS), None)
        newest = next(reversed(events.tail(self.events_path)), None)
        if last is not None and newest is not None and last["time"] >= newest["time"] and newest["event"] in ENDINGS:
            return State(last["event"]), str(last.get("message", ""))
        return State.INTERRUPTED, "It ended without a word: resume goes on where it was."

    def delete(self) -> None:
        """Remove the folder and all it holds. Raises UserError while it runs, or if this is none."""
        self.plan()
        if self.working():
            raise UserError(f"The scoring {self.name} is running: stop it first.")
        shutil.rmtree(self.path)

    @contextmanager
    def work(self) -> Iterator[Log]:
        """Be the one that works on it. Raises UserError where somebody does already."""
        lock = FileLock(self.path / "lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise UserError(f"The scoring {self.name} is running already.") from None
        try:
            me = process.identity(os.getpid()) or {"pid": os.getpid()}
            with translated(self.path):
                write_whole(self.path / WORKER_FILE, json.dumps(me) + "\n")
            yield Log(self.events_path)
        finally:
            (self.path / WORKER_FILE).unlink(missing_ok=True)
            lock.release()

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{self.path} is not a readable scoring ({name}): check the path.") from error


def kept_question(question: Question) -> dict[str, Any]:
    """A question as it was asked; ``behind`` counts the turns of a conversation that it follows: those that its file
    gives, and its own earlier ones."""
    given = sum(turn["role"] != "system" for turn in question.messages[:-1])
    cluster = question.columns.get("cluster")
    return {
        "id": question.id,
        "title": question.title,
        "question": question.text,
        "references": list(question.references),
        "tags": list(question.tags),
        "behind": given + question.turn - 1,
        "cluster": question.thread if cluster in (None, "") else str(cluster),  # 0 is a cluster, too
        "input": str(question.columns.get("input") or ""),
    }


class Log:
    """Appends a scoring's events; a reserve beside them lets the last words be written on a full disk."""

    def __init__(self, path: Path) -> None:
        self._path, self._reserve = path, path.with_name("reserve")
        with translated(path.parent):
            path.touch()
            events.end_torn_line(path)
            self._reserve.write_bytes(b"\0" * RESERVE_BYTES)

    def emit(self, kind: str, **fields: Any) -> None:
        """Append one event with the time. Raises UserError if the disk is full or the folder is gone."""
        with translated(self._path.parent):
            events.append(self._path, {"event": kind, "time": round(time.time(), 3), **fields})

    def last_words(self, kind: str, message: str) -> None:
        """Append the event that ends it; on a full disk the reserve makes room. Never raises."""
        self._reserve.unlink(missing_ok=True)
        try:
            events.end_torn_line(self._path)
            events.append(self._path, {"event": kind, "time": round(time.time(), 3), "message": message})
        except OSError:
            return


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """A context in which a full disk, or a folder that has gone, becomes a UserError."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise UserError(
                f"The disk that holds {folder.name} is full: free some space, then resume the scoring. "
                "All answers so far are kept."
            ) from error
        if error.errno == errno.ENOENT and not folder.exists():
            raise UserError(f"The scoring {folder.name} was removed while it ran: start a new one.") from error
        raise


def scores_root() -> Path:
    """The folder of all scorings that were given no other."""
    return data_root() / "scores"


def create(plan: dict[str, Any], subjects: Sequence[Subject], folder: Path | None = None) -> Scoring:
    """Make a scoring's folder. Raises UserError if that cannot be done."""
    path = folder or dated_name(scores_root(), re.sub(r"[^\w.-]+", "-", subjects[0].name)[:LONGEST_SUBJECT])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir()
        Scoring(path).write(plan, subjects)
    except FileExistsError as error:
        raise UserError(f"The folder {path} exists already: choose another, or resume it.") from error
    except OSError as error:
        raise UserError(f"The folder {path} cannot be made ({error.strerror}): choose another place.") from error
    return Scoring(path.resolve())


def all_scorings() -> list[Scoring]:
    """Every scoring under the root, newest first; folders that are none are passed over."""
    return [Scoring(path) for path in newest_first(scores_root(), PLAN, lambda path: Scoring(path).plan()["created"])]


def named(name: str) -> Scoring:
    """The scoring with that id. Raises UserError for none, and for what is no id."""
    path = scores_root() / name
    if not NAME.fullmatch(name) or not (path / PLAN).is_file():
        raise UserError(f"There is no scoring {name[:80]!r}{nearest(name[:80], [one.name for one in all_scorings()])}")
    return Scoring(path)


def find(name: str) -> Scoring:
    """The scoring with that id, or in that folder. Raises UserError for none."""
    path = Path(name).expanduser()
    return Scoring(path.resolve()) if (path / PLAN).is_file() else named(name)
