"""``python -m eval_prompts lens``: what tuning changed over a task, a suite or held-out rows, in figures."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval_prompts.lens.set_figures import LEAST_DRAWN
from eval_prompts.lens.view import finite_values
from eval_prompts.progress import Progress
from eval_prompts.report import check_writable, write_text
from eval_prompts.surveys.texts import (
    HELD_OUT,
    Text,
    Work,
    data_texts,
    limited,
    read_all,
    suite_texts,
    task_texts,
)
from eval_prompts.tasks.catalogue import find_task
from tuning.errors import UserError

if TYPE_CHECKING:
    import argparse

    from eval_prompts.serving.lens import Lens
    from tuning.command_line import Parser

WORDS = {
    "kl": "KL(base || tuned), nats a token",
    "kl_percentile_50": "  median",
    "kl_percentile_90": "  90%",
    "kl_percentile_95": "  95%",
    "kl_percentile_99": "  99%",
    "change_per_token": "change of log p, per token",
    "change_per_answer": "change of log p, per answer",
    "logprob_per_answer_base": "log p of an answer, base",
    "logprob_per_answer_tuned": "log p of an answer, tuned",
    "same_top": "same first choice, share",
    "perplexity_base": "perplexity, base",
    "perplexity_tuned": "perplexity, tuned",
}
SHOWN = 5


def add(commands: argparse._SubParsersAction[Parser], common: Parser) -> None:
    """Add the command to a command line; ``common`` has the options that name the pair and the task."""
    command = commands.add_parser("lens", parents=[common], help="what tuning changed over a whole set of texts")
    command.add_argument("--suite", type=Path, help="JSON lines with questions and solutions (MBPP, HumanEval)")
    command.add_argument(
        "--data", help=f"the test split of a data set (file, Hub id), or '{HELD_OUT}': the embedded one's"
    )
    command.add_argument(
        "--answers", action="store_true", help="read both sides' own answers instead of the references"
    )
    command.add_argument("--limit", type=int, help="only the first questions")
    command.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file as well")


def run(options: argparse.Namespace, lens: Lens, load: Callable[[Lens], object]) -> None:
    """Read the set with both models and print the figures. Raises UserError if the set cannot be read, or nothing of
    it."""
    if options.sides != "both":
        raise UserError("The lens compares two models: leave --sides out.")
    named = [name for name in ("task", "suite", "data") if getattr(options, name)]
    if len(named) != 1:
        raise UserError("Name one set to read: --task NAME or FILE, --suite FILE, or --data NAME.")
    if options.answers and not options.task:
        raise UserError("Answers are asked for the questions of a task: name it with --task.")
    if options.limit is not None and options.limit < 1:
        raise UserError("The limit must be at least 1.")
    if options.json is not None:
        check_writable(options.json.parent)
    task = find_task(options.task) if options.task else None
    texts = [] if task else plain_texts(options)
    with lens:
        load(lens)
        if task:
            with Progress(0) as progress:
                texts = task_texts(lens, task, options.limit, options.answers, tell, Work(progress.of))
        with Progress(len(texts), "texts") as progress:
            found = read_all(lens, texts, Work(progress.of))
    figures = found.figures()
    print("\n".join(table(figures)))
    if options.json is not None:
        write_text(options.json, json.dumps(finite_values(figures), indent=2, ensure_ascii=False) + "\n")
        print(options.json)


def plain_texts(options: argparse.Namespace) -> list[Text]:
    """The texts of a suite or a data set; what is left out goes to stderr."""
    texts = list(suite_texts(options.suite, tell)) if options.suite else data_texts(options.data, tell)
    return limited(texts, options.limit, tell)


def tell(words: str) -> None:
    """Say something beside the figures."""
    print(words, file=sys.stderr)


def interval_words(questions: int) -> str:
    """Which figures have intervals, by how many questions there are."""
    if questions < 2:
        return "no intervals: there is one question only"
    return f"95% intervals by question{', of percentiles none' if questions < LEAST_DRAWN else ''}"


def table(figures: dict[str, Any]) -> list[str]:
    """The figures for a terminal, each with its 95% interval, and what changed most."""
    lines = [
        f"{figures['texts']:,} texts of {figures['questions']:,} questions, {figures['tokens']:,} tokens; "
        + interval_words(figures["questions"])
    ]
    for name, words in WORDS.items():
        estimate = figures["estimates"].get(name)
        if estimate:
            ends = estimate["interval"]
            within = f"  {ends[0]:.4g} to {ends[1]:.4g}" if ends else ""
            lines.append(f"{words:<34} {estimate['value']:>10.4g}{within}")
    lines += [f"{count} texts: {note}" for note, count in figures["notes"].items()]
    skipped = figures["skipped"]
    lines += [f"not read: {len(skipped)} texts; the first: {skipped[0]}"] if skipped else []
    lines += ["", "most changed questions (mean size of the change of log p)"]
    for entry in figures["most_changed_questions"][:SHOWN]:
        lines.append(f"  {entry['mean_size']:.3f}  {' '.join(entry['question'].split())[:90]}")
    lines += ["most changed tokens (times seen, mean change)"]
    for entry in figures["most_changed_tokens"][:SHOWN]:
        lines.append(f"  {entry['token']!r:<18} {entry['times']:>5}  {entry['mean_change']:+.3f}")
    lines += ["where the end of the answer became likelier (base, tuned)"]
    for entry in figures["ends_that_rose"][:SHOWN]:
        lines.append(f"  {entry['base']:.0%} -> {entry['tuned']:.0%} after …{entry['before'][-30:]!r}")
    return lines
