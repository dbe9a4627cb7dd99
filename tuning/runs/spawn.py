"""The worker process of a run: started so that it outlives this one, and what it left with."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tuning.runs import helper_process

START_SECONDS = 20.0
COLLECT_SECONDS = 2.0
_children: dict[Path, subprocess.Popen[bytes]] = {}


def spawn(folder: Path, log_path: Path, took_over: Callable[[int], bool]) -> bool:
    """Start the worker of the run in ``folder`` in its own process group, with all it prints going to ``log_path``, and
    wait until it ``took_over``, as that tells of its process id, or ended. Returns whether it is there."""
    command = [sys.executable, "-m", "tuning", "resume", str(folder), "--quiet"]
    with log_path.open("ab") as log:
        worker = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=helper_process.environment(),
        )
    _children[folder] = worker
    threading.Thread(target=worker.wait, daemon=True).start()
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and worker.poll() is None:
        if took_over(worker.pid):
            return True
        time.sleep(0.02)
    return worker.poll() is None or took_over(worker.pid)


def exit_code(folder: Path) -> int | None:
    """What a dead worker left with, if this process started it. The thread that collects it may be a moment behind."""
    try:
        return _children[folder].wait(timeout=COLLECT_SECONDS) if folder in _children else None
    except subprocess.TimeoutExpired:
        return None
