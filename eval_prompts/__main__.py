"""Command line: ``python -m eval_prompts ask|compare|score|tokens|adapter|votes``."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eval_prompts.answers import Settings
from eval_prompts.lens.command import add_adapter_command, print_tokens
from eval_prompts.loss_curve import read_curve
from eval_prompts.report import Comparison, by_question, check_writable, facts, judged, write, write_text
from eval_prompts.serving.lens import Lens
from eval_prompts.tasks.probes import PROBES
from eval_prompts.votes import command
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.answers import Answer
    from eval_prompts.serving.status import Status

SIDES = {"both": ("base", "tuned"), "base": ("base",), "tuned": ("tuned",)}


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--model", default="smollm2-135m", help="preset name, local folder or Hub id")
    common.add_argument("--adapter", default="starter", help="adapter folder, Hub id, or 'starter'")
    common.add_argument("--sides", choices=SIDES, default="both", help="which models answer")
    common.add_argument("--device", choices=("cpu", "cuda", "mps"), help="default: the best one here")
    common.add_argument(
        "--precision", choices=("auto", "fp32", "int8"), default="auto", help="how answers are computed"
    )
    common.add_argument("--prefer-hub", action="store_true", help="take preset weights from the Hub where reachable")
    precision = common.add_mutually_exclusive_group()
    precision.add_argument("--load-in-4bit", dest="quantize", action="store_const", const="4bit")
    precision.add_argument("--load-in-8bit", dest="quantize", action="store_const", const="8bit")
    common.add_argument("--max-new-tokens", type=int, default=300, help="token cap per answer")
    common.add_argument("--temperature", type=float, default=0.0, help="0 is greedy")
    common.add_argument("--top-p", type=float, default=1.0)
    common.add_argument("--seed", type=int, default=0)

    parser = argparse.ArgumentParser(prog="python -m eval_prompts", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    ask = commands.add_parser("ask", parents=[common], help="ask one question of both sides")
    ask.add_argument("question")
    ask.set_defaults(run=run_ask)
    compare = commands.add_parser("compare", parents=[common], help="ask all five probes and write a report")
    compare.add_argument("--out", type=Path, required=True, help="folder for answers.json, report.md and report.html")
    compare.set_defaults(run=run_compare)
    score = commands.add_parser("score", parents=[common], help="ask both sides a suite of questions with tests")
    score.add_argument("--suite", type=Path, required=True, help="JSON lines in the format of MBPP or HumanEval")
    score.add_argument("--limit", type=int, help="only the first questions")
    score.add_argument("--jail", action="store_true", help="run what the sandbox lacks under bubblewrap")
    score.add_argument("--out", type=Path, help="write the score as JSON to this file")
    score.set_defaults(run=run_score)
    tokens = commands.add_parser("tokens", parents=[common], help="how sure both models are of every token of a text")
    tokens.add_argument("question")
    tokens.add_argument("--text", help="score this text; without it both sides answer, and both answers are scored")
    tokens.add_argument("--json", type=Path, metavar="FILE", help="write every token's figures to this file as well")
    tokens.set_defaults(run=run_tokens)
    add_adapter_command(commands)
    command.add(commands)
    return parser


def settings_of(options: argparse.Namespace) -> Settings:
    """Generation settings from the options."""
    return Settings(options.max_new_tokens, options.temperature, options.top_p, options.seed)


def new_lens(options: argparse.Namespace) -> Lens:
    """What the options name, not loaded yet."""
    return Lens(
        options.model,
        options.adapter if options.sides != "base" else None,
        device=options.device,
        quantize=options.quantize,
        precision=options.precision,
        prefer_hub=options.prefer_hub,
    )


def load(lens: Lens) -> Status:
    """Load, and say on stderr what was loaded from where."""
    lens.start()
    lens.wait_ready()
    status = lens.status()
    adapter = status.adapter.summary if status.adapter else "no adapter"
    print(f"{status.origin} · {adapter} · {status.device}", file=sys.stderr)
    return status


def answer(questions: list[str], options: argparse.Namespace) -> tuple[Status, list[Answer]]:
    """Load what the options name, ask, and wait, with a bar of finished answers on a terminal."""
    from tqdm import tqdm

    with new_lens(options) as lens:
        stream = lens.ask(questions, settings_of(options), SIDES[options.sides])
        status = load(lens)
        answers: list[Answer] = []
        with tqdm(total=len(stream.rows), unit="answer", disable=not sys.stderr.isatty(), leave=False) as bar:
            for answers in stream.snapshots(interval=0.2):
                bar.n = sum(answer.done for answer in answers)
                bar.set_postfix_str(f"{sum(answer.tokens for answer in answers)} tokens")
    return status, answers


def run_ask(options: argparse.Namespace) -> None:
    """Print the answers of both sides to one question."""
    _, answers = answer([options.question], options)
    for one in answers:
        print(f"── {one.side} ── {facts(one)}\n{one.text}\n")


def run_tokens(options: argparse.Namespace) -> None:
    """Score a text, or both sides' answers, token by token under both models."""
    if options.sides != "both":
        raise UserError("The token lens compares two models: leave --sides out.")
    lens = new_lens(options)
    try:
        load(lens)
        if options.text is not None:
            texts = {"text": (options.text, False)}
        else:
            answers = lens.ask([options.question], settings_of(options)).result()
            texts = {answer.side: (answer.text, answer.stopped) for answer in answers if answer.text}
        readings = {name: lens.read(options.question, text, ended=ended) for name, (text, ended) in texts.items()}
    finally:
        lens.close()
    print_tokens(readings, options.json)


