"""A seccomp filter for the jail: no further processes (threads are allowed) and no calls that only an attack needs.

A resource limit on processes does not bind the superuser, as whom containers often run; this filter does.
Format: classic BPF as in the kernel's ``linux/filter.h`` and ``linux/seccomp.h``; numbers of system calls from the
tables of the two architectures.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import struct
from collections.abc import Iterator

CLONE_THREAD = 0x00010000
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER_AT, ARCH_AT, FIRST_ARGUMENT_AT = 0, 4, 16
X32_NUMBERS = 0x40000000

ARCHITECTURES = {
    "x86_64": (0xC000003E, {"fork": 57, "vfork": 58, "clone": 56, "clone3": 435}),
    "aarch64": (0xC00000B7, {"clone": 220, "clone3": 435}),
}
REFUSED = {
    # ptrace, mount, umount2, pivot_root, unshare, setns, bpf, perf_event_open, io_uring_setup, keyctl, add_key,
    # request_key, userfaultfd, process_vm_readv, process_vm_writev
    "x86_64": (101, 165, 166, 155, 272, 308, 321, 298, 425, 250, 248, 249, 323, 310, 311),
    "aarch64": (117, 40, 39, 41, 97, 268, 280, 241, 425, 219, 217, 218, 282, 270, 271),
}


def program(machine: str) -> bytes:
    """The filter for a machine as ``platform.machine()`` names it; b'' for one that is not known."""
    if machine not in ARCHITECTURES:
        return b""
    arch, calls = ARCHITECTURES[machine]
    lines: list[tuple[int, int, int, int]] = [
        (LOAD, 0, 0, ARCH_AT),
        (EQUAL, 1, 0, arch),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER_AT),
        (AT_LEAST, 0, 1, X32_NUMBERS),
        (RETURN, 0, 0, KILL),
    ]
    answers = {calls["clone3"]: errno.ENOSYS, **dict.fromkeys(REFUSED[machine], errno.EPERM)}
    answers |= {calls[name]: errno.EAGAIN for name in ("fork", "vfork") if name in calls}
    for number, error in answers.items():
        lines += [(EQUAL, 0, 1, number), (RETURN, 0, 0, ERRNO | error)]
    lines += [
        (EQUAL, 1, 0, calls["clone"]),
        (RETURN, 0, 0, ALLOW),
        (LOAD, 0, 0, FIRST_ARGUMENT_AT),
        (ANY_BIT, 1, 0, CLONE_THREAD),
        (RETURN, 0, 0, ERRNO | errno.EAGAIN),
        (RETURN, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


@contextlib.contextmanager
def fork_filter() -> Iterator[int | None]:
    """A file descriptor from which bwrap reads the filter; None where the machine is not known."""
    filter_program = program(platform.machine())
    if not filter_program:
        yield None
        return
    descriptor = os.memfd_create("filter")
    try:
        os.write(descriptor, filter_program)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)
