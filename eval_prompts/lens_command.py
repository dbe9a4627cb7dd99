"""``python -m eval_prompts lens``: what tuning changed over a task, a suite or held-out rows, in figures."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval_prompts.asking import chosen
from eval_prompts.lens.view import Written, finite_values
from eval_prompts.progress import Progress
from eval_prompts.report import check_writable, write_text
from eval_prompts.tasks.catalogue import find_task
from tuning.errors import UserError

if TYPE_CHECKING:
    import argparse

    from eval_prompts.lens.set_figures import TextSet
    from eval_prompts.serving.lens import Lens
    from eval_prompts.tasks.task import Task
    from tuning.command_line import Parser
    from tuning.data.chat import Message
    from tuning.data.cleaning import Row

HELD_OUT = "held-out"
SOLUTIONS = ("code", "canonical_solution", "solution", "answer", "reference", "completion", "output")
QUESTIONS = ("text", "question", "prompt", "instruction")
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


@dataclass(frozen=True)
class Text:
    """One text that is read, and the question that it answers."""

    question: str
    messages: tuple[Message, ...]
    written: Written


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
    texts = texts_of(options)
    with lens:
        load(lens)
        found = read_all(lens, texts(lens) if callable(texts) else texts)
    if not found.texts:
        raise UserError(f"None of the texts could be read; the first: {found.skipped[0]}")
    figures = found.figures()
    print("\n".join(table(figures)))
    if options.json is not None:
        write_text(options.json, json.dumps(finite_values(figures), indent=2, ensure_ascii=False) + "\n")
        print(options.json)


def texts_of(options: argparse.Namespace) -> list[Text] | Callable[[Lens], list[Text]]:
    """The texts that the options name; those that the models have yet to write are made once they are loaded."""
    if options.suite:
        return limited(list(suite_texts(options.suite)), options.limit)
    if options.data:
        return limited(data_texts(options.data), options.limit)
    task = find_task(options.task)
    if not options.answers and any(question.references for question in task.questions):
        return reference_texts(task, options.limit)
    if not options.answers:
        print(f"The task {task.name} has no references: both sides' own answers are read.", file=sys.stderr)
    return lambda lens: answer_texts(lens, task, options.limit)


def limited(texts: list[Text], limit: int | None) -> list[Text]:
    """The first texts; what is left out is said. Raises UserError for none at all."""
    if not texts:
        raise UserError("The set holds no question with an answer: name another.")
    if limit is not None and limit < len(texts):
        print(f"Only the first {limit:,} of {len(texts):,} texts are read.", file=sys.stderr)
    return texts[:limit]


def reference_texts(task: Task, limit: int | None) -> list[Text]:
    """The first reference of each question, as an answer in the task's prompt; questions without one are counted."""
    questions = chosen(task, limit)
    lacking = sum(not question.references for question in questions)
    if lacking:
        print(f"{lacking:,} of {len(questions):,} questions have no reference and are left out.", file=sys.stderr)
    texts, unknown = [], 0
    for question in questions:
        if not question.references:
            continue
        try:
            messages = task.prompt(question).messages
        except UserError:  # a later turn behind an answer that the file does not give
            unknown += 1
            continue
        texts.append(Text(question.text, messages, Written(question.references[0], ended=True)))
    if unknown:
        print(f"{unknown:,} later turns go on from answers without a reference and are left out.", file=sys.stderr)
    return texts


def answer_texts(lens: Lens, task: Task, limit: int | None) -> list[Text]:
    """What both sides answer to a task's questions, in the tokens they write."""
    questions = chosen(task, limit)
    stream = lens.ask(task.prompts(questions), task.settings)
    with Progress(len(stream.rows)) as progress:
        for answers in stream.snapshots(interval=0.5):
            progress.show(sum(answer.done for answer in answers), "answers")
    texts = []
    for row, answer in zip(stream.rows, stream.answers, strict=True):
        written = Written(answer.text, answer.stopped, tuple(row.written))
        texts.append(Text(questions[row.index].text, stream.conversation(row.index, row.side), written))
    return texts


def data_texts(name: str) -> list[Text]:
    """The test split of a data set, whose rows no training on it sees, each in the set's own prompt."""
    from tuning.data.dataset import load
    from tuning.data.place import EMBEDDED

    data = load(EMBEDDED if name == HELD_OUT else name)
    for note in data.notes:
        print(note, file=sys.stderr)
    rows = data.split("test")
    texts = [text for row in rows if (text := row_text(row, data.format.messages))]
    if len(texts) < len(rows):
        print(
            f"{len(rows) - len(texts):,} of {len(rows):,} rows hold no answer to a question: left out.", file=sys.stderr
        )
    return texts


def row_text(row: Row, put: Callable[[dict[str, str]], Any]) -> Text | None:
    """A row's last trained answer behind all that stands before it; None for a plain text."""
    if not row.turns:
        return Text(row.question, tuple(put({"question": row.question, "input": row.input})), Written(row.answer, True))
    last = max((at for at, turn in enumerate(row.turns) if turn.role == "assistant" and turn.trained), default=0)
    if not last:
        return None
    before: list[Any] = [{"role": turn.role, "content": turn.text} for turn in row.turns[:last]]
    return Text(row.question, tuple(before), Written(row.turns[last].text, True))


def suite_texts(path: Path) -> Iterator[Text]:
    """The solutions of a suite in the Python task's prompt; rows without one are counted."""
    from tuning.data.chat import PYTHON_FORMAT
    from tuning.data.reading.readers import read_file

    lacking = 0
    for _, row in read_file(path).rows:
        question = next((row[name] for name in QUESTIONS if isinstance(row.get(name), str)), "")
        solution = next((row[name] for name in SOLUTIONS if isinstance(row.get(name), str)), "")
        if not question or not solution:
            lacking += 1
            continue
        whole = f"{question}{solution}" if "canonical_solution" in row and "prompt" in row else solution
        messages = tuple(PYTHON_FORMAT.messages({"question": question, "input": ""}))
        yield Text(question, messages, Written(whole, True))
    if lacking:
        print(f"{lacking:,} rows of {path.name} lack a question or a solution and are left out.", file=sys.stderr)


def read_all(lens: Lens, texts: list[Text]) -> TextSet:
    """Every text as both models see it; those that cannot be read are kept with the reason."""
    from eval_prompts.lens.set_figures import TextSet
    from eval_prompts.serving.readings import Readings

    found, readings = TextSet(), Readings(lens)
    lens.loaded_pair().model("tuned")
    with Progress(len(texts)) as progress:
        for number, text in enumerate(texts):
            try:
                found.add(text.question, readings.read(text.messages, {"text": text.written})["text"])
            except UserError as error:
                found.skipped.append(f"{text.question[:60]}: {error}")
            progress.show(number + 1, f"{found.texts} texts read")
    return found


def table(figures: dict[str, Any]) -> list[str]:
    """The figures for a terminal, each with its 95% interval, and what changed most."""
    lines = [
        f"{figures['texts']:,} texts of {figures['questions']:,} questions, {figures['tokens']:,} tokens; "
        + ("95% intervals by question" if figures["questions"] > 1 else "no intervals: there is one question only")
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
