"""The worker process of a run: started so that it outlives this one, recognised later, and what it left with. Who a
process is withstands reused numbers and clocks that jump."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuning.files import write_json
from tuning.runs import helper_process

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PROC = Path("/proc")
START_FIELD = 19
SPAWNED = "spawned.json"
START_SECONDS = 20.0
COLLECT_SECONDS = 2.0
_children: dict[Path, subprocess.Popen[bytes]] = {}


def identity(pid: int) -> dict[str, Any] | None:
    """What tells a living process from any other: its number, when it started, and in which boot; None if it is dead.

    On Linux the start is counted in ticks since boot, which no clock adjustment changes; elsewhere in seconds.
    """
    if PROC.joinpath("self/stat").exists():
        try:
            text = (PROC / str(pid) / "stat").read_text()
        except OSError:
            return None
        fields = text.rpartition(")")[2].split()
        if fields[0] in "ZX":
            return None
        return {"pid": pid, "started": int(fields[START_FIELD]), "boot": boot()}
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return {"pid": pid, "started": round(process.create_time()), "boot": boot()}
    except psutil.Error:
        return None


def boot() -> str:
    """This boot of the machine, where the system names it."""
    return BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""


def alive(recorded: dict[str, Any]) -> bool:
    """Whether the process that :func:`identity` described still runs."""
    return isinstance(recorded.get("pid"), int) and identity(recorded["pid"]) == {
        key: recorded.get(key) for key in ("pid", "started", "boot")
    }


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
    write_json(folder / SPAWNED, identity(worker.pid) or {"pid": worker.pid})
    threading.Thread(target=worker.wait, daemon=True).start()
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and worker.poll() is None:
        if took_over(worker.pid):
            return True
        time.sleep(0.02)
    return worker.poll() is None or took_over(worker.pid)


def starting(folder: Path) -> bool:
    """Whether the worker that was started for the run in ``folder`` lives, by whomever it was started and be it still
    importing what it needs."""
    if folder in _children:
        return _children[folder].poll() is None
    try:
        spawned = json.loads((folder / SPAWNED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(spawned, dict) and alive(spawned)


def exit_code(folder: Path) -> int | None:
    """What a dead worker left with, if this process started it. The thread that collects it may be a moment behind."""
    try:
        return _children[folder].wait(timeout=COLLECT_SECONDS) if folder in _children else None
    except subprocess.TimeoutExpired:
        return None
