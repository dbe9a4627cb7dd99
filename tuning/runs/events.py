"""A run's event stream: one JSON object per line, only ever appended to.

The file is the one channel between the process that trains and everyone who watches. A line is written whole or, if
the process dies in the middle of it, ignored by every reader and closed off by the next writer.
"""

from __future__ import annotations

import errno
import json
import math
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tuning.errors import UserError
from tuning.files import is_full

RESERVE_BYTES = 1 << 16
TAIL_BYTES = 1 << 16
Event = dict[str, Any]


class Events:
    """Appends events to ``path``; a small reserve file beside it lets the last words be written on a full disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reserve = path.with_name("reserve")
        with translated(path):
            path.touch()
            end_torn_line(path)
            self.reserve.write_bytes(b"\0" * RESERVE_BYTES)

    def emit(self, kind: str, **fields: Any) -> Event:
        """Append one event with the wall time. Raises UserError if the disk is full or the folder is gone."""
        event = {"event": kind, "time": round(time.time(), 3), **{k: finite(v) for k, v in fields.items()}}
        with translated(self.path):
            append(self.path, event)
        return event

    def last_words(self, kind: str, **fields: Any) -> None:
        """Append the event that ends a run; on a full disk the reserve makes room. Never raises."""
        event = {"event": kind, "time": round(time.time(), 3), **{k: finite(v) for k, v in fields.items()}}
        self.reserve.unlink(missing_ok=True)
        try:
            append(self.path, event)
        except OSError:
            return


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """A context in which a full disk, or a run folder whose events (``path``) have gone, becomes a UserError."""
    folder = path.parent
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not path.exists():
            raise UserError(f"The run folder {folder} was removed while it was in use: start a new run.") from error
        if is_full(error):
            raise UserError(
                f"The disk that holds {folder} is full: free some space, then resume the run. "
                "The last checkpoint and the best adapter are kept."
            ) from error
        raise


def append(path: Path, event: Event) -> None:
    """One line in one write, so that lines of a dying process never mix; a file that was removed is not made again."""
    line = (json.dumps(event, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8", "replace")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        before = os.fstat(descriptor).st_size
        written = os.write(descriptor, line)
        if written < len(line):  # the disk has become full within the line: nothing of it stays
            os.ftruncate(descriptor, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(descriptor)


def finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def end_torn_line(path: Path) -> None:
    """Close a line that a killed writer left open."""
    if not path.stat().st_size:
        return
    with path.open("rb+") as file:
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")


def read(path: Path, offset: int = 0, most: int = -1) -> tuple[list[Event], int]:
    """The events after byte ``offset`` and the offset behind the last whole line. A missing file holds none.

    With ``most``, at most about that many bytes are read at once; more come with the next offset.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(most)
            if most > 0 and len(data) == most:
                data += file.readline()
    except FileNotFoundError:
        return [], offset
    end = data.rfind(b"\n") + 1
    return list(parse(data[:end].splitlines())), offset + end


def parse(lines: Iterable[bytes]) -> Iterator[Event]:
    """Events of whole lines; torn or foreign ones are left out."""
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event:
            yield event


def tail(path: Path) -> list[Event]:
    """The last events of a file of any length, read from its last 64 KiB."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return []
    return list(parse(lines[1:-1] if size > TAIL_BYTES else lines[:-1]))


def again(event: Event, done: int) -> bool:
    """Whether an event of the last step before a resume comes once more: what is asked behind a checkpoint."""
    return event["step"] == done and event["event"] in ("round", "score", "sampling", "scoring")


def history(events: Iterable[Event]) -> list[Event]:
    """The events as of an uninterrupted run: what a resume from an earlier checkpoint did again counts once."""
    kept: list[Event] = []
    for event in events:
        if event["event"] == "resumed":
            done = event["step"] or -1  # with no checkpoint, the measurements before the first step come again too
            kept = [old for old in kept if not ("step" in old and (old["step"] > done or again(old, done)))]
            kept = [old for old in kept if old["event"] not in ("stopped", "failed", "finished")]
        kept.append(event)
    return kept
