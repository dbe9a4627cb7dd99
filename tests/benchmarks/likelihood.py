"""Choices by likelihood: ``python -m tests.benchmarks.likelihood [--rounds N] [--model M] [--adapter A]``.

Reads the multiple-choice questions of the built-in battery under both sides, as a scoring does, and tells questions a
second for both together, and tokens that were computed. Beside it, the same questions text by text, nothing shared.
"""

from __future__ import annotations

import argparse
import time

from eval_prompts.lens import likelihood
from eval_prompts.lens.likelihood import plain_sums
from eval_prompts.lens.token_tree import Choices, Encoded, Tree
from eval_prompts.models.pair import SIDES
from eval_prompts.scoring.reading import portions, read
from eval_prompts.scoring.subject import named_subject
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.local import LocalLoader
from tests.benchmarks.measures.spread import spread

PLAIN = 12
"""Questions that are read text by text."""


def main() -> None:
    """Load, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--adapter", default="starter")
    options = parser.parse_args()
    subject = named_subject("general", lambda task: task.settings)
    asked = [(subject, at) for at, question in enumerate(subject.questions) if subject.task.wanted(question)]
    with Lens(LocalLoader(options.model, options.adapter)) as lens:
        lens.start()
        lens.wait_ready()
        pair = lens.loaded_pair()
        encoded = []
        tree = Tree()
        for _, at in asked:
            question = subject.questions[at]
            choices = Choices(subject.task.prompt(question).messages, subject.task.wanted(question))
            encoded.append(Encoded.of(pair.tokenizer, choices))
            tree.lay_out(encoded[-1])
        for side in SIDES:
            read(lens, side, asked[:4])
        found = []
        for _ in range(options.rounds):
            began = time.perf_counter()
            for portion in portions(asked):
                for side in SIDES:
                    read(lens, side, portion)
            found.append(time.perf_counter() - began)
        print(f"{len(asked)} questions, {len(tree.ids)} tokens a side, in passes of {likelihood.PASS_TOKENS}")
        print(f"both sides: {spread([len(asked) / each for each in found], 1)} questions/s, {options.rounds} rounds")
        apart = []
        for _ in range(options.rounds):
            began = time.perf_counter()
            for side in SIDES:
                for one in encoded[:PLAIN]:
                    plain_sums(pair.model(side), one)
            apart.append(time.perf_counter() - began)
        print(f"text by text: {spread([PLAIN / each for each in apart], 1)} questions/s")


if __name__ == "__main__":
    main()
