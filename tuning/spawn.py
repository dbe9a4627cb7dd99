"""The worker process of a run: started so that it outlives this one, and what it left with."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tuning import aside
from tuning.errors import UserError

if TYPE_CHECKING:
    from tuning.run import Run

START_SECONDS = 20.0
COLLECT_SECONDS = 2.0
_children: dict[Path, subprocess.Popen[bytes]] = {}


def spawn(run: Run) -> None:
    """Start the worker in its own process group, with all it prints going to the run's log, and wait until it has
    taken the lock or ended."""
    command = [sys.executable, "-m", "tuning", "resume", str(run.path), "--quiet"]
    with run.log_path.open("ab") as log:
        worker = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=aside.environment(),
        )
    _children[run.path] = worker
    threading.Thread(target=worker.wait, daemon=True).start()
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and worker.poll() is None:
        if run.worker().get("pid") == worker.pid:
            return
        time.sleep(0.02)
    if worker.poll() is None or run.worker().get("pid") == worker.pid:
        return
    lines = [line for line in run.log_tail() if line.strip()]
    raise UserError(lines[-1].removeprefix("error: ") if lines else f"The worker of {run.name} ended at once.")


def exit_code(run: Run) -> int | None:
    """What a dead worker left with, if this process started it. The thread that collects it may be a moment behind."""
    try:
        return _children[run.path].wait(timeout=COLLECT_SECONDS) if run.path in _children else None
    except subprocess.TimeoutExpired:
        return None
