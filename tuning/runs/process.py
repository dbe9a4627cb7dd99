"""Is that process still the one that was started? Robust against reused numbers and against clocks that jump."""

from __future__ import annotations

from pathlib import Path
from typing import Any

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PROC = Path("/proc")
START_FIELD = 19


def identity(pid: int) -> dict[str, Any] | None:
    """What tells a living process from any other: its number, when it started, and in which boot; None if it is dead.

    On Linux the start is counted in ticks since boot, which no clock adjustment changes; elsewhere in seconds.
    """
    if PROC.joinpath("self/stat").exists():
        try:
            text = (PROC / str(pid) / "stat").read_text()
        except OSError:
            return None
        fields = text.rpartition(")")[2].split()
        if fields[0] in "ZX":
            return None
        return {"pid": pid, "started": int(fields[START_FIELD]), "boot": boot()}
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return {"pid": pid, "started": round(process.create_time()), "boot": boot()}
    except psutil.Error:
        return None


def boot() -> str:
    """This boot of the machine, where the system names it."""
    return BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""


def alive(recorded: dict[str, Any]) -> bool:
    """Whether the process that :func:`identity` described still runs."""
    return isinstance(recorded.get("pid"), int) and identity(recorded["pid"]) == {
        key: recorded.get(key) for key in ("pid", "started", "boot")
    }
