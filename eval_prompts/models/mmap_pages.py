"""Memory that can be had again: pages of weight files that have been read and are not needed soon."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MAPS = Path("/proc/self/maps")
WEIGHT_FILES = ".safetensors"


def release_pages(tensors: Iterable[torch.Tensor]) -> None:
    """Give the memory of ``tensors`` that are mapped from a weight file back; reading them again maps it again.

    The file stays in the system's cache. Linux alone; elsewhere nothing happens. What was written into such a tensor
    would be lost: weights in use are never written to. Tensors that no file backs stay as they are.
    """
    if not sys.platform.startswith("linux"):
        return
    mapped = mapped_weight_files()
    advise = ctypes.CDLL(None, use_errno=True).madvise
    page = mmap.PAGESIZE
    for tensor in tensors:
        begin = -(-tensor.data_ptr() // page) * page
        end = (tensor.data_ptr() + tensor.nbytes) // page * page
        if end > begin and tensor.is_cpu and any(low <= begin and end <= high for low, high in mapped):
            advise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)


def mapped_weight_files() -> list[tuple[int, int]]:
    """First and one-past-last address of each weight file in this process's memory."""
    ranges = []
    for line in MAPS.read_text().splitlines():
        if line.endswith(WEIGHT_FILES):
            low, _, high = line.split(maxsplit=1)[0].partition("-")
            ranges.append((int(low, 16), int(high, 16)))
    return ranges
