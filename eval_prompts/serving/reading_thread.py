"""The thread in which texts are read: one for those that come one after another, none when no more come."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

IDLE_SECONDS = 2.0
"""How long the thread waits for the next text. Beginning another, with matrix products and memory of its own, and
mapping the weights again is a tenth of a second; while it lives, its team of OpenMP workers slows answers down (see
:func:`eval_prompts.serving.local.in_a_thread_that_ends`)."""

log = logging.getLogger(__name__)


class ReadingThread:
    """Does works one after another, in the order in which they came. All methods may be called from any thread."""

    def __init__(self, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._works: queue.Queue[tuple[Callable[[], Any], Future[Any]]] = queue.Queue()
        self._endings: dict[str, Callable[[], None]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def run(self, work: Callable[[], T], **endings: Callable[[], None]) -> T:
        """The result of ``work``; what it raises is raised here. ``endings`` are done, each once by its name, when no
        more works come."""
        future: Future[T] = Future()
        with self._lock:
            self._endings |= endings
            self._works.put((work, future))
            if self._thread is None or not self._thread.is_alive():  # a fork takes no thread along
                self._thread = threading.Thread(target=self._work, name="reading", daemon=True)
                self._thread.start()
        return future.result()

    def _work(self) -> None:
        while True:
            try:
                work, future = self._works.get(timeout=self._idle_seconds)
            except queue.Empty:
                with self._lock:
                    if self._works.empty():
                        self._end()
                        return
                continue
            try:
                future.set_result(work())
            except BaseException as error:  # whoever waits is told
                future.set_exception(error)
            del work, future

    def _end(self) -> None:
        """Do what is left to do. The lock is held."""
        self._thread = None
        endings, self._endings = self._endings, {}
        for ending in endings.values():
            try:
                ending()
            except Exception:
                log.exception("What reading has used could not be given back")


READING = ReadingThread()
