"""``python -m eval_prompts strength``: a task's score, and what is forgotten, at several strengths of the adapter."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval_prompts.asking import ask_task, chosen
from eval_prompts.lens.view import Written
from eval_prompts.models.strength import Strength
from eval_prompts.report import check_writable, write_text
from eval_prompts.tasks.catalogue import find_task
from tuning.errors import UserError
from tuning.exports.strength import export_at_strength

if TYPE_CHECKING:
    import argparse

    from eval_prompts.answers import Settings
    from eval_prompts.serving.lens import Lens
    from eval_prompts.tasks.task import Task
    from tuning.command_line import Parser
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
BARS = 30


def add(commands: argparse._SubParsersAction[Parser], common: Parser) -> None:
    """Add the command to a command line; ``common`` has the options that name the pair and the task."""
    command = commands.add_parser("strength", parents=[common], help="score and forgetting at several strengths")
    command.add_argument(
        "--strengths", default=",".join(f"{each:g}" for each in STRENGTHS), help="numbers from 0 to 2, with commas"
    )
    command.add_argument("--limit", type=int, help="only the first questions")
    command.add_argument("--jail", action="store_true", help="run what the sandbox lacks under bubblewrap")
    command.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file as well")
    command.add_argument("--keep", type=Path, metavar="FOLDER", help="write the adapter at the best strength here")


def strengths_of(text: str) -> list[Strength]:
    """The strengths that an option lists, rising. Raises UserError for what is none."""
    try:
        numbers = sorted({float(part) for part in text.split(",") if part.strip()})
    except ValueError:
        raise UserError(f"The strengths are numbers with commas, such as 0,0.5,1; {text!r} is not.") from None
    if not 0 < len(numbers) <= MOST_STRENGTHS:
        raise UserError(f"Name 1 to {MOST_STRENGTHS} strengths.")
    return [Strength.of(number) for number in numbers]


def run(
    options: argparse.Namespace,
    lens: Lens,
    load: Callable[[Lens], object],
    settings_of: Callable[[argparse.Namespace, Task], Settings],
) -> None:
    """Ask the task at every strength and print score and forgetting. Raises UserError where that cannot be done."""
    if not options.task:
        raise UserError("Name what is scored: --task NAME or FILE.")
    if options.sides != "both":
        raise UserError("The curve compares the adapter with its base: leave --sides out.")
    task = find_task(options.task)
    if not task.scorers and not any(question.checks for question in task.questions):
        raise UserError(f"The task {task.name} has no scorers: add them under score.")
    strengths = strengths_of(options.strengths)
    if options.json is not None:
        check_writable(options.json.parent)
    questions = chosen(task, options.limit)
    with lens:
        load(lens)
        card = lens.status().adapter
        if card is None:
            raise UserError("No adapter is loaded, so there is no strength to try: name one with --adapter.")
        known = general_answers(lens)
        points = []
        for strength in strengths:
            lens.set_strength(strength)
            print(f"strength {strength.overall:g}", file=sys.stderr)
            settings = settings_of(options, task)
            _, verdicts, _ = ask_task(lens, task, questions, settings, ("tuned",), options.jail)
            notes = list(now.notes) if (now := lens.status().adapter) else []
            scores = [judgement.score for judgement in verdicts.values() if judgement.score is not None]
            points.append(point(strength.overall, scores, len(questions), forgetting(lens, known)) | {"notes": notes})
    best = best_of(points)
    print("\n".join(curve(task.name, points, best)))
    if options.json is not None:
        content = {"task": task.name, "adapter": card.to_dict(), "questions": len(questions), "points": points}
        content |= {"best": best and best["strength"], "general_questions": list(GENERAL)}
        write_text(options.json, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        print(options.json)
    if options.keep is not None:
        if best is None:
            raise UserError("No strength has a score, so none is the best: nothing was kept.")
        print(export_at_strength(card.path, options.keep, best["strength"]))


Known = tuple[tuple["Message", ...], Written]


def general_answers(lens: Lens) -> list[Known]:
    """What the base answers to general questions, greedily, in its own tokens."""
    from eval_prompts.answers import Settings
    from eval_prompts.rows import Prompt

    messages: list[tuple[Message, ...]] = [({"role": "user", "content": question},) for question in GENERAL]
    prompts = [Prompt(question, asked) for question, asked in zip(GENERAL, messages, strict=True)]
    stream = lens.ask(prompts, Settings(GENERAL_TOKENS), ("base",))
    answers = stream.result()
    return [
        (messages[row.index], Written(answer.text, answer.stopped, tuple(row.written)))
        for row, answer in zip(stream.rows, answers, strict=True)
        if row.written
    ]


def forgetting(lens: Lens, known: Sequence[Known]) -> dict[str, Any] | None:
    """KL(base || tuned) in nats a token over the base's own answers, with its interval by question: 0 at strength 0.
    None where the two sides have different tokenizers, between which there is no KL."""
    from eval_prompts.lens.set_figures import TextSet
    from eval_prompts.serving.readings import Readings

    found, readings = TextSet(), Readings(lens)
    for messages, written in known:
        found.add(str(messages[-1]["content"]), readings.read(messages, {"text": written})["text"])
    estimate: dict[str, Any] | None = found.figures()["estimates"].get("kl") if found.texts else None
    return estimate


def point(strength: float, scores: Sequence[float], asked: int, forgotten: dict[str, Any] | None) -> dict[str, Any]:
    """One strength's figures: the mean score of the answers that have one, with its interval."""
    score = None
    if scores:
        import numpy

        from eval_prompts.lens.set_figures import ratio

        score = ratio(numpy.array(scores), numpy.ones(len(scores))).to_dict()
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


def curve(task: str, points: Sequence[dict[str, Any]], best: dict[str, Any] | None) -> list[str]:
    """The figures for a terminal, one line for each strength with a bar, the best one marked."""
    lines = [f"{task}: score with its 95% interval, and KL(base || tuned) on general questions (nats a token)"]
    for each in points:
        score, forgotten = each["score"], each["forgetting"]
        value = score["value"] if score else 0.0
        within = f"{score['interval'][0]:.2f} to {score['interval'][1]:.2f}" if score and score["interval"] else ""
        bar = "#" * round(BARS * min(1.0, max(0.0, value)))
        kl = f"{forgotten['value']:.4f}" if forgotten else "-"
        mark = "  <- best" if each is best else ""
        told = f"{value:.3f}" if score else "-"
        lines.append(f"{each['strength']:>5g}  {told:>6} {within:>14}  KL {kl:>7}  {bar:<{BARS}}{mark}")
        if each["not_scored"]:
            lines.append(f"       {each['not_scored']} answers have no score")
    if best is not None and any(overlaps(best, each) for each in points if each is not best):
        lines.append("The best point's interval overlaps others: more questions would be needed to tell them apart.")
    lines += [f"note: {note}" for note in dict.fromkeys(note for each in points for note in each["notes"])]
    return lines


def overlaps(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether the intervals of two points' scores overlap, or nobody can tell."""
    ends = [each["score"] and each["score"]["interval"] for each in (one, other)]
    if not all(ends):
        return True
    return bool(ends[0][0] <= ends[1][1] and ends[1][0] <= ends[0][1])
