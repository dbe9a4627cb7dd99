"""``python -m eval_prompts``: ask, compare, score, judge, tasks, tokens, lens, strength, adapter, verify, votes."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from eval_prompts import lens_command, strength_command
from eval_prompts.answer_facts import facts
from eval_prompts.asked_report import votes_on
from eval_prompts.asking import ask_task, chosen, print_streaming
from eval_prompts.comparison import Comparison, turns_of
from eval_prompts.lens.command import add_adapter_command, print_tokens
from eval_prompts.most_changed import most_changed
from eval_prompts.progress import told_loading
from eval_prompts.report import check_writable, write
from eval_prompts.scoring import command as scoring_command
from eval_prompts.scoring.judge import command as judge_command
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.local import LocalLoader
from eval_prompts.showing.loss_curve import read_curve
from eval_prompts.tasks import command as tasks_command
from eval_prompts.tasks.catalogue import find_task, python_task
from eval_prompts.tasks.history import conversation_of, read_history
from eval_prompts.tasks.of_adapter import default_task, take_adapter_of
from eval_prompts.verify import add_verify_command
from eval_prompts.votes import command
from tuning.command_line import Parser, add_version, program
from tuning.data.chat import check_question, check_whole
from tuning.errors import UserError
from tuning.models.weights import Choices

if TYPE_CHECKING:
    from eval_prompts.answers import Settings
    from eval_prompts.serving.status import Status
    from eval_prompts.tasks.task import Task

SIDES = scoring_command.SIDES
NOBODY_READS = 141
"""As of a program that SIGPIPE ended; not 0, which would be a gate that is passed."""
HISTORY = "turns before the question, of both sides: a JSON list of messages, or one a line"


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    common = Parser(add_help=False)
    common.add_argument("--model", default="smollm2-135m", help="preset, folder, GGUF file or Hub id[@REVISION]")
    common.add_argument("--adapter", help="adapter folder, Hub id, or 'starter'; default: the task's own, or 'starter'")
    common.add_argument("--tuned-model", help="instead of an adapter a whole model: folder, GGUF file or Hub id[@REV]")
    common.add_argument(
        "--task", help="a task's name or file; without it the five probes, in the adapter's prompt format"
    )
    common.add_argument("--sides", choices=SIDES, default="both", help="which models answer")
    common.add_argument("--device", choices=("cpu", "cuda", "mps"), help="default: the best one here")
    common.add_argument(
        "--precision", choices=("auto", "bf16", "fp32", "int8"), default="auto", help="how answers are computed"
    )
    common.add_argument("--prefer-hub", action="store_true", help="take preset weights from the Hub where reachable")
    precision = common.add_mutually_exclusive_group()
    precision.add_argument("--load-in-4bit", dest="quantize", action="store_const", const="4bit")
    precision.add_argument("--load-in-8bit", dest="quantize", action="store_const", const="8bit")
    common.add_argument("--max-new-tokens", type=int, help="token cap per answer; without it the task's, which is 300")
    common.add_argument("--temperature", type=float, help="0 is greedy, which is the default")
    common.add_argument("--top-p", type=float, help="the share of probability in play; 1 is all, the default")
    common.add_argument("--seed", type=int, help="the same seed gives the same text; default 0")
    common.add_argument("--chat-template", metavar="NAME|FILE", help="plain, a template's name, or a Jinja file")
    common.add_argument("--thinking", choices=("on", "off"), help="a thinking model's draft; default: its template's")
    common.add_argument(
        "--generation-defaults", action="store_true", help="follow the model's own repetition penalty and the like"
    )
    common.add_argument("--trust-remote-code", action="store_true", help="run code that the model brings")

    words = "Ask a base model and its tuned one, and say what tuning changed."
    parser = Parser(prog=program("python -m eval_prompts"), description=words)
    add_version(parser)
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)
    judge_command.add(commands)
    ask = commands.add_parser("ask", parents=[common], help="ask one question of both sides")
    ask.add_argument("question")
    add_confidence(ask, "name the tokens that each model was least sure of")
    ask.add_argument(
        "--then",
        action="append",
        default=[],
        metavar="TEXT",
        help="ask this next; each side goes on from its own answer",
    )
    ask.add_argument("--messages", type=Path, metavar="FILE", help=HISTORY)
    ask.set_defaults(run=run_ask)
    compare = commands.add_parser("compare", parents=[common], help="ask all of a task's questions and write a report")
    compare.add_argument("--out", type=Path, required=True, help="folder for answers.json, report.md and report.html")
    compare.add_argument("--limit", type=int, help="only the first questions")
    add_confidence(compare, "have answers.json hold how likely each model found every token")
    compare.add_argument("--messages", type=Path, metavar="FILE", help=HISTORY)
    compare.set_defaults(run=run_compare)
    score = commands.add_parser("score", parents=[common], help="ask both sides a suite with tests, or a task")
    scoring_command.add_options(score)
    score.set_defaults(run=run_score)
    tokens = commands.add_parser("tokens", parents=[common], help="how sure both models are of every token of a text")
    tokens.add_argument("question")
    tokens.add_argument("--text", help="score this text; without it both sides answer, and both answers are scored")
    tokens.add_argument("--json", type=Path, metavar="FILE", help="write every token's figures to this file as well")
    tokens.set_defaults(run=run_tokens)
    lens_command.add(commands, common)
    commands.choices["lens"].set_defaults(run=run_lens)
    strength_command.add(commands, common)
    commands.choices["strength"].set_defaults(run=run_strength)
    tasks_command.add(commands)
    add_adapter_command(commands)
    add_verify_command(commands)
    command.add(commands)
    return parser


def add_confidence(command: argparse.ArgumentParser, words: str) -> None:
    """Add the option that has answers tell how sure their models were."""
    command.add_argument("--confidence", action="store_true", help=words)


def settings_of(options: argparse.Namespace, task: Task) -> Settings:
    """Generation settings: the task's, but for what the options say."""
    names = ("max_new_tokens", "temperature", "top_p", "seed")
    asked = {name: value for name in names if (value := getattr(options, name)) is not None}
    asked |= {"confidence": True} if getattr(options, "confidence", False) else {}
    return replace(task.settings, **asked)


