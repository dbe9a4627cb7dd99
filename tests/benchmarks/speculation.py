"""What speculative decoding could gain: ``python -m tests.benchmarks.speculation [--questions N] [--precision P]``.

The pair answers the five probes and N questions of the embedded test split, greedily. Then the decoding of the very
same texts is replayed with drafts: where the last tokens of an answer stood before, in its own prompt and text (prompt
lookup, https://github.com/apoorvumang/prompt-lookup-decoding) or in the other side's text, the tokens that followed
there are proposed and those that the model then really wrote are accepted. What a step costs with so many tokens is
measured on this machine. Nothing is charged for finding drafts nor for throwing away what was rejected, so the gains
told are upper bounds. Medians lie between 0.5x and 1.1x, so the decoder has no speculation.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from eval_prompts.answers import Settings
from eval_prompts.decoding.engine import Engine
from eval_prompts.decoding.layers.matmul import Precision
from eval_prompts.decoding.pair_decoder import PairDecoder
from eval_prompts.models.pair import SIDES, load_pair
from eval_prompts.rows import Row
from eval_prompts.stream import Stream
from eval_prompts.tasks.probes import PROBES
from tests.benchmarks.measures.spread import spread
from tuning.data.dataset import load
from tuning.models.device import pick_device
from tuning.models.weights import resolve

COUNTS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 48)
POSITION = 200
STEPS = 12


@dataclass(frozen=True)
class Policy:
    """Propose up to ``length`` tokens after a match of at least ``match`` tokens; ``across`` looks at both sides."""

    match: int
    length: int
    across: bool

    def __str__(self) -> str:
        return f"n={self.match} k={self.length} {'both texts' if self.across else 'own text'}"


@dataclass
class Replay:
    """An answer whose tokens are known, of which ``shown`` are written so far."""

    ids: list[int]
    prompt: int
    shown: int

    @property
    def done(self) -> bool:
        """Whether all is written."""
        return self.shown >= len(self.ids)

    @property
    def text(self) -> list[int]:
        """What a draft may look at."""
        return self.ids[: self.shown]


def draft(own: Replay, other: Replay | None, policy: Policy) -> list[int]:
    """The tokens that followed the last place where the end of ``own`` stood before; [] if there is none."""
    tail = own.text[-policy.match :]
    places = [own.text[:-1]] if other is None else [own.text[:-1], other.text]
    for text in places:
        for start in range(len(text) - policy.match, -1, -1):
            if text[start : start + policy.match] == tail:
                following = text[start + policy.match : start + policy.match + policy.length]
                if following:
                    return following
    return []


def accepted(own: Replay, proposed: Sequence[int]) -> int:
    """How many of the proposed tokens the model wrote."""
    real = own.ids[own.shown : own.shown + len(proposed)]
    pairs = zip(proposed, real, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def seconds_of(replays: list[list[Replay]], policy: Policy | None, cost: Callable[[int], float]) -> float:
    """Seconds to write all these answers together; each inner list holds one question's, of one or of both sides."""
    seconds = 0.0
    for replay in itertools.chain(*replays):
        replay.shown = replay.prompt
    while live := [(one, other) for one, other in with_others(replays) if not one.done]:
        drafts = [[] if policy is None else draft(one, other if policy.across else None, policy) for one, other in live]
        seconds += cost(len(live) + sum(map(len, drafts)))
        steps = [accepted(one, proposed) + 1 for (one, _), proposed in zip(live, drafts, strict=True)]
        for (one, _), count in zip(live, steps, strict=True):
            one.shown += count
    return seconds


def with_others(replays: list[list[Replay]]) -> Iterator[tuple[Replay, Replay | None]]:
    """Each answer, and the other side's answer to the same question."""
    for sides in replays:
        for index, replay in enumerate(sides):
            yield replay, sides[1 - index] if len(sides) == 2 else None


def step_costs(backend: PairDecoder, prompt: list[int]) -> Callable[[int], float]:
    """Seconds of one step by the number of tokens it feeds, measured, and between those a straight line."""
    medians = []
    for count in COUNTS:
        stream = Stream(["x"], SIDES, Settings())
        rows = [Row(stream, SIDES[index % 2], 0, (prompt * POSITION)[:POSITION]) for index in range(count)]
        for row in rows:
            row.limit = POSITION + STEPS + 2
            backend.enter(row)
        while any(row.fed < len(row.ids) for row in rows):
            backend.advance(rows, 10**6)
        times = []
        for _ in range(STEPS):
            for row in rows:
                row.ids.append(prompt[0])
            began = time.perf_counter()
            backend.advance(rows, 10**6)
            times.append(time.perf_counter() - began)
        for row in rows:
            backend.leave(row)
        medians.append(statistics.median(times))
        print(f"a step of {count:2d} tokens: {1e3 * medians[-1]:6.1f} ms", flush=True)

    def cost(tokens: int) -> float:
        upper = next((index for index, count in enumerate(COUNTS) if count >= tokens), len(COUNTS) - 1)
        if COUNTS[upper] == tokens or upper == 0:
            return medians[upper]
        low, high = COUNTS[upper - 1], COUNTS[upper]
        return medians[upper - 1] + (tokens - low) * (medians[upper] - medians[upper - 1]) / (high - low)

    return cost


def main() -> None:
    """Measure, replay and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=30, help="of the embedded test split, besides the probes")
    parser.add_argument("--precision", choices=("int8", "fp32"), default="int8")
    options = parser.parse_args()
    precision: Precision = options.precision
    pair = load_pair(resolve(), pick_device("cpu"), "starter")
    backend = PairDecoder(pair, precision)
    with torch.inference_mode():
        cost = step_costs(backend, pair.tokenizer("def answer(numbers): return")["input_ids"])
    rows = load("python_qa").test[: options.questions]
    questions = [(probe.question, "") for probe in PROBES] + [(row.question, row.input) for row in rows]
    engine = Engine(backend, pair.tokenizer)
    stream = Stream(questions, SIDES, Settings())
    engine.submit(stream)
    stream.result()
    engine.close()
    replays = [(row.index, Replay(row.ids, row.prompt_length, 0)) for row in stream.rows]
    both = [[replay for index, replay in replays if index == number] for number in range(len(questions))]
    tunings = [Policy(n, k, across) for n in (2, 3, 5) for k in (1, 3, 6) for across in (False, True)]
    print(f"\n{len(questions)} questions, both sides, {precision}; at most so many times as fast:")
    for policy in tunings:
        single = [gain([[one]], policy, cost) for sides in both for one in sides]
        pairs = [gain([sides], policy, cost) for sides in both]
        ten = [gain(both[at : at + 5], policy, cost) for at in range(0, len(both) - 4, 5)]
        print(
            f"{policy!s:22s} one answer {spread(single, 2)}  one pair {spread(pairs, 2)}  ten answers {spread(ten, 2)}"
        )


def gain(replays: list[list[Replay]], policy: Policy, cost: Callable[[int], float]) -> float:
    """How many times as fast the same texts come with the policy."""
    return seconds_of(replays, None, cost) / seconds_of(replays, policy, cost)


if __name__ == "__main__":
    main()
