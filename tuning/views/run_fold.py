"""What all events of a run add up to, however long it is: series by step, the end of its log, a few sample answers.

Memory is 16 bytes for a number and step; what is told to a page is bounded, whatever the run's length.
"""

from __future__ import annotations

import logging
import os
import time
from array import array
from bisect import bisect_right
from collections import deque
from pathlib import Path
from typing import Any

from tuning.runs import events, progress
from tuning.views.form import without_folders

MOST_BUCKETS = 240
LOG_LINES = 400
LONGEST_LINE = 4000
MOST_SAMPLES = 48
CHUNK_BYTES = 1 << 20
SERIES = {
    "loss": ("step", "loss"),
    "validation": ("validation", "validation_loss"),
    "learning_rate": ("step", "learning_rate"),
}
Bucket = tuple[int, float, float, float]

log = logging.getLogger(__name__)


class Series:
    """Numbers by step, in the order of steps."""

    def __init__(self) -> None:
        self.steps, self.values = array("q"), array("d")

    def __len__(self) -> int:
        return len(self.steps)

    def add(self, step: int, value: Any) -> None:
        """One more number; what is none (a loss that was not finite) is left out."""
        if isinstance(value, int | float):
            self.steps.append(step)
            self.values.append(value)

    def cut(self, step: int) -> None:
        """Forget what lies behind ``step``."""
        keep = bisect_right(self.steps, step)
        del self.steps[keep:], self.values[keep:]

    def buckets(self, most: int = MOST_BUCKETS) -> list[Bucket]:
        """The whole series in at most ``most`` buckets of equal count: last step, mean, lowest, highest."""
        width = max(1, -(-len(self) // most))
        found = []
        for at in range(0, len(self), width):
            part = self.values[at : at + width]
            step = self.steps[min(at + width, len(self)) - 1]
            mean, lowest, highest = sum(part) / len(part), min(part), max(part)
            found.append((step, rounded(mean), rounded(lowest), rounded(highest)))
        return found


class Fold:
    """The events of one run so far. ``update`` reads what has been written since; nothing is read twice.

    ``epoch`` changes when the file was replaced by another, and then everything begins anew.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.warned = path, False
        self._begin()

    def _begin(self) -> None:
        self.epoch = f"{time.monotonic_ns():x}"
        self.offset, self.inode = 0, 0
        self.series = {name: Series() for name in SERIES}
        self.samples: list[dict[str, Any]] = []
        self.log: deque[tuple[int, float, str, str]] = deque(maxlen=LOG_LINES)
        self.lines = self.charted = self.sampled = 0
        self.newest: dict[str, events.Event] = {}
        self.seconds = 0.0
        self.last = ""

    def update(self) -> None:
        """Take in what is new in the file."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            status = os.stat_result((0,) * 10)
        if self.offset and (status.st_ino != self.inode or status.st_size < self.offset):
            self._begin()
        self.inode = status.st_ino
        while True:
            news, offset = events.read(self.path, self.offset, CHUNK_BYTES)
            if offset == self.offset:
                return
            self.offset = offset
            for event in news:
                try:
                    self._take(event)
                except (KeyError, TypeError, ValueError):  # such as one of another version
                    level = logging.DEBUG if self.warned else logging.WARNING
                    log.log(level, "Events of %s are not shown in full: %s", self.path, event["event"], exc_info=True)
                    self.warned = True

    def _take(self, event: events.Event) -> None:
        kind, step = event["event"], event.get("step")
        if kind == "resumed":
            self._cut(step or -1)
        for name, (source, key) in SERIES.items():
            if kind == source and isinstance(step, int):
                self.series[name].add(step, event.get(key))
                self.charted += 1
        if kind == "sample":
            self._sample(event)
        if kind in ("step", "validation"):
            self.seconds += event.get("seconds") or 0.0
        self.newest[kind] = event
        self.last = kind
        text = progress.line(event)
        if text:
            self.lines += 1
            shown = text if kind == "sample" else without_folders(text)
            self.log.append((self.lines, event["time"], kind, shown[:LONGEST_LINE]))

    def _cut(self, step: int) -> None:
        """What a resume does again counts once."""
        for series in self.series.values():
            series.cut(step)
        self.samples = [sample for sample in self.samples if sample["step"] <= step]
        for kind in (*SERIES, "step", "validation", "stopped", "failed", "finished"):
            self.newest.pop(kind, None)
        self.charted += 1
        self.sampled += 1

    def _sample(self, event: events.Event) -> None:
        """Keeps the first, the newest, and of those between every second one whenever they are too many."""
        if len(self.samples) >= MOST_SAMPLES:
            self.samples = [*self.samples[:-1:2], self.samples[-1]]
        self.samples.append({key: event.get(key) for key in ("step", "question", "answer", "tokens", "ended")})
        self.sampled += 1

    def charts(self) -> dict[str, list[Bucket]]:
        """Every series over the whole run, down-sampled."""
        return {name: series.buckets() for name, series in self.series.items()}

    def log_after(self, line: int) -> list[tuple[int, float, str, str]]:
        """Lines of the log behind number ``line``: number, time, kind of event, text. At most the last 400."""
        return [each for each in self.log if each[0] > line]


def rounded(value: float) -> float:
    """Six significant digits, which no screen can tell from more."""
    return float(f"{value:.6g}")
