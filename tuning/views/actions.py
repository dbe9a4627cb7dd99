"""What the Train tab and its endpoints do to runs: start, stop, resume, delete."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tuning import presets
from tuning.errors import UserError
from tuning.exports.background import Exports
from tuning.presets import nearest
from tuning.runs import queue, run, start_adapter
from tuning.runs.run import Run
from tuning.runs.sweep import Planned, grid_from_text, planned
from tuning.views import estimate, form
from tuning.views.run_view import Watcher

STARTER = "starter"
TINY = "tiny"
Use = Callable[[str | None, str | None], dict[str, Any] | None]


class Actions:
    """One start at a time, for all pages together.

    ``use`` puts an adapter (a folder or 'starter'), perhaps against another one, on the Compare tab and tells what is
    known of it; ``comparing`` says in words who answers there. They come from whoever composes the page, as does
    ``closed``: why nothing may be started here and what to do instead, or ''; ``base`` names the model that answers.
    ``blind`` makes a run's held-out questions ready to be asked, and ``people`` tells in words what those prefer who
    voted on its adapter against the one before.
    """

    def __init__(
        self,
        watcher: Watcher,
        use: Use,
        comparing: Callable[[], str],
        closed: str = "",
        base: Callable[[], str] = lambda: "",
        blind: Callable[[Run], dict[str, Any]] | None = None,
        people: Callable[[Run], str] = lambda run: "",
    ) -> None:
        self.watcher, self._use, self.comparing, self.closed, self._base = watcher, use, comparing, closed, base
        self._blind, self._people = blind, people
        self.exports, self.estimator = Exports(), estimate.Estimator()
        self._lock = threading.Lock()
        if not closed:
            queue.ensure_worker()  # runs that waited when the app or the machine ended

    def calibrate(self, preset: str, overrides: dict[str, Any]) -> None:
        """Begin to measure how fast such a run would go. Raises UserError as ``start`` does."""
        with self._starting():
            estimate.calibrate(preset, self._checked(preset, overrides))

    def start(self, preset: str, overrides: dict[str, Any], name: str = "") -> Run:
        """Start a run, called ``name`` if it is given one. Raises UserError for settings or a name that cannot work, or
        naming the run that trains already."""
        with self._starting():
            self._checked(preset, overrides)
            return run.start(preset, overrides, run.named_folder(name) if name else None)

    def enqueue(self, preset: str, overrides: dict[str, Any], name: str, grid: str) -> int:
        """Queue a run, or one for every combination of the values of ``grid``; how many wait now. Raises UserError as
        ``start`` does, and for a grid that is none."""
        if self.closed:
            raise UserError(self.closed)
        plans = [Planned(preset, overrides, name)]
        if grid.strip():
            values = grid_from_text(grid)
            known = sorted({"data", *(field.name for field in form.FIELDS)})
            strange = next((name for name in values if name.replace("-", "_") not in known), None)
            if strange is not None:
                raise UserError(f"The form has no setting {strange!r}: {nearest(strange, known)}")
            content = {"preset": preset, "settings": overrides, "grid": values}
            plans = planned(content, name or time.strftime("%Y%m%d-%H%M%S"))
        for plan in plans:
            self._checked(plan.preset, plan.overrides)
        return queue.add(plans)

    def not_comparable(self, name: str) -> str:
        """Why a run's adapter can never answer on this page, in words; '' where it may. Whether an adapter of another
        base fits is found out when it is loaded."""
        base = self._base()
        if not base or Path(base).expanduser().is_dir() or self.watcher.named(name).config().model != TINY:
            return ""
        return f"This run trained a tiny random model to try things out: its adapter does not fit {base}."

    def _checked(self, preset: str, overrides: dict[str, Any]) -> presets.Config:
        """The settings of a run. Raises UserError if they cannot work."""
        presets.preset(preset)
        wrong = form.problems(preset, overrides)
        if wrong:
            name, text = next(iter(wrong.items()))
            raise UserError(f"{label(name)}: {text}.")
        return presets.configure(preset, overrides)

    @contextmanager
    def _starting(self) -> Iterator[None]:
        """Being the one that starts a worker. Raises UserError for a second one at the same moment, and for every one
        where starting is closed."""
        if self.closed:
            raise UserError(self.closed)
        if not self._lock.acquire(blocking=False):
            raise UserError("A run is being started right now: wait a moment.")
        try:
            yield
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
        with self._starting():
            return self.watcher.named(name).resume()

    def delete(self, name: str) -> None:
        """Remove a run and all it holds. Raises UserError while it is running."""
        self.watcher.named(name).delete()

    def use(self, name: str, against: str = "") -> dict[str, Any] | None:
        """Compare a run's best adapter ('starter' for the starter adapter) with the base, or with another run's.

        Tells what is known of the adapter. Raises UserError, and leaves all as it was, if one cannot be used.
        """
        return self._use(self._adapter(name), self._adapter(against) if against else None)

    def after_votes(self, name: str) -> dict[str, str] | None:
        """For a run that learned from votes and is over: what it went on from, and what came of the blind round against
        that; None for every other."""
        chosen = self.watcher.named(name)
        config = chosen.config()
        if self._blind is None or config.objective not in presets.PREFERENCES or config.from_adapter is None:
            return None
        if not run.is_trained(chosen.adapter) or chosen.working():
            return None
        return {"before": start_adapter.called(config.from_adapter), "people": self._people(chosen)}

    def blind_round(self, name: str) -> dict[str, Any]:
        """Put a run's adapter against the one that it went on from, and keep its held-out questions as a task; tells
        the task's name and how many questions it has. Raises UserError where that cannot be."""
        chosen = self.watcher.named(name)
        if self._blind is None or chosen.config().from_adapter is None:
            raise UserError("That run goes on from no adapter that it could be compared with.")
        told = self._blind(chosen)
        self._use(self._adapter(name), str(chosen.path / start_adapter.FOLDER))
        return told

    def use_checkpoint(self, name: str, step: int) -> dict[str, Any] | None:
        """Compare the adapter of one of a run's checkpoints with the base. Raises UserError if it has none such, or it
        cannot be used."""
        from tuning.training.adapter import checkpoint_adapter

        return self._use(str(checkpoint_adapter.write(self.watcher.named(name), step)), None)

    def _adapter(self, name: str) -> str:
        from tuning.exports.export import best_adapter

        return STARTER if name == STARTER else str(best_adapter(self.watcher.named(name)))


def label(name: str) -> str:
    """A setting as the form calls it."""
    return next((field.label for field in form.FIELDS if field.name == name), name).replace(" … ", " ")
