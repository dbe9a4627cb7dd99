"""Memory that the system may take back: pages of weight files that have been read and are not needed soon."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MADV_PAGEOUT = 21


def page_out(tensors: Iterable[torch.Tensor]) -> None:
    """Give the memory of ``tensors`` that are mapped from a file back; who reads them again reads the file again.

    Linux alone knows this advice (madvise(2), MADV_PAGEOUT, since 5.4); it never changes what memory holds, and where
    it is not known nothing happens. Tensors that no file backs stay, as long as there is no swap.
    """
    if not sys.platform.startswith("linux"):
        return
    advise = ctypes.CDLL(None, use_errno=True).madvise
    page = mmap.PAGESIZE
    for tensor in tensors:
        begin = -(-tensor.data_ptr() // page) * page
        end = (tensor.data_ptr() + tensor.nbytes) // page * page
        if tensor.is_cpu and end > begin:
            advise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), MADV_PAGEOUT)
