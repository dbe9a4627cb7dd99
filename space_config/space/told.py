"""What a process that has a GPU tells of a request's rows, and how the app's own process takes it in."""

from __future__ import annotations

import time
from typing import NamedTuple

from eval_prompts.rows import FINAL_STATES, Row, State
from eval_prompts.stream import Stream

NOT_GONE_ON = "This turn could not be asked: the answer before it says nothing, or the conversation is too long by now."


class RowTold(NamedTuple):
    """What is told of one row."""

    ids: list[int]
    state: State
    odds: list[float | None]
    """How likely the model found each token, where the request asks for it."""
    short: bool
    """Whether the model's context leaves less room than the token cap does."""
    problem: str
    """Why this answer alone failed."""

    @classmethod
    def of(cls, row: Row) -> RowTold:
        """A row as it stands."""
        state = row.state  # before the tokens: what is over has all of them
        odds = row.odds if row.stream.settings.confidence else []
        return cls(row.generated, state, odds, row.short, row.problem)


Told = list[RowTold] | str
"""What is told of each row, or why there will be no answers."""


def take(stream: Stream, told: list[RowTold]) -> None:
    """Put what the GPU has told into a request's rows."""
    now = time.monotonic()
    for row, (ids, state, odds, short, problem) in zip(stream.rows, told, strict=True):
        if row.state in FINAL_STATES or row.cancelled:
            continue
        if state == "failed":
            row.problem = problem or NOT_GONE_ON
        row.odds, row.written, row.short, row.state = odds, ids, short, state
        if row.started is None and state != "waiting":
            row.started = now
        if row.first_token_seconds is None and ids:
            row.first_token_seconds = now - stream.asked
        if state in FINAL_STATES:
            row.finished = now
    stream.notify()


def drop_cancelled(stream: Stream) -> None:
    """End the rows that someone has asked to end; they need not wait for the GPU to hear of it."""
    for row in stream.rows:
        if row.cancelled and row.state not in FINAL_STATES:
            row.state, row.finished = "cancelled", time.monotonic()
            stream.notify()
