"""Work that has a folder of its own, a training run or a scoring: its events, and the process that works on it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning.errors import UserError
from tuning.runs import events, process

WORKER_FILE = "worker.json"
ENDINGS = ("finished", "stopped", "failed")
"""The events of which one stands at the end, if the work came to one."""


@dataclass(frozen=True)
class WorkFolder:
    """Work by its folder."""

    path: Path

    @property
    def name(self) -> str:
        """The folder's name, which is the work's id."""
        return self.path.name

    @property
    def events_path(self) -> Path:
        """The event stream."""
        return self.path / "events.jsonl"

    def follow(self, offset: int = 0, most: int = -1) -> tuple[list[events.Event], int]:
        """The events behind byte ``offset``, about ``most`` bytes of them, and the offset to ask with next time."""
        return events.read(self.events_path, offset, most)

    def worker(self) -> dict[str, Any]:
        """Number and start of the process that works on it, or was killed while it did; else empty."""
        try:
            worker = json.loads((self.path / WORKER_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return worker if isinstance(worker, dict) else {}

    def working(self) -> bool:
        """Whether a living process works on it."""
        return process.alive(self.worker())


def dated_name(root: Path, name: str) -> Path:
    """A folder under ``root``, named after the time and ``name``, that does not exist yet."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"
    candidates = (root / (name if not number else f"{name}-{number}") for number in range(1000))
    return next(path for path in candidates if not path.exists())


_made: dict[Path, tuple[tuple[int, int, int], float]] = {}
"""When folders were made, by the file that tells it, with what tells that file from an earlier one."""


def newest_first(root: Path, file: str, created: Callable[[Path], Any]) -> list[Path]:
    """The folders under ``root`` that hold ``file``, by when they were ``created`` (Unix seconds); those of which that
    cannot be told are passed over. A file that has not changed is not read again."""
    made = {}
    for path in root.glob(f"*/{file}"):
        try:
            status = path.stat()
            state = status.st_mtime_ns, status.st_size, status.st_ino
            known = _made.get(path)
            made[path] = known if known and known[0] == state else (state, float(created(path.parent)))
        except (OSError, UserError, TypeError, ValueError, KeyError):
            continue
    for gone in [path for path in list(_made) if path.parent.parent == root and path.name == file]:
        _made.pop(gone, None)
    _made.update(made)
    return [folder for _, folder in sorted(((at, path.parent) for path, (_, at) in made.items()), reverse=True)]
