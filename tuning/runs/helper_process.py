"""Work for a page that is too heavy or too risky for the web server, done in a process of its own: reading a stranger's
data, encoding it, merging weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tuning.errors import UserError

NICENESS = 10
FIRST_TO_GO = 500
"""Of 1000, by which Linux chooses whom to end when memory runs out."""


def environment() -> dict[str, str]:
    """The variables of a process that runs beside the web server: threads that wait do so asleep, because those who
    ask need the cores."""
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    return {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"}


def step_back() -> None:
    """Leave the processor to others first, and be the first to go where memory runs out (Linux)."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    score = Path("/proc/self/oom_score_adj")
    if score.exists():
        try:
            score.write_text(str(FIRST_TO_GO))
        except OSError:
            return


def ask(module: str, question: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Run ``python -m module`` with ``question`` as JSON on its input; the JSON object that it prints.

    Raises UserError with the process's own words, or saying that it took longer than ``seconds`` or was killed.
    """
    code, printed, said = call([sys.executable, "-m", module], json.dumps(question), seconds)
    try:
        answer: dict[str, Any] = json.loads(printed)
    except ValueError:
        raise UserError(said or died(code)) from None
    return answer


def answer(work: Callable[[dict[str, Any]], dict[str, Any]]) -> int:
    """Do in the process that :func:`ask` starts what was asked of it, and print the answer; a UserError becomes a line
    of the error stream. Returns the exit code."""
    step_back()
    try:
        print(json.dumps(work(json.load(sys.stdin))))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def call(command: Sequence[str], sent: str, seconds: float) -> tuple[int, str, str]:
    """Exit code, output, and the last line said in the error stream where the command refused. Raises UserError where
    it took too long; then it and all its children are gone."""
    worker = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
        env=environment(),
    )
    try:
        printed, complaint = worker.communicate(sent, timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.communicate()
        raise UserError(f"That took longer than {seconds:.0f} s and timed out: try fewer rows.") from None
    lines = [line for line in complaint.splitlines() if line.startswith("error: ")]
    return worker.returncode, printed, lines[-1].removeprefix("error: ") if lines else ""


def follow(
    command: Sequence[str], on_line: Callable[[str], None], on_start: Callable[[subprocess.Popen[str]], None]
) -> tuple[int, str]:
    """Run a command that goes on for long, telling each line that it prints; its exit code, and the last line said in
    the error stream where it refused. ``on_start`` is given the process, so that it can be ended."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        worker = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            env=environment(),
        )
        on_start(worker)
        assert worker.stdout is not None
        with worker.stdout:
            for line in worker.stdout:
                on_line(line)
        code = worker.wait()
        said.seek(0)
        lines = [line.strip() for line in said if line.startswith("error: ")]
    return code, lines[-1].removeprefix("error: ") if lines else ""


def died(code: int) -> str:
    """A process that ended without a word."""
    if code == -signal.SIGKILL:
        return "It was killed, most likely because the machine ran out of memory."
    return "It ended without a result; nothing was changed."
