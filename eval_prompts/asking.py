"""Asking a whole task from the command line: in portions, judged as the answers come."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from eval_prompts.comparison import facts
from eval_prompts.progress import Progress
from eval_prompts.showing.certainty import NOT_TOLD, least_sure
from eval_prompts.tasks.verdicts import Judgement, judge_answer
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.answers import Answer, Settings
    from eval_prompts.models.pair import Side
    from eval_prompts.serving.lens import Lens
    from eval_prompts.tasks.task import Question, Task

AT_ONCE = 500
Key = tuple[str, int]


def ask_task(
    lens: Lens,
    task: Task,
    questions: Sequence[Question],
    settings: Settings,
    sides: Sequence[Side],
    jail: bool = False,
) -> tuple[list[Answer], dict[Key, Judgement]]:
    """All answers, by question and side, and the judgement on each complete one, by side and question number.

    Raises UserError if a question cannot be asked, or a side does not answer.
    """
    answers: list[Answer] = []
    judging: dict[Key, Future[Judgement]] = {}
    with (
        ThreadPoolExecutor(1, thread_name_prefix="judge") as pool,
        Progress(len(questions) * len(sides)) as progress,
    ):
        for start in range(0, len(questions), AT_ONCE):
            portion = questions[start : start + AT_ONCE]
            stream = lens.ask([task.prompt(question) for question in portion], settings, sides)
            snapshot: list[Answer] = []
            for snapshot in stream.snapshots(interval=0.2):
                for answer in snapshot:
                    key = answer.side, start + answer.index
                    if answer.state in ("ended", "capped") and key not in judging:
                        asked = portion[answer.index]
                        judging[key] = pool.submit(judge_answer, task, asked, answer.said, answer.stopped, jail=jail)
                done = len(answers) + sum(answer.done for answer in snapshot)
                progress.show(done, f"{sum(answer.tokens for answer in snapshot)} tokens")
            answers += [replace(answer, index=start + answer.index) for answer in snapshot]
        return answers, {key: future.result() for key, future in judging.items()}


def chosen(task: Task, limit: int | None) -> Sequence[Question]:
    """The task's questions, at most ``limit`` of them; what is left out is said. Raises UserError for none."""
    if limit is not None and limit < 1:
        raise UserError("The limit must be at least 1.")
    if not task.questions:
        raise UserError(f"The task {task.name} has no questions: choose another, or name a file.")
    questions = task.questions[:limit]
    if len(questions) < len(task.questions):
        print(f"Only the first {len(questions):,} of {len(task.questions):,} questions are asked.", file=sys.stderr)
    return questions


def print_streaming(lens: Lens, task: Task, question: str, settings: Settings, sides: Sequence[Side]) -> list[Answer]:
    """Ask one question and print the answers as they are written, one side after the other; returns them."""
    stream = lens.ask([task.own_prompt(question)], settings, sides)
    held = max((len(stop) for stop in settings.stop), default=1) - 1  # what may yet turn out to begin a stop text
    place, printed, begun = 0, 0, False
    answers: list[Answer] = []
    for answers in stream.snapshots():
        while place < len(answers):
            answer = answers[place]
            if not begun and (answer.text or answer.done):
                print(f"── {answer.side} ──", flush=True)
                begun = True
            sure = len(answer.text) if answer.done else max(printed, len(answer.text) - held)
            print(answer.text[printed:sure], end="", flush=True)
            printed = sure
            if not answer.done:
                break
            print(f"\n({facts(answer)})\n", flush=True)
            if settings.confidence:
                print(f"least sure: {least_sure(answer) or NOT_TOLD}\n", flush=True)
            place, printed, begun = place + 1, 0, False
    return answers
