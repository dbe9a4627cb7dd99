"""Untrusted code in ``pydantic-monty``: a Python interpreter without files, environment, network or processes.

Each session runs in a worker process of its own kind (the ``monty`` binary, started with an empty environment), so a
crash or a hang of the interpreter ends that worker and nothing else: the time and memory limits hold inside it, and a
worker that overruns them by a second is killed from here. What comes back is data that the worker's own code encodes,
not the program's: nothing that the program redefines or prints can reach that channel.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from eval_prompts.judging.outcome import Outcome, Printed, Typing, plain
from eval_prompts.judging.sandbox.dialect import STRING_CONSTANTS, Prepared, prepare
from eval_prompts.judging.sandbox.shortfalls import shortfall
from eval_prompts.judging.sandbox.watchdog import within
from eval_prompts.judging.syntax import syntax_tree
from tuning.errors import UserError

if TYPE_CHECKING:
    from types import TracebackType

    from pydantic_monty import Monty, MontyError, MontySession

MAX_WORKERS = 4
KILL_AFTER_SECONDS = 1.0
HANDING_OVER = 1.5
"""Seconds of this process's own time for turning what a step gives into objects here."""
SCRIPT_SECONDS = 6.0
"""The same for a test script, during which steps of the tested code run as well."""
MAX_TYPED_LINES = 200
MAX_MESSAGE = 500
END_OF_INPUT = "EOF when reading a line"


@dataclass(frozen=True)
class Limits:
    """What a session may use: ``seconds`` per step and ``total_seconds`` (after which no further step starts), memory,
    depth of calls, exchanges with this process."""

    seconds: float = 2.0
    total_seconds: float = 6.0
    memory_mb: int = 128
    recursion: int = 1000
    exchanges: int = 2000


class MontySandbox:
    """One sandboxed program, as ``outcome.Session``; a context manager that holds one worker."""

    def __init__(self, limits: Limits | None = None, pool: str = "programs") -> None:
        self._limits = limits or Limits()
        self._pool = pool
        self._stack = contextlib.ExitStack()
        self._session: MontySession | None = None
        self._broken: Outcome | None = None
        self._left = self._limits.total_seconds
        self.prepared = Prepared("")
        self.lazy: frozenset[str] = frozenset()

    def __enter__(self) -> MontySandbox:
        self._stack.__enter__()
        self._session = self._stack.enter_context(_checkout(self._pool, self._limits))
        _be_nice(self._session.worker_pid)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(_monty().MontyError):
            self._stack.__exit__(kind, error, trace)

    @property
    def worker(self) -> int | None:
        """The worker's process id."""
        return self._session.worker_pid if self._session is not None else None

    def run(self, source: str, typing: Typing | None = None) -> Outcome:
        """Run a program; errors become an Outcome. Its names stay for ``evaluate``, also after an error."""
        tree = syntax_tree(source)
        if tree is None:
            return Outcome("raised", reason="does not parse")
        self.prepared = prepare(source, tree)
        self.lazy |= self.prepared.lazy
        if self.prepared.lacks:
            return Outcome("lacking", reason="needs " + " and ".join(self.prepared.lacks))
        if self.prepared.prelude:
            self._feed(self.prepared.prelude, {}, None)
        return self._feed(f"{self.prepared.source}\nNone", {}, typing)

    def evaluate(
        self, expression: str, values: Mapping[str, Any] | None = None, typing: Typing | None = None
    ) -> Outcome:
        """The value of one expression in the program's namespace; ``values`` (plain data) are bound first."""
        return self._feed(f"(\n{expression}\n)", dict(values or {}), typing)

    def feed(self, source: str, names: Mapping[str, Any], values: Mapping[str, Any] | None = None) -> Outcome:
        """Run trusted test code; ``names`` may hold callables of this process, which get and return plain data, and
        ``values`` (plain data) are bound first."""
        tree = syntax_tree(source)
        prepared = prepare(source, tree) if tree else Prepared(source)
        if prepared.lacks:
            return Outcome("lacking", reason="needs " + " and ".join(prepared.lacks))
        if prepared.prelude:
            self._feed(prepared.prelude, {}, None)
        return self._feed(prepared.source, dict(values or {}), None, names)

    def _feed(
        self, source: str, values: dict[str, Any], typing: Typing | None, names: Mapping[str, Any] | None = None
    ) -> Outcome:
        if self._broken:
            return self._broken
        if self._session is None:
            raise RuntimeError("A session runs nothing before it is entered.")
        monty = _monty()
        printed = Printed()
        typist = _Typist(typing, printed)
        started = time.monotonic()
        lookup = names if names is not None else {"input": typist, "exit": _exit, "quit": _exit}
        try:
            with within(HANDING_OVER if names is None else SCRIPT_SECONDS):
                value = self._session.feed_run(
                    source, inputs=values, external_lookup=dict(lookup), print_callback=printed, cwd="/"
                )
                return Outcome("ok", plain(value), printed.text, asked=typist.asked)
        except monty.MontyError as error:
            outcome = _explain(error, source)
        except (RecursionError, ValueError, OverflowError, MemoryError) as error:
            outcome = Outcome("limit", reason=f"a value that cannot be handed over ({type(error).__name__})")
        finally:
            self._left -= time.monotonic() - started
            if self._left <= 0:
                self._broken = Outcome("limit", reason="took too long and was stopped")
        if printed.full:
            outcome = Outcome("limit", reason=f"printed more than {printed.limit:,} characters")
        outcome = replace(outcome, printed=printed.text, asked=typist.asked)
        if outcome.state == "limit":
            self._broken = outcome
        return outcome


