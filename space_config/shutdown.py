"""How the app ends: answers under way may finish, a training run saves itself."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from tuning import lock
from tuning.run import Run

if TYPE_CHECKING:
    from eval_prompts.service import Lens
    from space_config.guard import Guard

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
SAVE_SECONDS = 40.0


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