def named_task(options: argparse.Namespace) -> Task | None:
    """The task that the options name, if they do; where they name no adapter, the one that was made for it is taken,
    which goes to stderr."""
    if not options.task:
        return None
    task = find_task(options.task)
    take_adapter_of(task, options)
    return task


def task_of(options: argparse.Namespace, status: Status | None = None) -> Task:
    """The task that the options name, else the default for the adapter that ``status`` tells of; notes go to stderr."""
    if options.task:
        return find_task(options.task)
    task, note = default_task(status.adapter if status else None)
    if note:
        print(note, file=sys.stderr)
    return task


def new_lens(options: argparse.Namespace) -> Lens:
    """What the options name, not loaded yet."""
    choices = Choices(
        options.chat_template,
        None if options.thinking is None else options.thinking == "on",
        options.trust_remote_code,
        options.generation_defaults,
    )
    adapter = options.adapter or (None if options.tuned_model else "starter")
    tuned = options.sides != "base"
    loader = LocalLoader(
        options.model,
        adapter if tuned else None,
        tuned_model=options.tuned_model if tuned else None,
        device=options.device,
        quantize=options.quantize,
        precision=options.precision,
        prefer_hub=options.prefer_hub,
        choices=choices,
    )
    return Lens(loader, on_progress=told_loading)


def load(lens: Lens, named: Task | None = None, several: bool = False) -> Status:
    """Load, and say on stderr what was loaded from where, and what is to be known of questions in the prompt of the
    task ``named``, or of the adapter's own one; in any prompt where there are ``several``."""
    lens.start()
    lens.wait_ready()
    status = lens.status()
    adapter = status.adapter.summary if status.adapter else "no adapter"
    print(f"{status.origin} · {adapter} · {status.device}", file=sys.stderr)
    for noun, note in [(card.noun, note) for card in (status.adapter, status.against) if card for note in card.notes]:
        print(f"note on the {noun}: {note}", file=sys.stderr)
    task = named or default_task(status.adapter)[0]
    for note in status.notes_for(None if several else task.format.system):
        print(note, file=sys.stderr)
    return status


