"""The process that trains: it takes the machine's lock, writes the events, saves on signals, and has a last word."""

from __future__ import annotations

import logging
import os
import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from tuning import presets
from tuning.errors import UserError
from tuning.files import named_line
from tuning.runs import process
from tuning.runs.events import Events, translated
from tuning.runs.lock import working_on
from tuning.runs.progress import Reporter, terminal
from tuning.runs.run import Run
from tuning.runs.trackers import Mirror, tracker
from tuning.training import parallel

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
WHY_STOPPED = {"SIGTERM": "as asked", "SIGINT": "by Ctrl+C"}


class StopRequest:
    """Set by the first SIGTERM or SIGINT; a second one ends the process at once."""

    def __init__(self) -> None:
        self.name = ""

    def __call__(self) -> bool:
        return bool(self.name)

    def note(self, number: int, _frame: Any) -> None:
        """Signal handler: remember, and give the signals their default meaning back."""
        self.name = signal.Signals(number).name
        for each in STOP_SIGNALS:
            signal.signal(each, signal.SIG_DFL)


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Turn SIGTERM and SIGINT into a request for the time of the context."""
    request = StopRequest()
    before = {number: signal.signal(number, request.note) for number in STOP_SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def work(run: Run, ranks: parallel.Ranks, *, quiet: bool = False) -> str:
    """Train ``run`` from its newest checkpoint, or from the start; returns 'finished' or 'stopped'.

    Raises UserError for whatever ends the run early, once its last event says so.
    """
    with stop_signals() as stop, working_on(run.path) if ranks.first else nullcontext():
        channel = Channel(run, quiet) if ranks.first else None
        try:
            if channel:
                channel.track(run)
            return train(run, ranks, channel, stop)
        except Exception as error:
            raise last_word(run, channel, error) from error
        finally:
            if channel:
                channel.close()
            parallel.leave(ranks)


class Channel:
    """Where a worker's events go: the stream, the log, the terminal."""

    def __init__(self, run: Run, quiet: bool) -> None:
        self.events = Events(run.events_path)
        self.reporter = Reporter(terminal(quiet), run.log_path)
        self.mirror: Mirror | None = None

    def track(self, run: Run) -> None:
        """Mirror figures from now on, where the run wishes it. Raises UserError where the tracker is not there."""
        config = run.config()
        found = tracker(config.track, run.path, presets.to_dict(config))
        self.mirror = Mirror(found) if found else None

    def emit(self, kind: str, **fields: Any) -> None:
        """Write one event everywhere."""
        event = self.events.emit(kind, **fields)
        self.reporter.show(event)
        if self.mirror and (problem := self.mirror.take(event)):
            self.emit("log", message=problem)

    def close(self) -> None:
        """Leave the terminal tidy, and the tracker with all figures."""
        if self.mirror and (problem := self.mirror.close()):
            with suppress(UserError):  # the disk is full, and last words are written
                self.emit("log", message=problem)
        self.reporter.close()


def silent(kind: str, **fields: Any) -> None:
    """What the other processes of a run say."""


def train(run: Run, ranks: parallel.Ranks, channel: Channel | None, stop: StopRequest) -> str:
    """Setup and fit, between the events that frame them."""
    emit = channel.emit if channel else silent
    resumed = bool(run.follow()[0])
    emit("loading", message="loading model and data", **(process.identity(os.getpid()) or {}))

    # Imported with peft, bitsandbytes warns of an optional package that nothing here uses.
    logging.getLogger("bitsandbytes").setLevel(logging.CRITICAL)
    from tuning.training import loop, setup

    with tiny_floats_as_zero():
        job = setup.setup(run.path, run.config(), ranks, emit)
        if resumed:
            emit("resumed", step=job.progress.step)
        emit("start", max_steps=job.config.max_steps, processes=ranks.count, **job.facts)
        outcome = loop.fit(job, stop)
    if outcome == "finished":
        emit("finished", step=job.progress.step, message=f"the adapter is in {job.adapter}")
    else:
        reason = WHY_STOPPED.get(stop.name, "in another process")
        message = f"saved after step {job.progress.step}, from where it can be resumed ({reason})"
        emit("stopped", step=job.progress.step, message=message)
    return outcome


@contextmanager
def tiny_floats_as_zero() -> Iterator[None]:
    """A context in which floats below their type's normal range count as zero, because processors are slow with them.

    Afterwards they are computed again, since the process may go on with other work.
    """
    import torch

    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def last_word(run: Run, channel: Channel | None, error: Exception) -> UserError:
    """Write the event that says why a run failed; the error as one line for the user."""
    try:
        with translated(run.events_path):
            raise error
    except Exception as known:
        error = known
    message = str(error) if isinstance(error, UserError) else named_line(error)
    if channel and run.events_path.exists():
        channel.events.last_words("failed", message=message)
        write_log(run, f"failed: {message}" if isinstance(error, UserError) else traceback.format_exc())
    return error if isinstance(error, UserError) else UserError(f"{message} (details in {run.log_path})")


def write_log(run: Run, text: str) -> None:
    """Append to the run's log, if the disk lets us."""
    try:
        with run.log_path.open("a", encoding="utf-8") as log:
            log.write(text.rstrip() + "\n")
    except OSError:
        return
