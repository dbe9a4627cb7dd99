"""How far a command is, on stderr: a bar on a terminal, else a line every few seconds."""

from __future__ import annotations

import sys
import time
from typing import Any

from tuning.progress import EVERY_SECONDS


class Progress:
    """Finished answers of all, with words that say more. Use it as a context manager."""

    def __init__(self, total: int, unit: str = "answers") -> None:
        self._total, self._unit = total, unit
        self._began = self._told = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=self._total, unit=self._unit, leave=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def of(self, done: int, total: int, words: str = "") -> None:
        """How many are finished now, where their number comes to be known on the way."""
        self._total = total
        if self._bar is not None:
            self._bar.total = total
        self.show(done, words)

    def show(self, done: int, words: str = "") -> None:
        """How many are finished now."""
        if self._bar is not None:
            self._bar.n = done
            self._bar.set_postfix_str(words)
            return
        now = time.monotonic()
        if now - self._told >= EVERY_SECONDS:
            self._told = now
            told = f"{done} of {self._total} {self._unit}, {now - self._began:.0f} s{', ' if words else ''}{words}"
            print(told, file=sys.stderr, flush=True)


def told_loading(message: str, progress: float | None = None) -> None:
    """A step of loading, on stderr; a bar's figures on a terminal alone."""
    if progress is None:
        print(message, file=sys.stderr, flush=True)
    elif sys.stderr.isatty():
        print(f"\r{message} {progress:.0%}  ", end="" if progress < 1 else "\n", file=sys.stderr, flush=True)