class _Typist:
    """Stands for ``input``: prints the prompt, types what ``typing`` answers, and counts the lines."""

    def __init__(self, typing: Typing | None, printed: Printed) -> None:
        self.typing, self.printed, self.asked = typing, printed, 0

    def __call__(self, prompt: object = "", *_: object) -> str:
        self.asked += 1
        text = prompt if isinstance(prompt, str) else ""
        self.printed("stdout", text)
        if self.typing is None or self.asked > MAX_TYPED_LINES:
            raise EOFError(END_OF_INPUT)
        return self.typing(text)


def _exit(*code: object) -> None:
    raise SystemExit(str(code[0]) if code and isinstance(code[0], int | str) else "0")


def _explain(error: MontyError, source: str) -> Outcome:
    """The Outcome of a step that an error ended."""
    monty = _monty()
    if isinstance(error, monty.MontyCrashedError):
        return Outcome("limit", reason="took too long and was stopped" if error.timed_out else "was stopped")
    if not isinstance(error, monty.MontyRuntimeError | monty.MontySyntaxError):
        return Outcome("lacking", reason="a value that the sandbox cannot take")
    kind, _, whole = error.display("type-msg").partition(": ")
    whole = whole[:MAX_MESSAGE]
    message = whole.split("\n")[0]
    if isinstance(error, monty.MontySyntaxError):
        return Outcome("lacking", reason=f"the sandbox does not know this syntax ({message})")
    if kind == "SystemExit":
        code = message or "0"
        return Outcome(
            "exited", reason=f"ends the program itself (exit code {code})", failing=code not in ("0", "None")
        )
    if kind == "TimeoutError" and "limit exceeded" in message:
        return Outcome("limit", reason="took too long and was stopped")
    if kind == "MemoryError":
        return Outcome("limit", reason="needed too much memory and was stopped")
    if "suspension" in message and kind == "RuntimeError":
        return Outcome("limit", reason="asked for input without end")
    if END_OF_INPUT in message:
        return Outcome("raised", reason="asks for more input than there is", out_of_input=True, error="EOFError")
    lacking = shortfall(kind, message, source)
    if lacking:
        return Outcome("lacking", reason=lacking)
    lines = [frame.line for frame in error.traceback()] if isinstance(error, monty.MontyRuntimeError) else []
    line = f" (line {lines[-1]})" if lines and lines[-1] <= source.count("\n") + 1 else ""
    reason = f"{kind}: {message}{line}" if message else f"{kind}{line}"
    return Outcome("raised", reason=reason, error=kind, message=whole)


_pools: dict[str, Monty] = {}
_pools_lock = threading.Lock()


def _checkout(pool: str, limits: Limits) -> MontySession:
    """A fresh session of a warm worker; pools are started on first use. Programs and the tests that call them use
    different pools, so that neither can wait for a worker that the other holds."""
    return _started(pool).checkout(
        limits={
            "max_feed_duration_secs": limits.seconds,
            "max_memory": limits.memory_mb << 20,
            "max_recursion_depth": limits.recursion,
            "max_suspensions": limits.exchanges,
            "max_total_sleep_secs": limits.seconds,
        },
        os_policy={"sleep": "zero", "random_start": {"seed": 0}},
        external_modules={"string": _monty().ExternalModule(STRING_CONSTANTS)},
    )


def _started(name: str) -> Monty:
    with _pools_lock:
        if name not in _pools:
            if not _pools:
                atexit.register(close)
            try:
                pool = _monty().Monty(
                    min_processes=1,
                    max_processes=MAX_WORKERS,
                    feed_duration_limit_grace=KILL_AFTER_SECONDS,
                    max_checkouts_per_worker=1000,
                )
                _pools[name] = pool.__enter__()
            except Exception as error:  # an installation can be broken in any way
                raise UserError(
                    f"The sandbox cannot start ({error}): reinstall it with pip install pydantic-monty."
                ) from error
        return _pools[name]


def close() -> None:
    """End all workers; the next session starts new ones."""
    with _pools_lock:
        for pool in _pools.values():
            pool.__exit__(None, None, None)
        _pools.clear()


def _be_nice(pid: int | None) -> None:
    """Give the page and the models precedence over a worker that computes without end."""
    if pid and hasattr(os, "setpriority"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, pid, 10)


def _monty() -> Any:
    import pydantic_monty

    return pydantic_monty