def run_ask(options: argparse.Namespace) -> None:
    """Print the answers of both sides to one question as they are written."""
    named = named_task(options)
    checked = settings_of(options, named or python_task())
    check_question(options.question)
    history = read_history(options.messages)
    with new_lens(options) as lens:
        status = load(lens, named)
        task = named or task_of(options, status)
        prompts = conversation_of(task, options.question, options.then, history)
        print_streaming(lens, prompts, checked, SIDES[options.sides])


def run_tokens(options: argparse.Namespace) -> None:
    """Score a text, or both sides' answers, token by token under both models."""
    if options.sides != "both":
        raise UserError("The token lens compares two models: leave --sides out.")
    check_question(options.question)
    check_whole(options.text or "", "text")
    named = named_task(options)
    checked = settings_of(options, named or python_task())
    with new_lens(options) as lens:
        status = load(lens, named)
        prompt = (named or task_of(options, status)).own_prompt(options.question)
        if options.text is not None:
            texts = {"text": (options.text, False)}
        else:
            answers = lens.ask([prompt], checked).result()
            texts = {
                answer.side: (answer.text.removeprefix(answer.opening), answer.stopped)
                for answer in answers
                if answer.text
            }
        readings = {name: lens.read(prompt.messages, text, ended=ended) for name, (text, ended) in texts.items()}
    print_tokens(readings, options.json)


def run_lens(options: argparse.Namespace) -> None:
    """Print what tuning changed over a set of texts."""
    named = named_task(options)
    lens_command.run(options, new_lens(options), lambda lens: load(lens, named, several=named is None))


def run_strength(options: argparse.Namespace) -> None:
    """Print score and forgetting at several strengths."""
    named_task(options)
    strength_command.run(options, new_lens(options), lambda lens: load(lens, several=True), settings_of)


def known_votes(status: Status) -> list[str]:
    """What people voted on the answers of this base model and adapter, in lines; empty where no votes are kept."""
    from eval_prompts.votes.store import Ratings, default_url

    url = default_url()
    if status.adapter is None or (url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists()):
        return []
    try:
        ratings = Ratings(url)
        lines = votes_on(ratings, status)
        ratings.close()
    except UserError as error:
        logging.warning("%s The report goes without votes.", error)
        return []
    return lines


def run_compare(options: argparse.Namespace) -> None:
    """Ask a task's questions and write the report."""
    check_writable(options.out)
    named = named_task(options)
    questions = chosen(named or python_task(), options.limit)
    settings = settings_of(options, named or python_task())
    history = read_history(options.messages)
    with new_lens(options) as lens:
        status = load(lens, named)
        task = named or task_of(options, status)
        asked = ask_task(lens, task, questions, settings, SIDES[options.sides], history=history)
        answers, verdicts, prompts = asked
        picture, without = None, ""
        if options.sides == "both":
            picture, without = most_changed(lens, prompts, answers, settings.temperature == 0)
    curve = read_curve(status.adapter.path) if status.adapter else None
    comparison = Comparison(status, settings, answers, verdicts, known_votes(status), curve, task, questions)
    before = f"Every question follows the {len(history)} turns of {options.messages.name}." if history else ""
    remarks = [remark for remark in (without, before) if remark]
    turns = turns_of([(question.thread, question.turn) for question in questions])
    comparison = replace(comparison, picture=picture, remarks=remarks, prompts=prompts, turns=turns)
    if len(questions) <= 20:
        for number, group in comparison.groups:
            print(comparison.asked(number).text)
            for one in group:
                print(f"  {one.side:5} {facts(one)}")
    for line in filter(None, (comparison.tally, comparison.changes_line)):
        print(line)
    for path in write(comparison, options.out):
        print(path)


def run_score(options: argparse.Namespace) -> int:
    """Score both sides on a suite or a task; returns the gate's exit code."""
    return scoring_command.score(options, settings_of, new_lens, lambda lens: load(lens, several=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 for success, 2 for what the user can mend (said in one line on stderr), 130 if interrupted, 141
    if whoever read its output has gone, and what ``score`` has a gate end with
    (:class:`eval_prompts.scoring.gate.Exit`)."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        options = build_parser().parse_args(arguments)
        return int(options.run(options) or 0)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # What is left to print goes nowhere, or Python would complain of it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
