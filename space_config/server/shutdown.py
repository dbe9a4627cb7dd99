"""How the app ends: answers under way may finish, a training run saves itself."""

from __future__ import annotations

import contextlib
import logging
import queue
import signal
import time
from typing import TYPE_CHECKING

from space_config.server import logs
from tuning.runs import lock
from tuning.runs.run import Run

if TYPE_CHECKING:
    from eval_prompts.serving.lens import Lens
    from space_config.server.guard import Guard

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
WAKE_SECONDS = 0.5
SAVE_SECONDS = 40.0
SERVER_GONE = 0
"""In the place of a signal's number: the web server has ended by itself, and nobody can reach the app any more."""


class Signals:
    """SIGINT and SIGTERM, caught from now on, as a queue: a handler may put into it whatever it interrupts."""

    def __init__(self) -> None:
        self._received: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda received, _: self._received.put(received))

    def server_gone(self) -> None:
        """As a signal would: end the app, because its web server has ended. May be called from any thread."""
        self._received.put(SERVER_GONE)

    def wait(self) -> int:
        """The number of the first one, when there is one; ``SERVER_GONE`` for a web server that has ended.

        Looks now and then: one that the system hands to another thread is only handled when this one, the main
        thread, wakes."""
        while True:
            with contextlib.suppress(queue.Empty):
                return self._received.get(timeout=WAKE_SECONDS)


def end_work(number: int, lens: Lens, guard: Guard, drain_seconds: float, stop_training: bool) -> None:
    """End the answers, after a SIGTERM with some time to finish, and then, where it is to end too, a training run.

    In this order, because a run gives way to answers: beside a long one it would not get to saving in time. A load
    under way is left alone.
    """
    if number == signal.SIGTERM:
        training = lock.current()
        run = f" Run {training.name} {'saves and ends' if stop_training else 'goes on'}." if training else ""
        logs.tell(f"Shutting down: answers have {drain_seconds:g} s to end.{run}")
    if lens.status().state != "loading":
        if number == signal.SIGTERM:
            drain(lens, guard, drain_seconds)
        lens.close()
    if number == signal.SIGTERM and stop_training:
        save_training()


def drain(lens: Lens, guard: Guard, seconds: float) -> None:
    """Begin nothing new, and let the answers under way go on for some seconds at most."""
    guard.closing = True
    until = time.monotonic() + seconds
    while time.monotonic() < until and (lens.status().answering or lens.status().queued):
        time.sleep(LOOK_SECONDS)


def save_training(seconds: float = SAVE_SECONDS) -> bool:
    """Have the run that trains on this machine save and end, as it has to where everything ends with the app (a
    container, a Space). Returns whether it did in time; True if none trains."""
    folder = lock.current()
    if folder is None:
        return True
    run = Run(folder)
    run.stop()
    until = time.monotonic() + seconds
    while run.working() and time.monotonic() < until:
        time.sleep(LOOK_SECONDS)
    saved = not run.working()
    log.warning("run %s: %s", run.name, "saved; resume it later" if saved else "did not end in time")
    return saved
