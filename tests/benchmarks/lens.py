"""What the lens costs: ``python -m tests.benchmarks.lens [--rounds N] [--set N]``, with nothing else running.

Answers with confidence and without are timed in turns, round after round, so that a drift of the machine cancels
in the ratio: ten answers, and one pair. Then one answer of 300 tokens is read by both models, and a set of answers.
"""

from __future__ import annotations

import argparse
import time

from eval_prompts.answers import Settings
from eval_prompts.lens.set_figures import TextSet
from eval_prompts.lens.view import Written
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.local import LocalLoader
from eval_prompts.serving.readings import Readings
from eval_prompts.tasks.catalogue import python_task
from eval_prompts.tasks.probes import PROBES
from tests.benchmarks.measures.spread import ratios, spread

TEXT_TOKENS = 300


def seconds(lens: Lens, questions: list[str], tokens: int, confidence: bool) -> float:
    """How long so many answers of both sides take, for each token."""
    began = time.monotonic()
    answers = lens.ask(questions, Settings(tokens, confidence=confidence)).result()
    taken = time.monotonic() - began
    return taken / sum(answer.tokens for answer in answers)


def confidence(lens: Lens, rounds: int, tokens: int) -> None:
    """Print the rate of answers without and with confidence, and the ratio."""
    five = [probe.question for probe in PROBES]
    for title, questions in (("ten answers", five), ("one pair", five[1:2])):
        seconds(lens, questions, 8, True)
        off, on = [], []
        for _ in range(rounds):
            off.append(seconds(lens, questions, tokens, False))
            on.append(seconds(lens, questions, tokens, True))
        rates = [spread([1 / each for each in found], 0) for found in (off, on)]
        print(f"{title}: {rates[0]} tokens/s without, {rates[1]} with confidence; with it {ratios(on, off)} the time")


def reading(lens: Lens, rounds: int, count: int) -> None:
    """Print how long one text of 300 tokens takes, and a set of ``count`` answers of the probes."""
    readings, task = Readings(lens), python_task()
    messages = task.put(task.questions[0]).messages
    words = " ".join(f"word{number}" for number in range(400))
    tokens = lens.loaded_pair().tokenizer.encode(words, add_special_tokens=False)[:TEXT_TOKENS]
    text = lens.loaded_pair().tokenizer.decode(tokens)
    taken = []
    for _ in range(rounds + 1):
        began = time.monotonic()
        readings.read(messages, {"text": Written(text)})
        taken.append(time.monotonic() - began)
    print(f"one text of {TEXT_TOKENS} tokens: {spread(taken[1:], 2)} s")
    answers = lens.ask([probe.question for probe in PROBES], Settings(TEXT_TOKENS)).result()
    found, began = TextSet(), time.monotonic()
    for number in range(count):
        answer = answers[number % len(answers)]
        found.add(f"{answer.question} {number}", readings.read(messages, {"text": Written(answer.text)})["text"])
    found.figures()
    total = sum(answers[number % len(answers)].tokens for number in range(count))
    print(f"a set of {count} answers, {total} tokens: {time.monotonic() - began:.1f} s")


def main() -> None:
    """Load the pair and print all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=150)
    parser.add_argument("--set", type=int, default=100)
    parser.add_argument("--precision", choices=("auto", "fp32", "int8"), default="auto")
    options = parser.parse_args()
    with Lens(LocalLoader(precision=options.precision)) as lens:
        lens.start()
        lens.wait_ready()
        print(lens.status().device)
        confidence(lens, options.rounds, options.tokens)
        reading(lens, options.rounds, options.set)


if __name__ == "__main__":
    main()
