"""The processes that judge: whatever an answer's code gives back becomes an object there, never where pages are served.

A value can be made to hold whoever builds or compares it: a set of integers that collide takes time that grows with the
square of its size, inside the interpreter, where no limit of Python's reaches. So programs, their results, the checks
and the comparisons all live in a process of its own per judgement at work (``python -m eval_prompts.judging.process``),
which limits its own time (``sandbox.watchdog``) and its memory. This process gets one line of JSON per judgement, of
limited size, and ends a judging process that has not answered in time.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

from eval_prompts.judging.assignment import Assignment
from eval_prompts.judging.outcome import Check
from eval_prompts.judging.verdict import Verdict
from tuning.errors import UserError

AT_ONCE = 2
"""Judging processes at most; further judgements wait for their turn."""
SECONDS = {False: 25.0, True: 70.0}
"""For one judgement, without and with the jail; the steps inside have shorter limits of their own."""
START_SECONDS = 60.0
OWN_SECONDS = 12.0
"""Of processor time that a judging process itself may use for one answer: reading, checking and comparing."""
MEMORY_MB = 3072
MAX_REPLY = 32 << 20
ANSWERS_PER_PROCESS = 500
HELD = "what it gives back takes too long or too much memory to be taken, and was stopped"
ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "SYSTEMROOT", "TEMP")
"""The variables that a judging process is given; the others may hold secrets."""


class JudgingError(Exception):
    """The judging itself failed, which says nothing of the answer; holds the judging process's traceback."""


class JudgingProcess:
    """One process that judges one answer after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "eval_prompts.judging.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(),
            start_new_session=True,
        )
        self._buffer = bytearray()
        self._allowance = START_SECONDS
        self.judged = 0

    @property
    def pid(self) -> int:
        """Its process id, which is that of its group as well."""
        return self._process.pid

    def judge(self, question: dict[str, Any], seconds: float) -> Verdict:
        """The verdict. Raises UserError where code cannot be run here, JudgingError where the judging itself failed;
        after a JudgingError, or a verdict that says ``HELD``, the process is gone (``usable``)."""
        deadline = time.monotonic() + seconds + self._allowance
        last: Verdict | None = None
        try:
            self._write(json.dumps(question).encode() + b"\n")
            while True:
                reply = json.loads(self._line(deadline))
                if "so_far" not in reply:
                    break
                last = Verdict.from_dict(reply["so_far"])
        except (OSError, EOFError) as error:
            self.close()
            if last is None:
                raise JudgingError(f"The judging process ended ({error or self._process.returncode}).") from error
            return _held(last, bool(Assignment.from_dict(question["task"]).asks_something))
        self.judged += 1
        self._allowance = 0.0
        if "unavailable" in reply:
            raise UserError(reply["unavailable"])
        if "failed" in reply:
            raise JudgingError(f"The judging process says:\n{reply['failed']}")
        return Verdict.from_dict(reply["verdict"])

    @property
    def usable(self) -> bool:
        """Whether it can judge a further answer."""
        return self._process.poll() is None and self.judged < ANSWERS_PER_PROCESS

    def close(self) -> None:
        """End it and all that it started."""
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe:
                    pipe.close()
        self._process.wait()

    def _write(self, data: bytes) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        pipe.write(data)
        pipe.flush()

    def _line(self, deadline: float) -> bytes:
        pipe = self._process.stdout
        assert pipe is not None
        if not hasattr(os, "killpg"):
            return pipe.readline(MAX_REPLY)  # Windows cannot wait for a pipe with a time limit
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                left = deadline - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise EOFError("it did not answer in time")
                chunk = os.read(pipe.fileno(), 1 << 16)
                if not chunk:
                    raise EOFError
                self._buffer += chunk
                if len(self._buffer) > MAX_REPLY:
                    raise EOFError("its answer is too long")
        line, _, rest = self._buffer.partition(b"\n")
        self._buffer = rest
        return bytes(line)


_turn = threading.BoundedSemaphore(AT_ONCE)
_idle: list[JudgingProcess] = []
_idle_lock = threading.Lock()


def judge_apart(text: str, task: Assignment, stopped: bool | None, jail: bool) -> Verdict:
    """The verdict on an answer by a judging process, which is started where none is free.

    Raises UserError where code cannot be run on this machine, JudgingError where the judging itself failed.
    """
    question = {"text": text, "task": task.to_dict(), "stopped": stopped, "jail": jail}
    with _turn:
        process = _take()
        try:
            return process.judge(question, SECONDS[jail])
        finally:
            if process.usable:
                with _idle_lock:
                    _idle.append(process)
            else:
                process.close()


def _take() -> JudgingProcess:
    with _idle_lock:
        while _idle:
            process = _idle.pop()
            if process.usable:
                return process
            process.close()
    try:
        return JudgingProcess()
    except OSError as error:
        raise UserError(f"Code cannot be judged here: no process can be started ({error}).") from error


def close() -> None:
    """End all idle judging processes; the next judgement starts a new one."""
    with _idle_lock:
        while _idle:
            _idle.pop().close()


atexit.register(close)


def _held(last: Verdict, wanted: bool) -> Verdict:
    """The verdict where the judging process ended over what the code gave back: the last that was known, and that."""
    verdict = replace(last, runs="no", runs_reason=HELD) if last.runs == "not run" else last
    checks = (Check("gives what can be taken", False, HELD),) if wanted else ()
    return replace(verdict, task="fails" if wanted else "none", checks=checks)


def _environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
    given = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    return {**given, "PYTHONPATH": path, "PYTHONUTF8": "1"}


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MB << 20, MEMORY_MB << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _answer(question: dict[str, Any], out: IO[str]) -> dict[str, Any]:
    from eval_prompts.judging.examine import examine
    from eval_prompts.judging.sandbox.watchdog import within

    def so_far(verdict: Verdict) -> None:
        _say({"so_far": asdict(verdict)}, out)

    try:
        task = Assignment.from_dict(question["task"])
        with within(OWN_SECONDS):
            verdict = examine(question["text"], task, stopped=question["stopped"], jail=question["jail"], so_far=so_far)
    except UserError as error:
        return {"unavailable": str(error)}
    except Exception:
        return {"failed": traceback.format_exc()}
    return {"verdict": asdict(verdict)}


def _say(reply: dict[str, Any], out: IO[str]) -> None:
    out.write(json.dumps(reply) + "\n")
    out.flush()


def serve() -> None:
    """Judge what comes in as lines of JSON until the input ends."""
    from eval_prompts.judging.sandbox import watchdog

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory()
    watchdog.arm()
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        _say(_answer(json.loads(line), out), out)


if __name__ == "__main__":
    serve()
