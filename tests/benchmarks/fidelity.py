"""How far low-precision answers are from fp32: ``python -m tests.benchmarks.fidelity [--rows N] [--data FILE]``.

Both precisions of the decoder are led along the same held-out answers, token by token as it would write them, both
sides in one batch. Told per side: the mean difference of the log-probabilities of the true tokens (nats per token;
positive means that low precision likes the answers better) with its standard error, the mean of its size, and how
often both would choose the same token; and by how much the tuned side's advantage changes.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from eval_prompts.answers import Settings
from eval_prompts.decoding.pair_decoder import PairDecoder
from eval_prompts.models.pair import SIDES, Pair, load_pair
from eval_prompts.stream import Stream
from tuning.data.chat import Example
from tuning.data.dataset import load
from tuning.data.encoding import Encoder
from tuning.models.device import pick_device
from tuning.models.weights import resolve

BATCH = 8


@dataclass(frozen=True)
class Scores:
    """Log-probabilities of the true tokens and the tokens that would have been chosen, [tokens], for one side."""

    log_probs: torch.Tensor
    chosen: torch.Tensor


@dataclass(frozen=True)
class Fidelity:
    """One side in low precision against fp32, in nats per token."""

    signed: float
    standard_error: float
    absolute: float
    agreement: float


def held_out(pair: Pair, rows: int, source: str = "python_qa") -> list[Example]:
    """Examples that no adapter trained on this data has seen."""
    data = load(source)
    kept = [*data.validation, *data.test][:rows]
    encoder = Encoder(pair.tokenizer, data.format, 768)
    return [example for row in kept for example in encoder.encode(row) or ()]


def scores(backend: PairDecoder, examples: Sequence[Example]) -> dict[str, Scores]:
    """Lead the decoder along the examples' answers, ``BATCH`` of them and both sides at once."""
    found: dict[str, list[tuple[float, int]]] = {side: [] for side in SIDES}
    for begin in range(0, len(examples), BATCH):
        batch = examples[begin : begin + BATCH]
        stream = Stream(["led"] * len(batch), SIDES, Settings())
        for row in stream.rows:
            row.ids = list(batch[row.index].prompt_ids)
            row.limit = len(batch[row.index])
            backend.enter(row)
        per_row: dict[int, list[tuple[float, int]]] = {id(row): [] for row in stream.rows}
        live = list(stream.rows)
        with torch.inference_mode():
            while live:
                ready, logits = backend.advance(live, 10_000)
                for row, values in zip(ready, logits.log_softmax(-1), strict=True):
                    answer = batch[row.index].answer_ids
                    token = answer[len(per_row[id(row)])]
                    per_row[id(row)].append((values[token].item(), int(values.argmax())))
                    row.ids.append(token)
                    if len(per_row[id(row)]) == len(answer):
                        backend.leave(row)
                        live.remove(row)
        for row in stream.rows:
            found[row.side] += per_row[id(row)]
    return {
        side: Scores(torch.tensor([p for p, _ in pairs]).double(), torch.tensor([t for _, t in pairs]))
        for side, pairs in found.items()
    }


def compare(exact: Scores, low: Scores) -> Fidelity:
    """One side's figures."""
    difference = low.log_probs - exact.log_probs
    return Fidelity(
        signed=difference.mean().item(),
        standard_error=difference.std().item() / math.sqrt(len(difference)),
        absolute=difference.abs().mean().item(),
        agreement=(low.chosen == exact.chosen).double().mean().item(),
    )


def gap_change(exact: dict[str, Scores], low: dict[str, Scores]) -> float:
    """Relative change of the tuned side's advantage in loss over the base."""
    gaps = [(each["tuned"].log_probs - each["base"].log_probs).mean().item() for each in (exact, low)]
    return gaps[1] / gaps[0] - 1


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--data", default="python_qa")
    options = parser.parse_args()
    pair = load_pair(resolve(), pick_device("cpu"), "starter")
    examples = held_out(pair, options.rows, options.data)
    exact, low = (scores(PairDecoder(pair, precision), examples) for precision in ("fp32", "int8"))
    print(f"{len(examples)} held-out answers, {len(exact['base'].log_probs):,} tokens")
    for side in SIDES:
        seen = compare(exact[side], low[side])
        print(
            f"{side:6} loss {-exact[side].log_probs.mean():.4f} in fp32; low precision {seen.signed:+.5f} "
            f"(standard error {seen.standard_error:.5f}), in size {seen.absolute:.4f}, same choice {seen.agreement:.2%}"
        )
    print(f"the tuned side's advantage changes by {gap_change(exact, low):+.2%}")


if __name__ == "__main__":
    main()
