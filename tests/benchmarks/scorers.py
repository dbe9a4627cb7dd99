"""Verdicts per CPU second of every scorer: ``python -m tests.benchmarks.scorers``, one process on one core.

Each scorer looks at as many answers of its own kind, of 20 to 400 characters, every one another text, with references
that each stand for two answers, as they do where two sides are compared. A first look, which imports what is needed, is
not timed. SQL opens a database for every verdict and Python's judge runs code: they have no target. Exit code 1 if one
of the others is below it.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from eval_prompts.tasks.scorers.base import Given
from eval_prompts.tasks.scorers.names import KINDS, make
from tests.benchmarks.measures.spread import spread

TARGET = 2_500
"""Half of the 5,000 a second that two cores are to give."""
TEXT = """
the a of in is was and to for with on at from ship bay harbour water answer number city river mountain because it they
have been old small green never always between under over seven people would could there which where bread window
"""
WORDS = TEXT.split()
SCHEMA = {
    "type": "object",
    "required": ["name", "guests", "day"],
    "properties": {"name": {"type": "string"}, "guests": {"type": "integer"}, "day": {"enum": ["Monday", "Friday"]}},
}
TABLE = "CREATE TABLE t (a INTEGER, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'z');"
Maker = Callable[[random.Random], Given]


def sentence(draw: random.Random, least: int = 4, most: int = 70) -> str:
    """Words as an answer has them."""
    return " ".join(draw.choices(WORDS, k=draw.randint(least, most))).capitalize() + "."


def prose(draw: random.Random) -> Given:
    """An answer like its reference, but for some words."""
    wanted = sentence(draw)
    parts = wanted.split()
    for _ in range(len(parts) // 4):
        parts[draw.randrange(len(parts))] = draw.choice(WORDS)
    return Given(" ".join(parts), (wanted,), {}, True)


def short(draw: random.Random) -> Given:
    """A sentence that holds its reference, or does not."""
    wanted = draw.choice(WORDS)
    return Given(f"{sentence(draw, 4, 30)} {wanted} {sentence(draw, 2, 10)}", (wanted,), {}, True)


def figures(draw: random.Random) -> Given:
    """A sentence with numbers."""
    number = draw.randrange(100_000)
    return Given(f"{sentence(draw, 4, 30)} 12 and 3,400 make {number:,}.", (str(number),), {}, True)


def options(draw: random.Random) -> Given:
    """An answer that names a letter."""
    letter = draw.choice("ABCD")
    words = draw.sample(WORDS, 4)
    return Given(f"{sentence(draw, 2, 20)} The answer is {letter}.", (draw.choice("ABCD"),), {"options": words}, True)


def objects(draw: random.Random) -> Given:
    """A JSON object, in a fence at times."""
    value = {"name": sentence(draw, 2, 4), "guests": draw.randrange(12), "day": draw.choice(["Monday", "Friday"])}
    text = json.dumps(value)
    return Given(draw.choice([text, f"```json\n{text}\n```"]), (json.dumps(value | {"guests": 3}),), {}, True)


def query(draw: random.Random) -> Given:
    """A query on a small table."""
    text = f"SELECT b FROM t WHERE a > {draw.randrange(4)};"
    return Given(text, ("SELECT b FROM t WHERE a > 1;",), {"schema": TABLE}, True)


CASES: dict[str, tuple[Any, Maker]] = {
    "exact": ("exact", prose),
    "normalised": ("normalised", prose),
    "contains": ("contains", short),
    "excludes": ({"excludes": {"text": ["sorry", "as an AI"]}}, prose),
    "any_of": ("any_of", lambda draw: Given(sentence(draw), (" | ".join(draw.sample(WORDS, 3)),), {}, True)),
    "regex": ({"regex": {"pattern": r"\b(bay|harbour)\s+\w+"}}, prose),
    "number": ("number", figures),
    "choice": ("choice", options),
    "json": ({"json": {"schema": SCHEMA}}, objects),
    "bleu": ("bleu", prose),
    "chrf": ("chrf", prose),
    "rouge_l": ("rouge_l", prose),
    "length": ({"length": {"most": 30}}, prose),
    "language": ({"language": {"code": "en"}}, prose),
    "ends": ("ends", prose),
    "no_repeats": ("no_repeats", prose),
    "sql": ("sql", query),
}
ELSEWHERE = {"python", "own"}
"""Judged by other code than their scorer's: verdicts.py measures Python's; one's own function is one's own."""
NO_TARGET = {"sql"}


def answers(maker: Maker, count: int, seed: int) -> list[Given]:
    """Different answers, two to each reference."""
    draw = random.Random(seed)
    made: list[Given] = []
    while len(made) < count:
        first = maker(draw)
        other = maker(draw)
        made += [first, Given(other.text, first.references, first.columns, True)]
    return made[:count]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scorers", description=__doc__)
    parser.add_argument("--answers", type=int, default=4000, help="verdicts a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="one scorer")
    options = parser.parse_args(arguments)
    unknown = KINDS.keys() - CASES.keys() - ELSEWHERE
    print(f"{'scorer':12} {'verdicts/s':>10}  over {options.rounds} rounds of {options.answers:,}")
    slow = []
    for name, (spec, maker) in CASES.items():
        if options.only not in (None, name):
            continue
        scorer = make(spec)
        scorer(answers(maker, 2, 0)[0])
        rates = []
        for seed in range(1, options.rounds + 1):
            given = answers(maker, options.answers, seed)
            began = time.process_time()
            for one in given:
                scorer(one)
            rates.append(options.answers / (time.process_time() - began))
        print(f"{name:12} {spread(rates, 0)}")
        if sorted(rates)[len(rates) // 2] < TARGET and name not in NO_TARGET:
            slow.append(name)
    if unknown:
        print(f"not measured: {', '.join(sorted(unknown))}")
    if slow:
        print(f"below {TARGET:,} a second: {', '.join(slow)}")
    return int(bool(slow))


if __name__ == "__main__":
    sys.exit(main())
