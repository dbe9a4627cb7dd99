"""One run at a time on this machine, and who runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tuning.errors import UserError
from tuning.files import data_root, write_json
from tuning.runs import events, process
from tuning.runs.folder import WORKER_FILE


def lock_paths() -> tuple[Path, Path]:
    """The lock of this machine's one run, and the file that says who holds it."""
    root = data_root()
    return root / "training.lock", root / "training.json"


def refuse_second() -> None:
    """Raise UserError naming the run that trains on this machine, if one does."""
    holder = current()
    if holder is not None:
        raise UserError(f"Run {holder.name} is training on this machine: stop it or wait until it has finished.")


def current() -> Path | None:
    """The folder of the run that trains on this machine now."""
    try:
        holder = json.loads(lock_paths()[1].read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return Path(holder["run"]) if process.alive(holder) else None


@contextmanager
def working_on(folder: Path) -> Iterator[None]:
    """Be the one worker of this machine, on the run in ``folder``. Raises UserError naming the other one, if any."""
    lock_path, holder_path = lock_paths()
    lock_path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        refuse_second()
        raise UserError("Another run is training on this machine: wait until it has finished.") from None
    try:
        me = process.identity(os.getpid()) or {"pid": os.getpid()}
        # Whoever sees a worker in the run's folder must also see the run as the one that trains here.
        write_json(holder_path, me | {"run": str(folder)})
        with events.translated(folder / WORKER_FILE):
            write_json(folder / WORKER_FILE, me)
        yield
    finally:
        (folder / WORKER_FILE).unlink(missing_ok=True)
        holder_path.unlink(missing_ok=True)
        lock.release()
