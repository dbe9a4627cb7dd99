"""The memory of a server with many threads: what one of them has freed is used again by the others."""

from __future__ import annotations

import ctypes
import sys

M_ARENA_MAX = -8
"""From glibc's malloc.h."""
ARENAS = 2


def share_arenas() -> None:
    """Has all threads take memory from two pools; without effect where the C library is not glibc.

    Otherwise each new thread takes a pool of its own, up to eight for each core, and what is free in one is of no use
    to the others: after 600 questions, 32 at a time, 42 MB lay free in 16 pools, and 12 MB in two. To be called before
    threads are started.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_ARENA_MAX, ARENAS)
