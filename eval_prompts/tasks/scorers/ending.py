"""Scorers of how an answer comes to its end: ends, no_repeats."""

from __future__ import annotations

from typing import Any

from eval_prompts.judging.repetition import THRESHOLD, repetition
from eval_prompts.tasks.scorers.base import Given, Judge, Score, number, said


def ends() -> Judge:
    """The model ends the answer by itself, before the token cap."""

    def judge(given: Given) -> Score | None:
        if given.stopped is None:
            return None
        return said("ends", given.stopped, "" if given.stopped else "cut off at the token cap")

    return judge


def no_repeats(most: Any = THRESHOLD) -> Judge:
    """Less than the share ``most`` of the answer says again what it said before (runs of 16 tokens)."""
    line = number(most, "most", 0, 1)

    def judge(given: Given) -> Score:
        share = repetition(given.text)
        return said("no_repeats", share < line, f"{share:.0%} of the answer says again what it said before")

    return judge
