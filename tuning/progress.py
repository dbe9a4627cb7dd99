"""How far a long step is: told to whoever asked, shown on a terminal, or written to a log now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[str, float | None], None]
"""Words, and the part that is done (0 to 1) where that is known."""

EVERY_SECONDS = 5.0


@contextmanager
def reporting(on_progress: Progress | None) -> Iterator[Progress]:
    """The given callback, or one that shows the long steps on a terminal, and elsewhere as a line now and then."""
    if on_progress is not None:
        yield on_progress
        return
    if not sys.stderr.isatty():
        yield lines()
        return
    from tqdm import tqdm

    with tqdm(total=100, leave=False, bar_format="{desc} {bar} {n:.0f}%") as bar:

        def show(text: str, fraction: float | None) -> None:
            bar.set_description_str(text, refresh=False)
            bar.n = round(100 * (fraction or 0))
            bar.refresh()

        yield show


def lines() -> Progress:
    """Progress as lines on standard error, for a log: at most one in :data:`EVERY_SECONDS`, and none before that."""
    shown = time.monotonic()

    def show(text: str, fraction: float | None) -> None:
        nonlocal shown
        if time.monotonic() - shown >= EVERY_SECONDS:
            shown = time.monotonic()
            print(text, file=sys.stderr, flush=True)

    return show
