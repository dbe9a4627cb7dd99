"""Runs that wait: one after the other, by a process that outlives whoever put them there.

The queue is a file. Its worker takes the first entry, starts the run as anybody would, waits for its end, and takes the
next; where another run trains on this machine, it waits for that one, too.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tuning.errors import UserError
from tuning.files import data_root, write_json
from tuning.runs import helper_process, lock, process, run
from tuning.runs.folder import dated_name
from tuning.runs.run import Run
from tuning.runs.sweep import Planned

FILE, LOCK, WORKER, WORKER_LOCK, LOG = "queue.json", "queue.lock", "queue_worker.json", "queue_worker.lock", "queue.log"
LOOK_SECONDS = 0.5
MOST_WAITING = 500
SERVER_FAULT = "it could not be started, and the queue's log says why"

log = logging.getLogger(__name__)


@dataclass
class Queue:
    """``waiting`` runs in their order; ``starting`` is one that is being started; ``current`` is the name of the run
    that was started last; ``paused`` says that no other is started after it; ``problems`` tell of entries that could
    not be started."""

    waiting: list[Planned] = field(default_factory=list)
    starting: Planned | None = None
    current: str = ""
    paused: bool = False
    problems: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def load() -> Queue:
    """The queue as it stands; empty where there is none."""
    try:
        content = json.loads((data_root() / FILE).read_text(encoding="utf-8"))
        waiting = [Planned(**entry) for entry in content["waiting"]]
        starting = Planned(**content["starting"]) if content.get("starting") else None
        return Queue(waiting, starting, str(content["current"]), bool(content["paused"]), list(content["problems"]))
    except FileNotFoundError:
        return Queue()
    except (OSError, ValueError, KeyError, TypeError):
        log.exception("The queue cannot be read")
        return Queue(problems=[f"{FILE} cannot be read: the runs that waited are lost."])


@contextmanager
def changing() -> Iterator[Queue]:
    """The queue, to be changed; it is written when the block is over. Raises UserError if the disk is full."""
    root = data_root()
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / LOCK):
        queue = load()
        yield queue
        try:
            write_json(root / FILE, queue.to_dict(), indent=2)
        except OSError as error:
            raise UserError(f"The queue cannot be written ({error.strerror}): make room and try again.") from error


def add(plans: Sequence[Planned]) -> int:
    """Put runs behind those that wait, and see to it that somebody works on them; how many wait now. A run without a
    name is called after the time and its preset.

    Raises UserError for settings that cannot work, a name that is taken, or too many runs.
    """
    plans = [replace(plan, folder=str(Path.cwd())) for plan in plans]
    for plan in plans:
        plan.check()
    plans = [replace(plan, name=run.named_folder(plan.name).name) if plan.name else plan for plan in plans]
    with changing() as queue:
        taken = {plan.name for plan in queue.waiting}
        for plan in plans:
            if plan.name in taken:
                raise UserError(f"A run {plan.name!r} waits already: choose another name.")
            taken |= {plan.name} - {""}
        plans = [plan if plan.name else replace(plan, name=unused_name(plan.preset, taken)) for plan in plans]
        if len(queue.waiting) + len(plans) > MOST_WAITING:
            raise UserError(f"At most {MOST_WAITING} runs may wait: {len(queue.waiting)} do already.")
        queue.waiting += plans
        count = len(queue.waiting)
    ensure_worker()
    return count


def unused_name(preset: str, taken: set[str]) -> str:
    """A name for a run after the time and its preset, which no other has; it is one of those taken from now on."""
    name = dated_name(run.runs_root(), preset).name
    while name in taken:
        name += "-b"
    taken.add(name)
    return name


def remove(place: int, name: str) -> None:
    """Take the run at that place (from 0) out of the queue. Raises UserError if it is another one by now."""
    with changing() as queue:
        if not 0 <= place < len(queue.waiting) or queue.waiting[place].name != name:
            raise UserError("That run does not wait any more: look at the queue again.")
        del queue.waiting[place]


def clear() -> int:
    """Take all runs out of the queue; the one that trains goes on. How many there were."""
    with changing() as queue:
        count = len(queue.waiting)
        queue.waiting, queue.problems = [], []
    return count


def dismiss() -> None:
    """Forget what could not be started."""
    with changing() as queue:
        queue.problems = []


def pause(on: bool) -> None:
    """Have no other run started after the one that trains, or go on."""
    with changing() as queue:
        queue.paused = on
    if not on:
        ensure_worker()


def working() -> bool:
    """Whether a living process works on the queue."""
    try:
        worker = json.loads((data_root() / WORKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(worker, dict) and process.alive(worker)


def ensure_worker() -> None:
    """Start the process that works on the queue, where runs wait and none is there. Returns at once."""
    queue = load()
    if not queue.waiting or queue.paused or working():
        return
    root = data_root()
    with (root / LOG).open("ab") as out:
        subprocess.Popen(
            [sys.executable, "-m", "tuning", "queue", "work"],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            env=helper_process.environment(),
        )


def work() -> None:
    """Start what waits, one after the other, until nothing does or the queue is paused. Returns at once where somebody
    else does that."""
    while worked():  # a run that was added as this process was about to end
        pass


def worked() -> bool:
    """Be the one that works on the queue, to its end; whether there is more by now. False where somebody else is."""
    root = data_root()
    root.mkdir(parents=True, exist_ok=True)
    mine = FileLock(root / WORKER_LOCK, timeout=0)
    try:
        mine.acquire()
    except Timeout:
        return False
    try:
        write_json(root / WORKER, process.identity(os.getpid()) or {"pid": os.getpid()})
        take_up()
        while True:
            wait_for_others()
            chosen = start_next()
            if chosen is None:
                break
            while chosen.working() or process.starting(chosen.path):
                time.sleep(LOOK_SECONDS)
    finally:
        (root / WORKER).unlink(missing_ok=True)
        mine.release()
    left = load()
    return bool(left.waiting) and not left.paused


def take_up() -> None:
    """Put a run that was being started when its worker was killed back to the front, unless it has begun already."""
    with changing() as queue:
        plan, queue.starting = queue.starting, None
        if plan is not None and not_begun(plan):
            queue.waiting.insert(0, plan)


def not_begun(plan: Planned) -> bool:
    """Whether a run that was being started has not begun; what was made of its folder is removed then."""
    made = Run(run.runs_root() / plan.name)
    if not made.path.exists():
        return True
    if made.events_path.exists() or made.working() or process.starting(made.path):
        return False
    shutil.rmtree(made.path)
    return True


def wait_for_others() -> None:
    """Return once no run trains on this machine."""
    while lock.current() is not None:
        time.sleep(LOOK_SECONDS)


def start_next() -> Run | None:
    """Start the first run that can be; None where none waits or the queue is paused. What cannot be started is told in
    the queue, and the next one is tried."""
    while True:
        with changing() as queue:
            if queue.paused or not queue.waiting:
                return None
            plan = queue.starting = queue.waiting.pop(0)
        try:
            folder = run.named_folder(plan.name)
        except UserError as error:
            tell(plan, str(error))
            continue
        try:
            with where_it_was_put(plan):
                begun = run.start(plan.preset, plan.overrides, folder, plan.notes)
        except UserError as error:
            if lock.current() is not None and not_begun(plan):  # somebody was faster: it keeps its place
                with changing() as queue:
                    queue.starting = None
                    queue.waiting.insert(0, plan)
                wait_for_others()
                continue
            tell(plan, str(error))
            continue
        except Exception:
            log.exception("A run of the queue could not be started")
            tell(plan, SERVER_FAULT)
            continue
        with changing() as queue:
            queue.starting, queue.current = None, begun.name
        return begun


@contextmanager
def where_it_was_put(plan: Planned) -> Iterator[None]:
    """Being in the folder in which a run was put into the queue, where its relative paths mean something. Raises
    UserError if it has gone."""
    if not plan.folder:  # of an earlier version
        yield
        return
    try:
        before = Path.cwd()
    except OSError:  # it is gone, and there is no way back to it
        before = Path(plan.folder)
    try:
        os.chdir(plan.folder)
    except OSError as error:
        raise UserError(
            f"The folder {plan.folder}, from where it was queued, cannot be entered: queue it again."
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):
            os.chdir(before)


def tell(plan: Planned, problem: str) -> None:
    """Note that a run could not be started."""
    with changing() as queue:
        queue.starting = None
        queue.problems = [*queue.problems[-19:], f"{plan.name}: {problem}"]
