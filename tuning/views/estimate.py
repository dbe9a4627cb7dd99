"""How long a run will take on this machine, going by the runs that were made on it, or by a short one for the purpose.

A calibration is a run like any other, only short and in a folder of its own; so it measures the very loop that it
speaks for, and needs the machine for itself as any run does.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from tuning import presets
from tuning.errors import UserError
from tuning.files import data_root
from tuning.presets import Config
from tuning.runs import events, run
from tuning.runs.lock import current
from tuning.runs.progress import duration
from tuning.runs.run import Run

READ_BYTES = 1 << 20
MOST_RUNS = 40
WARM_UP = 1
ALIKE = ("objective", "dora", "model", "device", "precision", "quantize", "gradient_checkpointing", "threads")
SHORT: dict[str, Any] = {
    "max_steps": 4,
    "warmup_steps": 1,
    "batch_size": 4,
    "limit": 64,
    "validate_every": 0,
    "validation_rows": 4,
    "patience": 0,
    "save_every": 0,
    "sample_every": 4,
    "sample_tokens": 16,
}


@dataclass(frozen=True)
class Pace:
    """What a run has shown: seconds to the first step, tokens of text per second and per example, validation rows and
    sample tokens per second (None where there were none), and the run's name."""

    start_seconds: float
    tokens_per_second: float
    tokens_per_example: float
    rows_per_second: float | None
    sample_tokens_per_second: float | None
    source: str

    def seconds(self, config: Config) -> float:
        """The expected duration of a run with that config."""
        examples = config.max_steps * config.batch_size
        total = self.start_seconds + examples * self.tokens_per_example / self.tokens_per_second
        if self.rows_per_second:
            total += times(config.validate_every, config.max_steps) * config.validation_rows / self.rows_per_second
        if config.sample_every and self.sample_tokens_per_second:
            answers = times(config.sample_every, config.max_steps)
            total += answers * config.sample_tokens / self.sample_tokens_per_second
        return total


def times(every: int, steps: int) -> int:
    """How often something happens that comes before the first step, every so many steps, and after the last."""
    between = (steps - 1) // every if every else 0
    return 2 + between


def pace_of(told: list[events.Event], batch_size: int, source: str) -> Pace | None:
    """The pace of a run by its events; None if it has made too few steps. The first step, which warms up, is left out
    where there are others."""
    steps = [event for event in told if event["event"] == "step"]
    steps = steps[WARM_UP:] or steps
    tokens, seconds = sum(each["tokens"] for each in steps), sum(each["seconds"] for each in steps)
    if not tokens or not seconds:
        return None
    newest = {event["event"]: event for event in reversed(told)}
    begun, ready = newest.get("loading"), newest.get("start")
    validations = [event for event in told if event["event"] == "validation" and event.get("seconds")]
    rows = (ready or {}).get("validation_rows", 0)
    answers = [
        (later["tokens"], later["time"] - earlier["time"])
        for earlier, later in pairwise(told)
        if later["event"] == "sample" and later["time"] > earlier["time"]
    ]
    return Pace(
        start_seconds=max(0.0, ready["time"] - begun["time"]) if begun and ready else 0.0,
        tokens_per_second=tokens / seconds,
        tokens_per_example=tokens / (len(steps) * batch_size),
        rows_per_second=rows * len(validations) / sum(event["seconds"] for event in validations)
        if validations
        else None,
        sample_tokens_per_second=sum(n for n, _ in answers) / sum(s for _, s in answers) if answers else None,
        source=source,
    )


class Estimator:
    """Looks up paces; what was read of a run is kept until its file changes."""

    def __init__(self) -> None:
        self._paces: dict[Path, tuple[tuple[int, int], Pace | None]] = {}

    def words(self, config: Config) -> str:
        """The expected duration with what it rests on, or '' where nothing like it has run here yet. In epochs it is
        known only once the rows are counted."""
        if config.epochs is not None:
            return "How long it takes shows once the run has counted its rows."
        on_top = " Its own answers take their time on top of that." if config.objective == "verified" else ""
        pace = next((found for found in map(self._pace, alike(config)) if found), None)
        if pace is None:
            return ""
        source = "a calibration" if pace.source.startswith(CALIBRATION) else f"run {pace.source}"
        speed = f"{pace.tokens_per_second:,.0f} tokens/s"
        return f"About {duration(pace.seconds(config))} on this machine, going by {source} ({speed}).{on_top}"

    def _pace(self, each: Run) -> Pace | None:
        try:
            status = each.events_path.stat()
            key = (status.st_mtime_ns, status.st_size)
            if each.path not in self._paces or self._paces[each.path][0] != key:
                told = events.read(each.events_path, 0, READ_BYTES)[0]
                self._paces[each.path] = key, pace_of(told, each.config().batch_size, each.name)
        except (OSError, UserError, KeyError, TypeError):
            return None
        return self._paces[each.path][1]


CALIBRATION = "calibration-"


def calibrations() -> Path:
    """Where calibrations lie, apart from the runs."""
    return data_root() / "calibrations"


def calibration_of(config: Config) -> Run:
    """The calibration for runs like that one, which may not exist."""
    told = "|".join(str(getattr(stepping(config), name)) for name in ALIKE)
    return Run(calibrations() / f"{CALIBRATION}{hashlib.sha256(told.encode()).hexdigest()[:12]}")


def stepping(config: Config) -> Config:
    """A config of which the steps alone are looked at: those of ``verified`` are those of ``sft``."""
    return replace(config, objective="sft") if config.objective == "verified" else config


def alike(config: Config) -> Iterator[Run]:
    """Runs that went as fast as that one would: of the same model on the same device, newest first, and last the
    calibration."""
    made: Iterable[Run] = run.all_runs()[:MOST_RUNS]
    for each in made:
        try:
            other = stepping(each.config())
        except UserError:
            continue
        if all(getattr(other, name) == getattr(stepping(config), name) for name in ALIKE):
            yield each
    yield calibration_of(config)


def calibrate(preset: str, config: Config) -> Run:
    """Start a short run like that one, in place of an earlier such. Raises UserError if one cannot start or another
    run trains."""
    target = calibration_of(config)
    if target.working():
        return target
    shutil.rmtree(target.path, ignore_errors=True)
    short = replace(stepping(config), **{name: least(name, value, config) for name, value in SHORT.items()})
    return run.start(preset, presets.to_dict(short), target.path)


def least(name: str, value: Any, config: Config) -> Any:
    """A setting of a calibration: never more than the run's own number of rows or examples."""
    own = getattr(config, name)
    return min(value, own) if name in ("limit", "batch_size", "validation_rows") and own else value


def measuring() -> Run | None:
    """The calibration that is under way."""
    training = current()
    return Run(training) if training is not None and training.parent == calibrations().resolve() else None


def failure(config: Config) -> str:
    """Why the calibration for runs like that one has failed, or ''."""
    found = calibration_of(config)
    if not (found.path / "config.json").is_file() or found.working():
        return ""
    state = found.state()
    return state.message if state.state == "failed" else ""
