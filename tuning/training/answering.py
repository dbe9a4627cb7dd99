"""Answers that a run asks for while it trains: made and judged by the answer engine in a process of its own.

This side knows of that process no more than its request (a line of JSON) and the answers that it appends to a file, so
what trains needs nothing of what answers.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from tuning.errors import UserError
from tuning.runs import events, helper_process
from tuning.runs.scores import asked_of

MODULE = "eval_prompts.learning.for_run"
PLAN, EVENTS = "plan.json", "events.jsonl"
LOOK_SECONDS = 0.5
END_SECONDS = 10.0


@dataclass(frozen=True)
class Judged:
    """One answer to the question ``id``: whether it ``passed`` (None where nothing passes or fails), its ``score`` (0
    to 1) as far as that can be told, whether it ``ended`` by itself, and whether it could be ``tried``."""

    id: str
    sample: int
    text: str
    ended: bool
    passed: bool | None
    score: float | None
    tried: bool = True


@dataclass(frozen=True)
class Answered:
    """All answers to a request, in the order of questions and samples, and how many questions could not be asked;
    ``asked`` tells what was asked from all else."""

    answers: tuple[Judged, ...]
    unasked: int = 0
    asked: str = ""


class Answerer(Protocol):
    """Has a request answered. Returns None where ``should_stop`` said so first; what is answered by then is kept."""

    def __call__(
        self, request: dict[str, Any], on_progress: Callable[[int, int], None], should_stop: Callable[[], bool]
    ) -> Answered | None:
        """``request`` is as :class:`eval_prompts.learning.for_run.Request`; ``on_progress`` is told answers that are
        there, of all. Raises UserError where they cannot be had."""
        ...


def answer(
    request: dict[str, Any], on_progress: Callable[[int, int], None], should_stop: Callable[[], bool]
) -> Answered | None:
    """See :class:`Answerer`: by the answer engine. A request whose folder holds answers already goes on from them."""
    folder = Path(request["folder"])
    if folder.exists() and not (folder / PLAN).is_file():
        shutil.rmtree(folder)  # it was being made when everything ended
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said, working(request, said) as worker:
        progress = Progress(folder)
        while worker.poll() is None:
            if should_stop():
                return None
            on_progress(*progress.look())
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(LOOK_SECONDS)
        if worker.returncode != 0:
            said.seek(0)
            lines = [line.strip() for line in said]
            known = [line for line in lines if line.startswith("error: ")]
            if not known:
                print("\n".join(lines), file=sys.stderr)
            raise UserError(known[-1].removeprefix("error: ") if known else helper_process.died(worker.returncode))
    return read(folder)


@contextlib.contextmanager
def working(request: dict[str, Any], said: IO[str]) -> Iterator[subprocess.Popen[str]]:
    """The process that answers; it is ended with the block, and ends by itself where this process is killed."""
    worker = subprocess.Popen(
        [sys.executable, "-m", MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=said,
        text=True,
        encoding="utf-8",
        start_new_session=True,
        env=helper_process.environment(),
    )
    assert worker.stdin is not None
    try:
        with contextlib.suppress(BrokenPipeError):
            worker.stdin.write(json.dumps(request) + "\n")
            worker.stdin.flush()
        yield worker
    finally:
        with contextlib.suppress(BrokenPipeError):
            worker.stdin.close()
        try:
            worker.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


class Progress:
    """How far the answers in a folder are; what was read once is not read again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.offset, self.done, self.total = folder, 0, 0, 0

    def look(self) -> tuple[int, int]:
        """Answers that are there, of all; 0 while that is not known."""
        if not self.total:
            self.total = total(self.folder)
        news, self.offset = events.read(self.folder / EVENTS, self.offset)
        self.done += sum(event["event"] in ("answer", "unasked") for event in news)
        return self.done, self.total


def total(folder: Path) -> int:
    """How many answers a folder is for; 0 while it does not say."""
    plan = plan_of(folder)
    try:
        return int(sum(task["questions"] for task in plan["tasks"]) * plan["samples"] * len(plan["sides"]))
    except (ValueError, KeyError, TypeError):
        return 0


def plan_of(folder: Path) -> dict[str, Any]:
    """What is asked in a folder; empty while it does not say."""
    try:
        plan = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return plan if isinstance(plan, dict) else {}


def read(folder: Path) -> Answered:
    """The answers in a folder."""
    found: dict[tuple[int, int], Judged] = {}
    unasked: set[int] = set()
    for event in events.read(folder / EVENTS)[0]:
        if event["event"] == "unasked":
            unasked.add(event["number"])
        if event["event"] != "answer":
            continue
        found[event["number"], event["sample"]] = Judged(
            id=str(event["id"]),
            sample=event["sample"],
            text=event["text"],
            ended=event["state"] == "ended",
            passed=None if event["verdict"] == "none" else event["verdict"] == "passes",
            score=event["score"],
            tried=event["verdict"] != "not run",
        )
    return Answered(tuple(judged for _, judged in sorted(found.items())), len(unasked), asked_of(plan_of(folder)))


def every(seconds: float, work: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """``work``, called only where something has changed and at most once in so many seconds."""
    last: list[Any] = [-seconds, None]

    def limited(done: int, whole: int) -> None:
        now = time.monotonic()
        if now - last[0] >= seconds and last[1] != (done, whole):
            last[:] = [now, (done, whole)]
            work(done, whole)

    return limited
