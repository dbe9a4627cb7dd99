"""What the Train tab and its endpoints do to runs: start, stop, resume, delete."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from tuning import presets, run, train_form
from tuning.errors import UserError
from tuning.run import Run
from tuning.train_view import Watcher

UPLOADS = "uploads"


class Actions:
    """One at a time, for all pages together."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self._lock = threading.Lock()

    def start(self, preset: str, overrides: dict[str, Any]) -> Run:
        """Start a run. Raises UserError for settings that cannot work, or naming the run that trains already."""
        presets.preset(preset)
        wrong = train_form.problems(preset, overrides)
        if wrong:
            name, text = next(iter(wrong.items()))
            raise UserError(f"{label(name)}: {text}.")
        if not self._lock.acquire(blocking=False):
            raise UserError("A run is being started right now: wait a moment.")
        try:
            return run.start(preset, overrides)
        finally:
            self._lock.release()

    def stop(self, name: str) -> None:
        """Ask a run's worker to save and end. Raises UserError if there is no such run or it is not running."""
        chosen = self.watcher.named(name)
        if not chosen.working():
            raise UserError(f"Run {name} is not running.")
        if chosen.path in self.watcher.stopping:
            return
        self.watcher.stopping.add(chosen.path)
        chosen.stop()

    def resume(self, name: str) -> Run:
        """Go on with a run. Raises UserError if it runs or has finished, or if another one trains."""
        if not self._lock.acquire(blocking=False):
            raise UserError("A run is being started right now: wait a moment.")
        try:
            return self.watcher.named(name).resume()
        finally:
            self._lock.release()

    def delete(self, name: str) -> None:
        """Remove a run and all it holds. Raises UserError while it is running."""
        self.watcher.named(name).delete()

    def adapter(self, name: str) -> Path:
        """The folder of a run's best adapter. Raises UserError if there is none yet."""
        from tuning.export import best_adapter

        return best_adapter(self.watcher.named(name))


def label(name: str) -> str:
    """A setting as the form calls it."""
    return next((field.label for field in train_form.FIELDS if field.name == name), name).replace(" … ", " ")
