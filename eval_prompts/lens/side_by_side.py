"""Two iterators that compute on the CPU, taken at the same time, each by a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")

START_SECONDS = 60.0


def side_by_side(one: Iterator[T], other: Iterator[T]) -> Iterator[tuple[T, T]]:
    """The items of both, pair by pair, as ``zip`` gives them; each is computed with half of this thread's threads.

    Two passes of a few hundred tokens beside each other take a tenth less time than one after the other, each by all
    threads: what is too small to be shared out leaves no thread idle. Raises ValueError if one ends before the other,
    and what either raises. With a single thread both are taken in turns.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        yield from zip(one, other, strict=True)
        return
    # PyTorch takes the number last set for threads that begin to compute later, so it is set back here at once.
    started = threading.Barrier(3)
    workers = [
        ThreadPoolExecutor(1, "side", initializer=_begin, initargs=(max(1, threads // 2), started)) for _ in range(2)
    ]
    try:
        futures = [worker.submit(_next, each) for worker, each in zip(workers, (one, other), strict=True)]
        started.wait(START_SECONDS)
        torch.set_num_threads(threads)
        while True:
            ours, theirs = (future.result() for future in futures)
            if ours is None or theirs is None:
                if ours is not theirs:
                    raise ValueError("one side ends before the other")
                return
            yield ours, theirs
            futures = [worker.submit(_next, each) for worker, each in zip(workers, (one, other), strict=True)]
    finally:
        for worker in workers:
            worker.shutdown()


def _begin(threads: int, started: threading.Barrier) -> None:
    torch.get_num_threads()  # at its first look a thread takes the number that holds for all: before it has its own
    torch.set_num_threads(threads)
    started.wait(START_SECONDS)


def _next(each: Iterator[T]) -> T | None:
    with torch.inference_mode():
        return next(each, None)
