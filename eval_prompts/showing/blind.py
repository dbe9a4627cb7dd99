"""What a blind visitor may see of two answers while they stream: nothing that tells which model is faster or first.

Base and tuned rows are computed in one order, so one of them is regularly a step ahead. Shown as they stand, the side
with one token more, or with the first token, would always be the same one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eval_prompts.answers import Answer
    from eval_prompts.rows import State
    from eval_prompts.stream import Stream

COMPLETE = ("ended", "capped")


def timeless(answer: Answer) -> Answer:
    """The answer without its times."""
    return replace(answer, seconds=0.0, first_token_seconds=None)


def in_step(stream: Stream, answers: Sequence[Answer]) -> list[Answer]:
    """The answers with both sides of each question at the same count of tokens.

    A side has ended once the other one is further than its end, or has ended too. Of two answers that were stopped
    no more is kept than the shorter one has.
    """
    shown: list[Answer] = []
    for _, pair in groupby(answers, key=lambda answer: answer.index):
        shown += _pair_in_step(stream, list(pair))
    return shown


def _pair_in_step(stream: Stream, pair: list[Answer]) -> list[Answer]:
    count = min((answer.tokens for answer in pair if answer.state not in COMPLETE), default=math.inf)
    state: State = "streaming"
    if any(answer.state == "waiting" for answer in pair):
        count, state = 0, "waiting"
    elif all(answer.done for answer in pair):
        state = "failed" if any(answer.state == "failed" for answer in pair) else "cancelled"
    return [answer if answer.tokens < count else _cut(stream, answer, int(count), state) for answer in pair]


def _cut(stream: Stream, answer: Answer, count: int, state: State) -> Answer:
    """An answer as it stood after ``count`` tokens."""
    if answer.tokens == count:
        return replace(answer, state=state)
    sure = answer.confidence[:count]
    row = next(row for row in stream.rows if (row.side, row.index) == (answer.side, answer.index))
    text = row.text(row.generated[:count]).rstrip("\ufffd")
    return replace(answer, text=text, tokens=count, state=state, confidence=sure)
