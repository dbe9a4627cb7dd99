"""What the server does about its memory, in a process of its own."""

import subprocess
import sys

import pytest

COUNT_ARENAS = """
import ctypes, sys, threading
from space_config.server.malloc import share_arenas

share_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
together = threading.Barrier(6)

def take():
    together.wait()
    libc.malloc(ctypes.c_size_t(1000))
    together.wait()

threads = [threading.Thread(target=take) for _ in range(6)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
file = libc.fopen(sys.argv[1].encode(), b"w")
libc.malloc_info(0, ctypes.c_void_p(file))
libc.fclose(ctypes.c_void_p(file))
"""


def glibc() -> bool:
    import platform

    return platform.libc_ver()[0] == "glibc"


@pytest.mark.skipif(not glibc(), reason="needs glibc, whose pools these are")
def test_all_threads_share_two_pools(tmp_path):
    subprocess.run([sys.executable, "-c", COUNT_ARENAS, tmp_path / "info.xml"], check=True)
    assert (tmp_path / "info.xml").read_text().count("<heap nr=") <= 2
