"""The part of a scoring for which nothing is written: likelihoods of options and references, read side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from eval_prompts.lens.likelihood import Known
from eval_prompts.lens.token_tree import Choices
from eval_prompts.scoring.table import READ
from eval_prompts.serving.readings import read_choices
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.lens.token_tree import Continuation
    from eval_prompts.models.pair import Side
    from eval_prompts.scoring.subject import Subject
    from eval_prompts.serving.lens import Lens
    from eval_prompts.tasks.verdicts import Judgement

AT_ONCE = 48
CHARACTERS = 4000
"""Questions, and characters of all their texts, that are read between two looks at who else waits."""
LOOK_SECONDS = 0.05


Asked = tuple["Subject", int]
"""A question by its task and number."""


def portions(asked: Sequence[Asked]) -> Iterator[list[Asked]]:
    """Questions in portions that take a second or two."""
    portion: list[Asked] = []
    size = 0
    for subject, number in asked:
        question = subject.questions[number]
        length = len(question.text) + sum(len(text.text) for text in subject.task.wanted(question))
        if portion and (len(portion) == AT_ONCE or size + length > CHARACTERS):
            yield portion
            portion, size = [], 0
        portion.append((subject, number))
        size += length
    if portion:
        yield portion


def read(lens: Lens, side: Side, asked: Sequence[Asked]) -> list[Known | UserError]:
    """The likelihoods that the scorers of some questions go by under one side; a question that cannot be read comes as
    the reason. Raises UserError where the models are on other machines."""
    found: dict[int, Known | UserError] = {}
    choices: dict[int, Choices] = {}
    for at, (subject, number) in enumerate(asked):
        question = subject.questions[number]
        try:
            choices[at] = Choices(subject.task.prompt(question).messages, subject.task.wanted(question))
        except UserError as error:
            found[at] = error
    found |= dict(zip(choices, read_choices(lens, side, list(choices.values())), strict=True))
    return [found[at] for at in range(len(asked))]


def let_others_go(lens: Lens, stopped: Callable[[float], bool]) -> None:
    """Wait while anybody is being answered; ``stopped`` waits so many seconds and tells whether to leave at once."""
    while not stopped(0):
        status = lens.status()
        if not status.answering and not status.queued:
            return
        stopped(LOOK_SECONDS)


def read_words(known: Known) -> str:
    """What was read, likeliest first, as the text of an answer that was not written."""
    order = sorted(known.items(), key=lambda item: math.inf if math.isnan(item[1].logprob) else -item[1].logprob)
    return "\n".join(
        f"{text.text}  ({'no number' if math.isnan(one.logprob) else f'{one.logprob:.2f} nats'}, {one.tokens} tokens)"
        for text, one in order
    )


def told(judgement: Judgement, known: Known) -> dict[str, Any]:
    """A reading and its judgement as an event tells them; :func:`.ledger.told` tells an answer."""
    found = judgement.to_dict()
    return {
        "text": read_words(known),
        "tokens": sum(one.tokens for one in known.values()),
        "state": READ,
        "verdict": judgement.task,
        "score": judgement.score,
        "reason": found["task_reason"],
        "scores": found["scores"],
        "badges": found["badges"],
        "repetition": 0.0,
        "language": "",
        "likelihoods": [likelihood(text) | one.to_dict() for text, one in known.items()],
    }


def likelihood(text: Continuation) -> dict[str, Any]:
    """Which text was read, as an event tells it."""
    return {"text": text.text} | ({"ended": True} if text.ended else {})
