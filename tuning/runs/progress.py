"""What a run's events look like in a terminal and in its log: lines, and a bar where there is a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from tuning.runs.events import Event

BAR_CELLS = 24


class Reporter:
    """Shows events as they come: a line each in ``log`` (a file that is appended to), and on ``terminal`` a bar that
    moves while steps pass. Either may be None."""

    def __init__(self, terminal: TextIO | None, log: Path | None = None) -> None:
        self.terminal, self.log = terminal, log
        self.bar = bool(terminal and terminal.isatty())

    def show(self, event: Event) -> None:
        """Report one event."""
        text = line(event)
        if text and self.log is not None and self.log.parent.is_dir():
            clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(event["time"]))
            with self.log.open("a", encoding="utf-8") as log:
                log.write(f"{clock} {text}\n")
        if self.bar and event["event"] == "step":
            self.write("\r\x1b[K" + bar(event))
        elif text:
            self.write(("\r\x1b[K" if self.bar else "") + text + "\n")

    def write(self, text: str) -> None:
        """Print; a terminal or pipe that has gone away is no reason to stop training."""
        if self.terminal is None:
            return
        try:
            self.terminal.write(text)
            self.terminal.flush()
        except OSError:
            self.terminal = None

    def close(self) -> None:
        """Leave the bar's line."""
        if self.bar:
            self.write("\n")


def bar(event: Event) -> str:
    """A step as a progress bar of fixed width."""
    full = BAR_CELLS * event["step"] // event["max_steps"]
    cells = "█" * full + "·" * (BAR_CELLS - full)
    return f"{cells} {event['step']}/{event['max_steps']}  loss {number(event['loss'])}  {pace(event)}"


def line(event: Event) -> str:
    """An event as one line of a log; '' for those that say nothing to people."""
    kind = event["event"]
    describe = DESCRIBE.get(kind)
    return describe(event) if describe else event.get("message", "")


def started(event: Event) -> str:
    """What trains on what."""
    return (
        f"Training {event['trainable']:,} adapter weights on {event['train_rows']} rows of {event['data']} "
        f"({event['model']}; {event['device']}, {event['threads']} threads, {event['forward']} passes)"
    )


def stepped(event: Event) -> str:
    """A step's figures."""
    return (
        f"step {event['step']}/{event['max_steps']}  epoch {event['epoch']:.2f}  loss {number(event['loss'])}  "
        f"{preferred(event)}lr {event['learning_rate']:.2e}  gradient {number(event['grad_norm'])}  {pace(event)}"
    )


def pace(event: Event) -> str:
    """Speed, memory and time left."""
    return f"{event['tokens_per_second']:,.0f} tok/s  {event['memory_mb']:,} MB  {duration(event['eta_seconds'])} left"


def validated(event: Event) -> str:
    """A validation's loss."""
    mark = "  (best so far, adapter saved)" if event.get("kept", event["best"]) else ""
    told = f"step {event['step']}  validation loss {number(event['validation_loss'])}  {preferred(event)}"
    return f"{told.rstrip()}{mark}"


def preferred(event: Event) -> str:
    """Of preference training, how many pairs come out right, and by how much; else ''."""
    if event.get("right") is None or event.get("margin") is None:
        return ""
    return f"right {100 * event['right']:.0f}%  margin {number(event['margin'])}  "


def sampled(event: Event) -> str:
    """The answer at this step."""
    end = "ended" if event["ended"] else "hit the cap"
    lines = event["answer"].splitlines() if event["answer"].strip() else ["(only blank lines)"]
    answer = "\n".join("    " + part for part in lines)
    return f"step {event['step']}  {event['question']}  ({event['tokens']} tokens, {end})\n{answer}"


def resulted(event: Event) -> str:
    """The run in one line."""
    parts = [f"done after {event['step']} steps, {duration(event['seconds'])}"]
    if event.get("score") is not None:
        told = f"the adapter of step {event['best_step']} is kept"
        parts.append(f"{told}: {100 * event['score']:.1f}% on {event['scored_on']}")
    for name, before, after in (
        ("validation", "loss_before", "best_loss"),
        ("test", "test_loss_before", "test_loss_after"),
    ):
        if event.get(before) and event.get(after) is not None:
            change = 100 * (event[after] / event[before] - 1)
            parts.append(f"{name} loss {number(event[before])} to {number(event[after])} ({change:+.1f}%)")
    return ", ".join(parts)


def scored(event: Event) -> str:
    """A task's score at this step."""
    mark = "  (best so far, adapter saved)" if event["best"] else ""
    interval = f"{100 * event['low']:.0f} to {100 * event['high']:.0f}"
    told = f"{100 * event['score']:.1f}% ({interval}) of {event['questions']} questions"
    told += f", {event['unasked']} could not be asked" if event.get("unasked") else ""
    return f"step {event['step']}  score on {event['task']} {told}{mark}"


def rounded_off(event: Event) -> str:
    """What a round of ``verified`` asked, found and kept."""
    told = (
        f"round {event['number']}/{event['of']}: {event['answers']:,} answers to {event['questions']:,} questions, "
        f"{event['passed']:,} pass (to {event['solved']:,} questions)"
    )
    if event.get("unasked"):
        told += f"; {event['unasked']:,} questions could not be asked"
    if not event["passed"]:
        return f"{told}: none passes, training goes on with the data alone"
    left_out = "; ".join(f"{count:,} {reason}" for reason, count in event.get("left_out", {}).items())
    told += f"; {event['trained']:,} are trained beside the data's own"
    return told + (f" (left out: {left_out})" if left_out else "")


def number(value: Any) -> str:
    """Four significant digits, or a dash."""
    return "-" if value is None else f"{value:.4g}"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds as people say them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


DESCRIBE: dict[str, Callable[[Event], str]] = {
    "start": started,
    "step": stepped,
    "validation": validated,
    "sample": sampled,
    "result": resulted,
    "checkpoint": lambda event: f"step {event['step']}  checkpoint saved",
    "round": rounded_off,
    "score": scored,
    "resumed": lambda event: f"resumed after step {event['step']}",
    "finished": lambda event: f"finished: {event['message']}",
    "stopped": lambda event: f"stopped: {event['message']}",
    "failed": lambda event: f"failed: {event['message']}",
}


def terminal(quiet: bool) -> TextIO | None:
    """Where progress goes: standard output, or nowhere."""
    return None if quiet else sys.stdout
