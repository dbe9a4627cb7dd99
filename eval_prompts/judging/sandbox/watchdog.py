"""A limit on processor time that also holds for what no Python code can interrupt: building a hostile value inside the
interpreter.

Only the judging process arms it. There SIGPROF keeps its default action, which ends the process at once, whatever it is
doing; the process that serves pages sees the end of the pipe and says so. Only this process's own work counts, not the
time that it waits for a sandbox or for a busy machine. Where nothing armed it, it does nothing.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator

_armed: list[bool] = []


def arm() -> None:
    """From now on ``within`` ends this process when its time is over (not on Windows, which has no such signal)."""
    if hasattr(signal, "SIGPROF") and not _armed:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        _armed.append(True)


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """What happens inside may take so many seconds of processor time; inside another limit the nearer end counts."""
    if not _armed:
        yield
        return
    started = time.process_time()
    outer, _ = signal.getitimer(signal.ITIMER_PROF)
    signal.setitimer(signal.ITIMER_PROF, min(seconds, outer) if outer else seconds)
    try:
        yield
    finally:
        left = max(outer - (time.process_time() - started), 0.001) if outer else 0.0
        signal.setitimer(signal.ITIMER_PROF, left)
