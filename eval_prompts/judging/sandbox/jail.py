"""The second, opt-in jail, for local use: CPython under ``bubblewrap``, for code that needs numpy or scikit-learn.

In the jail there is no network, no environment, no home; the interpreter is mounted read-only, the only writable place
is a small /tmp in memory; CPU time, memory, file sizes and processes are limited; and the whole process namespace dies
when its time is over or this process ends. Unlike the ``pydantic-monty`` sandbox it leaves the kernel's interface to
the code, so it is never used unless asked for, and refused where ``bwrap`` is missing or may not create namespaces.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval_prompts.judging.outcome import PRINTED_LIMIT, Opaque, Outcome, State, Typing, plain
from eval_prompts.judging.sandbox import jail_child
from eval_prompts.judging.sandbox.seccomp import fork_filter
from eval_prompts.judging.sandbox.watchdog import within
from tuning.errors import UserError

if TYPE_CHECKING:
    from types import TracebackType

SECONDS = 10.0
CPU_SECONDS = 8
MEMORY_MB = 2048
FILE_MB = 8
SCRATCH_MB = 32
MAX_REPLY = 4 << 20
HANDING_OVER = 1.5
"""Seconds of this process's own time for turning what a step gives into objects here."""
MAX_TYPED_LINES = 200
SYSTEM_FOLDERS = ("/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin")
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
STATES = frozenset({"ok", "raised", "exited", "limit", "lacking"})
_turn = threading.BoundedSemaphore(2)


@functools.cache
def unavailable() -> str:
    """Why the jail cannot be used on this machine; '' if it can. Tried once."""
    if not sys.platform.startswith("linux") or not _bwrap():
        return "bubblewrap (the program bwrap) is not installed"
    try:
        with Jail() as jail:
            outcome = jail.evaluate("6 * 7")
    except OSError as error:
        return f"bwrap could not be started ({error})"
    if outcome.value == 42:
        return ""
    return "bwrap may not create namespaces here" + (f": {jail.complaint}" if jail.complaint else "")


def open_jail(seconds: float = SECONDS) -> Jail:
    """A jail for one program, for so many seconds at most. Raises UserError where there is none."""
    reason = unavailable()
    if reason:
        raise UserError(f"The local jail cannot be used: {reason}. Code stays judged without running it.")
    return Jail(min(seconds, SECONDS))


class Jail:
    """One program in one jailed process, as ``outcome.Session``; a context manager."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._broken: Outcome | None = None
        self._buffer = b""
        self.lazy: frozenset[str] = frozenset()
        self.complaint = ""

    def __enter__(self) -> Jail:
        _turn.acquire()
        try:
            self._start()
        except BaseException:
            _turn.release()
            raise
        return self

    def _start(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        try:
            with fork_filter() as filter_fd:
                self._process = subprocess.Popen(
                    _command(filter_fd),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                    pass_fds=[filter_fd] if filter_fd is not None else [],
                    env={},
                    cwd="/",
                    start_new_session=True,
                )
        except BaseException:
            self._errors.close()
            raise
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("The jail was started without its pipes.")
        self._input, self._output = self._process.stdin, self._process.stdout
        self._deadline = time.monotonic() + self._seconds
        for pipe in (self._input, self._output):
            os.set_blocking(pipe.fileno(), False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kill()
        self._errors.close()
        _turn.release()

    @property
    def group(self) -> int:
        """The id of the jail's process group."""
        return self._process.pid

    def run(self, source: str, typing: Typing | None = None) -> Outcome:
        """Run a program in the jail's namespace."""
        return self._perform({"source": source}, typing)

    def evaluate(
        self, expression: str, values: Mapping[str, Any] | None = None, typing: Typing | None = None
    ) -> Outcome:
        """The value of one expression; ``values`` (plain data) are bound first."""
        encoded = {name: jail_child.encode(value) for name, value in (values or {}).items()}
        return self._perform({"expression": expression, "values": encoded}, typing)

    def _perform(self, command: dict[str, Any], typing: Typing | None) -> Outcome:
        if self._broken:
            return self._broken
        try:
            with within(HANDING_OVER):
                return self._exchange(command, typing)
        except _EndedError as ended:
            self._broken = Outcome(ended.state, reason=ended.reason)
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
            self._broken = Outcome("raised", reason="interferes with the program that runs it")
        self._kill()
        return self._broken

    def _exchange(self, command: dict[str, Any], typing: Typing | None) -> Outcome:
        self._send(command)
        reply = self._reply()
        for asked in range(MAX_TYPED_LINES + 2):
            if "ask" not in reply:
                return _outcome(reply)
            self._send(_typed(typing if asked < MAX_TYPED_LINES else None, reply["ask"]))
            reply = self._reply()
        raise _EndedError("limit", "asked for input without end")

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        with selectors.DefaultSelector() as selector:
            selector.register(self._input, selectors.EVENT_WRITE)
            while data:
                self._await(selector)
                try:
                    data = data[os.write(self._input.fileno(), data) :]
                except OSError:
                    raise self._ended() from None

    def _reply(self) -> dict[str, Any]:
        """The next line from the jail as a JSON object; raises _EndedError at the end of time, or of the process."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                self._await(selector)
                chunk = self._output.read(1 << 16)
                if not chunk:
                    raise self._ended()
                self._buffer += chunk
                if len(self._buffer) > MAX_REPLY:
                    raise _EndedError("limit", "gave more data than can be taken")
        line, _, self._buffer = self._buffer.partition(b"\n")
        reply = json.loads(line)
        if not isinstance(reply, dict):
            raise ValueError("no JSON object")
        return reply

    def _await(self, selector: selectors.BaseSelector) -> None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0 or not selector.select(remaining):
            raise _EndedError("limit", "took too long and was stopped")

    def _ended(self) -> _EndedError:
        """What to say when the jailed process is gone."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
        self._errors.seek(0)
        self.complaint = self._errors.read(500).decode(errors="replace").strip().split("\n")[0]
        code = self._process.returncode
        if code is not None and code > 128:
            return _EndedError("limit", f"was stopped ({_signal_name(code - 128)})")
        return _EndedError("exited", "ends the program itself, before it could be checked")

    def _kill(self) -> None:
        """Kill the whole group; the jail's process namespace dies with its first process."""
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._output.close()
        with contextlib.suppress(OSError):
            self._input.close()
        self._process.wait()


