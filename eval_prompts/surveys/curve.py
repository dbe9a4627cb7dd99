"""A task's score, and what is forgotten, at several strengths of the adapter: all of them asked in common batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from eval_prompts.answers import Settings
from eval_prompts.lens.view import Written
from eval_prompts.models.strength import Strength
from eval_prompts.rows import Prompt
from eval_prompts.scoring.statistics import mean_interval
from eval_prompts.serving.local import in_a_thread_that_ends
from eval_prompts.surveys.texts import AT_ONCE, Stopped, Work
from eval_prompts.tasks.verdicts import Judgement, judge_answer
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.serving.lens import Lens
    from eval_prompts.tasks.task import Question, Task
    from tuning.data.chat import Message

STRENGTHS = (0.0, 0.5, 1.0, 1.5)
MOST_STRENGTHS = 20
GENERAL = (
    "Why is the sky blue?",
    "Name three capitals of South America.",
    "Write a polite message that declines an invitation.",
    "How many minutes are there in two and a half hours?",
    "Explain to a child what a volcano is.",
    "Translate into French: The library opens at nine.",
)
"""What the base answers to these without a system prompt is what the adapter should not forget."""
GENERAL_TOKENS = 60
Known = tuple[tuple["Message", ...], Written]


def strengths_of(asked: object) -> list[float]:
    """Strengths from what an option, a form or a script gave (numbers, or a text with commas), rising, each once.
    Raises UserError for what is none."""
    parts = [part for part in asked.split(",") if part.strip()] if isinstance(asked, str) else asked
    try:
        numbers = sorted({float(part) for part in parts if not isinstance(part, bool)})  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise UserError(f"The strengths are numbers with commas, such as 0,0.5,1; {asked!r} is not.") from None
    if not 0 < len(numbers) <= MOST_STRENGTHS:
        raise UserError(f"Name 1 to {MOST_STRENGTHS} strengths.")
    return [Strength.of(number).overall for number in numbers]


def check_scored(task: Task) -> None:
    """Raise UserError for a task whose answers nothing scores."""
    if not task.scorers and not any(question.checks for question in task.questions):
        raise UserError(f"The task {task.name} has no scorers: add them under score.")


def measure(
    lens: Lens,
    task: Task,
    questions: Sequence[Question],
    settings: Settings,
    strengths: Sequence[float],
    work: Work,
    jail: bool = False,
) -> dict[str, Any]:
    """The curve: for each strength the mean score of the adapter's answers and KL on general questions, and the best.

    Who asks meanwhile gets the adapter as it is dialled. Raises UserError if there is no adapter to scale, a question
    cannot be asked, another adapter or other models were loaded meanwhile, or somebody has stopped it.
    """
    card = lens.status().adapter
    if card is None:
        raise UserError("No adapter is loaded, so there is no strength to try: choose an adapter.")
    known = general_answers(lens, work)
    scores = scored(lens, task, questions, settings, strengths, work, jail)
    points = []
    for number, strength in enumerate(strengths):
        if work.stopped():
            raise Stopped
        work.check()
        work.report(number, len(strengths), "strengths read for what is forgotten")
        forgotten, notes = forgetting(lens, known, strength)
        found = point(strength, scores[strength], len(questions), forgotten)
        points.append(found | {"notes": notes})
    work.check()
    best = best_of(points)
    return {
        "task": task.name,
        "adapter": card.to_dict(),
        "questions": len(questions),
        "points": points,
        "best": best and best["strength"],
        "general_questions": list(GENERAL),
        "tied": best is not None and any(overlaps(best, each) for each in points if each is not best),
    }


def scored(
    lens: Lens,
    task: Task,
    questions: Sequence[Question],
    settings: Settings,
    strengths: Sequence[float],
    work: Work,
    jail: bool,
) -> dict[float, list[float]]:
    """The scores of the adapter's answers at each strength, as far as they have one. Raises UserError as
    :func:`measure` does."""
    judging: list[tuple[float, Future[Judgement]]] = []
    total = len(questions) * len(strengths)
    with ThreadPoolExecutor(1, thread_name_prefix="judge") as pool:
        for start in range(0, len(questions), AT_ONCE):
            portion = questions[start : start + AT_ONCE]
            stream = lens.ask(task.prompts(portion), settings, background=work.background, strengths=strengths)
            taken: set[int] = set()
            for answers in stream.snapshots(interval=0.3):
                for answer in stream.newly_finished(taken):
                    if answer.strength is not None and answer.state in ("ended", "capped"):
                        asked = portion[answer.index], answer.said, answer.stopped
                        judging.append((answer.strength, pool.submit(judge_answer, task, *asked, jail=jail)))
                work.report(start * len(strengths) + sum(one.done for one in answers), total, "answers")
                if work.stopped():
                    stream.cancel()
                    pool.shutdown(cancel_futures=True)
                    raise Stopped
            work.check()
            for answer in stream.newly_finished(taken):
                if answer.strength is not None and answer.state in ("ended", "capped"):
                    asked = portion[answer.index], answer.said, answer.stopped
                    judging.append((answer.strength, pool.submit(judge_answer, task, *asked, jail=jail)))
        judged = [(strength, future.result().score) for strength, future in judging]
    found: dict[float, list[float]] = {strength: [] for strength in strengths}
    for strength, score in judged:
        if score is not None:
            found[strength].append(score)
    return found


def general_answers(lens: Lens, work: Work) -> list[Known]:
    """What the base answers to general questions, greedily, in its own tokens."""
    messages: list[tuple[Message, ...]] = [({"role": "user", "content": question},) for question in GENERAL]
    prompts = [Prompt(question, asked) for question, asked in zip(GENERAL, messages, strict=True)]
    work.report(0, len(GENERAL), "general questions")
    stream = lens.ask(prompts, Settings(GENERAL_TOKENS), ("base",), background=work.background)
    answers = stream.result()
    return [
        (messages[row.index], Written(answer.text, answer.stopped, tuple(row.written)))
        for row, answer in zip(stream.rows, answers, strict=True)
        if row.written
    ]


def forgetting(lens: Lens, known: Sequence[Known], strength: float) -> tuple[dict[str, Any] | None, list[str]]:
    """KL(base || tuned at this strength) in nats a token over the base's own answers, with its interval by question, 0
    at strength 0; and what is to be said of the strength. No KL where the two sides have different tokenizers."""
    from eval_prompts.lens.set_figures import TextSet
    from eval_prompts.lens.token_lens import read

    pair = lens.served.pair_at(strength)

    def work() -> TextSet:
        found = TextSet()
        for messages, written in known:
            reading = read(pair, messages, written.text, ended=written.ended, written=written.ids)
            found.add(str(messages[-1]["content"]), reading)
        return found

    found = in_a_thread_that_ends(work)
    estimate: dict[str, Any] | None = found.figures()["estimates"].get("kl") if found.texts else None
    return estimate, list(pair.adapter.notes) if pair.adapter else []


def point(strength: float, scores: Sequence[float], asked: int, forgotten: dict[str, Any] | None) -> dict[str, Any]:
    """One strength's figures: the mean score of the answers that have one, with its interval as a scoring gives it."""
    score = None
    if scores:
        found = mean_interval([[each] for each in scores])
        score = {"value": found.value, "interval": [found.low, found.high]}
    return {
        "strength": strength,
        "score": score,
        "scored": len(scores),
        "not_scored": asked - len(scores),
        "forgetting": forgotten,
    }


def best_of(points: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The point with the highest score, of equal ones that which forgets least; strength 0 is none. None for none."""
    scored = [each for each in points if each["score"] and each["strength"] > 0]
    return max(
        scored,
        key=lambda each: (round(each["score"]["value"], 9), -(each["forgetting"] or {"value": math.inf})["value"]),
        default=None,
    )


def overlaps(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether the intervals of two points' scores overlap, or nobody can tell."""
    ends = [each["score"] and each["score"]["interval"] for each in (one, other)]
    if not all(ends):
        return True
    return bool(ends[0][0] <= ends[1][1] and ends[1][0] <= ends[0][1])