def known_votes(status: Status) -> list[str]:
    """What people voted on the answers of this base model and adapter, in lines; empty where no votes are kept."""
    from eval_prompts.votes.store import Ratings, default_url
    from eval_prompts.votes.vote_statistics import by_kind
    from eval_prompts.votes.words import headline, notes

    url = default_url()
    if status.adapter is None or (url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists()):
        return []
    fingerprints = [
        f"{status.fingerprint}+{card.fingerprint}" if card else status.fingerprint
        for card in (status.adapter, status.against)
    ]
    try:
        ratings = Ratings(url)
        votes = ratings.votes(adapter=fingerprints[0], against=fingerprints[1])
        ratings.close()
    except UserError as error:
        logging.warning("%s The report goes without votes.", error)
        return []
    found = by_kind(votes)
    told = f"All votes on these two so far, on the page too: {headline(found)}"
    return [told, *notes(found["all"])] if votes else []


def run_compare(options: argparse.Namespace) -> None:
    """Ask the five probes and write the report."""
    check_writable(options.out)
    status, answers = answer([probe.question for probe in PROBES], options)
    for question, sides in by_question(answers):
        print(question)
        for one in sides:
            print(f"  {one.side:5} {facts(one)}")
    curve = read_curve(status.adapter.path) if status.adapter else None
    comparison = Comparison(status, settings_of(options), answers, judged(answers), known_votes(status), curve)
    print(comparison.tally)
    for path in write(comparison, options.out):
        print(path)


def run_score(options: argparse.Namespace) -> None:
    """Score both sides on a suite; the table goes to stdout, the figures to ``--out``."""
    from tqdm import tqdm

    from eval_prompts.judging import suite

    if options.sides != "both":
        raise UserError("A score compares both sides: leave out --sides.")
    items = suite.load_suite(options.suite, options.limit)
    settings = settings_of(options)
    if options.out is not None:
        check_writable(options.out.parent)
    with (
        new_lens(options) as lens,
        tqdm(total=2 * len(items), unit="answer", disable=not sys.stderr.isatty(), leave=False) as bar,
    ):

        def ask(questions: list[tuple[str, str]]) -> Iterator[suite.Reply]:
            return suite.finished(lens.ask(questions, settings).snapshots(interval=1.0))

        def show(progress: suite.Progress) -> None:
            bar.n = progress.done
            bar.set_postfix_str(", ".join(f"{side} {passed} passed" for side, passed in progress.passed.items()))

        load(lens)
        figures = suite.score(items, ask, name=options.suite.name, jail=options.jail, on_progress=show)
    print(suite.as_table(figures))
    if options.out is not None:
        write_text(options.out, json.dumps(figures, indent=2) + "\n")
        print(options.out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; 0 for success, 2 for what the user can mend (said in one line on stderr), 130 if interrupted."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    options = build_parser().parse_args(arguments)
    try:
        options.run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
