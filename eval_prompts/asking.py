"""Asking a whole task from the command line: in portions, judged as the answers come."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from eval_prompts.answer_facts import facts
from eval_prompts.progress import Progress
from eval_prompts.rows import Prompt
from eval_prompts.serving.readings import read_choices
from eval_prompts.showing.certainty import NOT_TOLD, least_sure
from eval_prompts.tasks.history import behind
from eval_prompts.tasks.verdicts import Judgement, judge_answer
from tuning.data.chat import Message
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.answers import Answer, Settings
    from eval_prompts.lens.likelihood import Known
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
    history: Sequence[Message] = (),
) -> tuple[list[Answer], dict[Key, Judgement], list[Prompt]]:
    """All answers, by question and side, the judgement on each complete one, by side and question number, and the
    questions as they were put, behind the turns of ``history``.

    Raises UserError if a question cannot be asked, or a side does not answer.
    """
    answers: list[Answer] = []
    prompts: list[Prompt] = []
    judging: dict[Key, Future[Judgement]] = {}
    with (
        ThreadPoolExecutor(1, thread_name_prefix="judge") as pool,
        Progress(len(questions) * len(sides)) as progress,
    ):
        for start, portion in portions(questions):
            known = read_portion(lens, task, portion, sides, history)
            stream = lens.ask([behind(history, prompt) for prompt in task.prompts(portion)], settings, sides)
            snapshot: list[Answer] = []
            for snapshot in stream.snapshots(interval=0.2):
                for answer in snapshot:
                    key = answer.side, start + answer.index
                    if answer.state in ("ended", "capped") and key not in judging:
                        asked = portion[answer.index]
                        read, unread = known.get((answer.side, answer.index), (None, ""))
                        judging[key] = pool.submit(
                            judge_answer, task, asked, answer.said, answer.stopped, jail=jail, read=read, unread=unread
                        )
                done = len(answers) + sum(answer.done for answer in snapshot)
                progress.show(done, f"{sum(answer.tokens for answer in snapshot)} tokens")
            answers += [replace(answer, index=start + answer.index) for answer in snapshot]
            prompts += stream.prompts
        return answers, {key: future.result() for key, future in judging.items()}, prompts


def portions(questions: Sequence[Question], size: int = AT_ONCE) -> Iterator[tuple[int, Sequence[Question]]]:
    """Questions in portions of about ``size``, each with the place of its first; a conversation stays whole."""
    start = 0
    while start < len(questions):
        end = start + size
        while end < len(questions) and questions[end].after:
            end += 1
        yield start, questions[start:end]
        start = end


def read_portion(
    lens: Lens, task: Task, questions: Sequence[Question], sides: Sequence[Side], history: Sequence[Message] = ()
) -> dict[Key, tuple[Known | None, str]]:
    """The likelihoods that scorers ask for, by side and question number, behind the turns of ``history``: what was
    read, or None and why it was not."""
    from eval_prompts.lens.token_tree import Choices

    wanted = {at: texts for at, question in enumerate(questions) if (texts := task.wanted(question))}
    if not wanted:
        return {}
    choices = [Choices(behind(history, task.prompt(questions[at])).messages, texts) for at, texts in wanted.items()]
    found: dict[Key, tuple[Known | None, str]] = {}
    for side in sides:
        try:
            results: Sequence[Known | UserError] = read_choices(lens, side, choices)
        except UserError as error:
            results = [error] * len(choices)
        for at, one in zip(wanted, results, strict=True):
            found[side, at] = (None, str(one)) if isinstance(one, UserError) else (one, "")
    return found


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


def print_streaming(lens: Lens, prompts: Sequence[Prompt], settings: Settings, sides: Sequence[Side]) -> list[Answer]:
    """Ask a question, or the turns of a conversation, and print the answers as they are written, turn by turn, one side
    after the other; returns them."""
    stream = lens.ask(prompts, settings, sides)
    held = max((len(stop) for stop in settings.stop), default=1) - 1  # what may yet turn out to begin a stop text
    place, printed, begun = 0, 0, False
    answers: list[Answer] = []
    for answers in stream.snapshots():
        while place < len(answers):
            answer = answers[place]
            if not begun and (answer.text or answer.done):
                if len(prompts) > 1 and answer.side == sides[0]:
                    print(f"» {answer.question}\n", flush=True)
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
