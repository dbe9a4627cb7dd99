"""Memory of this process, in MiB, as Linux tells it."""

from __future__ import annotations

from pathlib import Path

FIELDS = {"VmHWM": "peak_mb", "VmRSS": "resident_mb", "RssAnon": "own_mb"}


def memory() -> dict[str, int]:
    """Peak of the resident memory, resident memory now, and what of that no file backs."""
    found = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in FIELDS:
            found[FIELDS[name]] = int(value.split()[0]) // 1024
    return found