class _EndedError(Exception):
    def __init__(self, state: State, reason: str) -> None:
        super().__init__(reason)
        self.state, self.reason = state, reason


def _typed(typing: Typing | None, prompt: object) -> dict[str, Any]:
    try:
        return {"line": typing(prompt if isinstance(prompt, str) else "")} if typing else {"eof": True}
    except EOFError:
        return {"eof": True}


def _outcome(reply: dict[str, Any]) -> Outcome:
    """The Outcome in a reply; raises ValueError or the like for one that no honest jail sends."""
    state, printed, asked = reply["state"], reply["printed"], reply["asked"]
    if state not in STATES or type(printed) is not str or type(asked) is not int:
        raise ValueError("not a reply")
    reason = _encodable(str(reply.get("reason", ""))[:300])
    printed = _encodable(printed[:PRINTED_LIMIT])
    if state != "ok":
        out_of_input, failing = reply.get("out_of_input") is True, reply.get("failing") is True
        error, message = (_encodable(str(reply.get(key, ""))[:300]) for key in ("error", "message"))
        return Outcome(state, None, printed, reason, asked, out_of_input, error, message, failing)
    try:
        value = plain(jail_child.decode(reply["value"]))
    except (ValueError, TypeError):
        value = Opaque("an object that is no plain value")
    return Outcome("ok", value, printed, "", asked)


def _encodable(text: str) -> str:
    """``text`` with a question mark for each half of a character, which no page or file can hold."""
    return text.encode(errors="replace").decode()


def _command(filter_fd: int | None) -> list[str]:
    """The bwrap command line: everything unshared, nothing writable but a small /tmp."""
    command = [_bwrap(), "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
    command += ["--uid", "65534", "--gid", "65534", "--hostname", "jail"]
    if _can("--disable-userns"):
        command += ["--unshare-user", "--disable-userns"]
    for name, value in ENVIRONMENT.items():
        command += ["--setenv", name, value]
    command += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    command += [*(["--size", str(SCRATCH_MB << 20)] if _can("--size") else []), "--tmpfs", "/tmp"]
    for folder in SYSTEM_FOLDERS:
        if Path(folder).is_symlink():
            command += ["--symlink", str(Path(folder).readlink()), folder]
        elif Path(folder).is_dir():
            command += ["--ro-bind", folder, folder]
    command += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    for folder in dict.fromkeys([sys.base_prefix, sys.prefix]):
        if not folder.startswith("/usr/") and folder != "/usr":
            command += ["--ro-bind", folder, folder]
    command += ["--ro-bind", str(Path(jail_child.__file__)), "/jail.py", "--remount-ro", "/", "--chdir", "/tmp"]
    if filter_fd is not None:
        command += ["--seccomp", str(filter_fd)]
    limits = [str(CPU_SECONDS), str(MEMORY_MB), str(FILE_MB)]
    return [*command, "--", sys.executable, "-I", "-X", "utf8", "/jail.py", *limits]


def _bwrap() -> str:
    return shutil.which("bwrap") or ""


@functools.cache
def _can(option: str) -> bool:
    """Whether this version of bwrap knows an option."""
    text = subprocess.run([_bwrap(), "--help"], capture_output=True, text=True, check=False).stdout
    return f"{option} " in text or f"{option}\n" in text


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
