"""How much one visitor may ask for: token buckets by address, and how many connections are held open."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

REMEMBERED_ADDRESSES = 10_000


class Buckets:
    """A token bucket for each address: ``per_minute`` calls on average, and up to that many at once.

    (The token bucket algorithm, as in RFC 2698.) The addresses that came last are remembered, up to 10,000.
    """

    def __init__(self, per_minute: int, now: Callable[[], float] = time.monotonic) -> None:
        self._size, self._rate, self._now = float(per_minute), per_minute / 60, now
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, address: str) -> int:
        """Take one token: 0 if there was one, otherwise the seconds to wait for it."""
        with self._lock:
            now = self._now()
            level, seen = self._levels.pop(address, (self._size, now))
            level = min(self._size, level + (now - seen) * self._rate)
            wait = 0 if level >= 1 else math.ceil((1 - level) / self._rate)
            self._levels[address] = (level if wait else level - 1, now)
            while len(self._levels) > REMEMBERED_ADDRESSES:
                self._levels.popitem(last=False)
        return wait

    def give_back(self, address: str) -> None:
        """Put one token back: what it was taken for does not count."""
        with self._lock:
            if address in self._levels:
                level, seen = self._levels[address]
                self._levels[address] = min(self._size, level + 1), seen


class Connections:
    """How many requests of each address, and of all, are being served right now."""

    def __init__(self, per_address: int, in_all: int) -> None:
        self._per_address, self._in_all = per_address, in_all
        self._open: Counter[str] = Counter()

    @contextmanager
    def one(self, address: str) -> Iterator[bool]:
        """Counts one request while it is served; yields False where that is one too many."""
        fits = self._open[address] < self._per_address and self._open.total() < self._in_all
        self._open[address] += 1
        try:
            yield fits
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]
