"""A run's figures mirrored to a tracker (``--track``), as they are written to its events. Nothing leaves the machine:
both trackers keep files here, for programs of their own to show.
"""

from __future__ import annotations

import importlib
import logging
import os
from pathlib import Path
from typing import Any, Protocol

from tuning.errors import UserError
from tuning.files import data_root, named_line
from tuning.runs.events import Event

FIGURES = ("step", "validation", "round", "score", "result")
"""Events whose numbers are mirrored."""
PLACES = ("step", "time", "max_steps", "seconds", "eta_seconds", "number", "of", "first_step", "round", "best_step")
"""Numbers of an event that measure nothing."""
TENSORBOARD_FOLDER = "tensorboard"

log = logging.getLogger(__name__)


class Tracker(Protocol):
    """Takes figures by step."""

    def figures(self, step: int, values: dict[str, float]) -> None:
        """Take these figures of a step."""
        ...

    def close(self) -> None:
        """Write what is not written yet."""
        ...


class Trackio:
    """Figures in trackio's own database in the data folder: ``trackio show`` shows them."""

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(data_root() / "trackio"))
        self._trackio = required("trackio", "trackio")
        quiet = {"embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
        self._trackio.init(project="lora-lens", name=name, config=settings, resume="allow", **quiet)

    def figures(self, step: int, values: dict[str, float]) -> None:
        self._trackio.log(values, step=step)

    def close(self) -> None:
        self._trackio.finish()


class TensorBoard:
    """Figures in the run's folder: ``tensorboard --logdir`` shows them."""

    def __init__(self, folder: Path) -> None:
        required("tensorboard", "tensorboard")
        self._folder = folder / TENSORBOARD_FOLDER
        self._writer: Any = None

    def figures(self, step: int, values: dict[str, float]) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            # Steps that a resume does again replace those of before; what was measured before them stays.
            again = step if "loss" in values else step + 1
            self._writer = SummaryWriter(str(self._folder), purge_step=again)
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def required(package: str, extra: str) -> Any:
    """An optional package. Raises UserError naming the extra that brings it, where it is not there."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UserError(
            f"--track {extra} needs the package {package}: pip install 'lora-lens[{extra}]', or leave --track out."
        ) from error


def tracker(kind: str, folder: Path, settings: dict[str, Any]) -> Tracker | None:
    """The tracker of that name for the run in ``folder``; None for 'none'. Raises UserError where its package lacks."""
    if kind == "trackio":
        return Trackio(folder.name, settings)
    return TensorBoard(folder) if kind == "tensorboard" else None


class Mirror:
    """Passes events on to a tracker; where that fails, it is said once, and training goes on without it."""

    def __init__(self, to: Tracker) -> None:
        self._to: Tracker | None = to

    def take(self, event: Event) -> str:
        """Pass an event's figures on; what went wrong, in a sentence, or ''."""
        values = figures_of(event)
        if self._to is None or not values:
            return ""
        return self._tried(lambda to: to.figures(int(event["step"]), values))

    def close(self) -> str:
        """Write what is not written yet; what went wrong, in a sentence, or ''."""
        return self._tried(lambda to: to.close()) if self._to is not None else ""

    def _tried(self, work: Any) -> str:
        try:
            work(self._to)
        except Exception as error:  # a tracker fails in its own ways, and none of them may end a run
            self._to = None
            log.exception("The tracker failed")
            return f"The tracker failed ({named_line(error)}): the run goes on without it; its events have everything."
        return ""


def figures_of(event: Event) -> dict[str, float]:
    """The numbers of an event that are mirrored, by name; those of a step as they are, of others with their kind."""
    if event["event"] not in FIGURES or not isinstance(event.get("step"), int):
        return {}
    prefix = "" if event["event"] == "step" else f"{event['event']}/"
    return {
        f"{prefix}{name}": float(value)
        for name, value in event.items()
        if name not in PLACES and isinstance(value, int | float) and not isinstance(value, bool)
    }
