"""Whether there is room to write: the data folder's size and the disk's free space, looked at now and then."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from pathlib import Path

LOOK_SECONDS = 20.0
UNKNOWN = "The server cannot tell whether its disk has room, so nothing can be kept: its owner has to look at the log."

log = logging.getLogger(__name__)


class Disk:
    """Watches the folder that holds runs and votes. Asking it costs nothing: a thread looks again when it is time."""

    def __init__(self, folder: Path, most_bytes: float, least_free_bytes: float) -> None:
        self._folder, self._most, self._least_free = folder, most_bytes, least_free_bytes
        self._problem, self._looked = "", 0.0
        self._looking = threading.Lock()

    def problem(self) -> str:
        """Why nothing more can be written, in one line for the visitor; '' if all is well. Never blocks."""
        if time.monotonic() - self._looked > LOOK_SECONDS and self._looking.acquire(blocking=False):
            self._looked = time.monotonic()
            threading.Thread(target=self._look, name="disk", daemon=True).start()
        return self._problem

    def look(self) -> str:
        """Look now, and tell."""
        folder = self._folder
        while not folder.exists():
            folder = folder.parent
        if shutil.disk_usage(folder).free < self._least_free:
            return "The server's disk is full, so nothing can be kept: its owner has to make room."
        if folder == self._folder and size(folder) > self._most:
            return "The server's data folder is full, so nothing can be kept: its owner has to delete old runs."
        return ""

    def _look(self) -> None:
        try:
            self._problem = self.look()
        except Exception:
            log.exception("The data folder's room could not be measured, so nothing is written")
            self._problem = UNKNOWN
        finally:
            self._looking.release()


def size(folder: Path) -> int:
    """Bytes of all files under a folder; what vanishes meanwhile counts nothing, and links are not followed."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(Path(root) / name).st_size
            except OSError:
                continue
    return total
