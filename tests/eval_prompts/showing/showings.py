"""Requests as their visitors see them, without models and judges behind them."""

from __future__ import annotations

from concurrent.futures import Future

from eval_prompts.answers import Settings
from eval_prompts.rows import Ahead
from eval_prompts.showing.showing import Showing
from eval_prompts.stream import Stream
from eval_prompts.tasks.catalogue import python_task


class NoJudges:
    """Calls every judgement off."""

    def judge(self, answer, task, question, read=None):
        future = Future()
        future.cancel()
        return future


def showing_of(questions, status, settings=None, ahead=0, blind=False):
    """A request for these questions; ``status`` is called for who answers."""
    stream = Stream(questions, ("base", "tuned"), settings or Settings())
    stream.count_ahead = lambda _: Ahead(ahead, ahead // 2, 32)
    task = python_task()
    asked = [task.own_question(text) for text in questions]
    return Showing(stream, status, "me", blind, NoJudges(), task, asked)
