"""``app.py`` as people run it, in a process of its own."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

PROJECT = Path(__file__).parents[2]
START_SECONDS = 120
PASSWORD = "a long enough password"


class App:
    """A running ``app.py``: its address, and the lines it has printed."""

    def __init__(self, data: Path, *options: str) -> None:
        """``data`` is the app's data folder, where it keeps votes and runs."""
        foreign = ("LORA_LENS_", "DATABASE_URL")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        self.process = subprocess.Popen(
            [sys.executable, "app.py", "--port", "0", "--device", "cpu", *options],
            cwd=PROJECT,
            env=environment | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "LORA_LENS_DATA": str(data)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._arriving: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.url = re.search(r"http://[^\s\"]+", self.wait_for_line("LoRA Lens is at "))[0]

    def _read(self) -> None:
        with self.process.stdout as lines:
            for line in lines:
                self._arriving.put(line.rstrip("\n"))
        self._arriving.put(None)

    def wait_for_line(self, part: str) -> str:
        """The next line that holds ``part``; fails with all that was printed if the app ends without it."""
        while True:
            line = self._arriving.get(timeout=START_SECONDS)
            assert line is not None, "app.py ended:\n" + "\n".join(self.lines)
            self.lines.append(line)
            if part in line:
                return line

    def remaining_lines(self) -> list[str]:
        """What an app that has ended printed last."""
        while (line := self._arriving.get(timeout=START_SECONDS)) is not None:
            self.lines.append(line)
        return self.lines

    def stop(self, by: signal.Signals = signal.SIGTERM) -> int:
        """The exit code after a signal."""
        self.process.send_signal(by)
        return self.process.wait(timeout=30)
