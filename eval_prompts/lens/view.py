"""Readings as the page draws them: compact rows of numbers, and what is to be said in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eval_prompts.lens.token_lens import Reading, wanted_words

if TYPE_CHECKING:
    from eval_prompts.lens.token_scores import SideScore
    from eval_prompts.models.pair import Side

SAME = "Both answers are the same, token by token."
DIGITS = 5


@dataclass(frozen=True)
class Written:
    """An answer that is read: its text, whether it ended by itself, and the tokens it was written in with the closing
    one, where these are known."""

    text: str
    ended: bool = False
    ids: tuple[int, ...] = ()


def reading_view(reading: Reading) -> dict[str, Any]:
    """For each token its text, its id, and for both sides log-probability, rank, entropy, probability of the end and
    first choices as pairs of an id and a probability; ``choices`` are what the ids are, by side."""
    figures = reading.figures
    return {
        "notes": reading.notes,
        "aligned": reading.aligned,
        "prompt_tokens": reading.prompt_tokens,
        "summary": summary(reading),
        "figures": {name: rounded(value) for name, value in figures.__dict__.items() if isinstance(value, float)},
        "choices": {
            side: {str(token): word for token, word in words.items()} for side, words in reading.choices.items()
        },
        "parts_at": reading.parts_at,
        "tokens": [
            {
                "text": piece,
                "id": entry.token,
                "change": rounded(entry.change),
                "kl": [rounded(entry.kl_base_tuned), rounded(entry.kl_tuned_base)],
                "base": side_view(entry.base),
                "tuned": side_view(entry.tuned),
            }
            for piece, entry in zip(reading.pieces, reading.scores, strict=True)
        ],
    }


def side_view(score: SideScore) -> list[Any]:
    """Log-probability, rank, entropy, probability of the end, and first choices."""
    top = [[token, rounded(odds)] for token, odds in score.top]
    return [rounded(score.logprob), score.rank, rounded(score.entropy), rounded(score.end), top]


def rounded(value: float | None) -> float | None:
    """A figure with as many digits as are ever shown; None where it is not finite, which JSON cannot say."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.{DIGITS}g}")


def finite_values(value: Any) -> Any:
    """Any JSON with null in place of numbers that are not finite."""
    if isinstance(value, dict):
        return {name: finite_values(part) for name, part in value.items()}
    if isinstance(value, list):
        return [finite_values(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def summary(reading: Reading) -> str:
    """The figures of a text in one line."""
    figures = reading.figures
    words = [reading.length]
    words.append(f"perplexity base {figures.perplexity_base:.3g}, tuned {figures.perplexity_tuned:.3g}")
    if figures.mean_kl is not None:
        words.append(f"KL {figures.mean_kl:.3g} nats a token")
    words.append(f"same first choice at {figures.same_top:.0%}")
    return " · ".join(words)


def parting(readings: Mapping[Side, Reading], greedy: bool) -> dict[str, Any]:
    """Where the two answers part: ``place`` in both readings (None where they do not), and ``words`` of it."""
    ours, theirs = readings["base"], readings["tuned"]
    place = common_length(written_tokens(ours), written_tokens(theirs))
    shorter, longer = sorted((ours, theirs), key=lambda reading: len(reading.scores))
    if place == len(longer.scores):
        return {"place": None, "words": SAME}
    if place == len(shorter.scores):
        side = "base" if shorter is ours else "tuned"
        return {"place": place, "words": f"here the {side} answer was cut off; up to here both are the same"}
    quoted = [
        f"{side} {'wanted' if greedy else 'drew'} {reading.pieces[place]!r} {math.exp(thought.logprob):.0%}"
        for side, reading in readings.items()
        for name, thought in reading.scores[place].sides
        if name == side
    ]
    return {"place": place, "words": f"here they part: {', '.join(quoted)}"}


def written_tokens(reading: Reading) -> list[Any]:
    """What tells the tokens of a reading apart: their ids, or between two tokenizers their characters."""
    return list(reading.pieces) if reading.aligned else [entry.token for entry in reading.scores]


def common_length(one: list[Any], other: list[Any]) -> int:
    """How many entries two lists begin with in common."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def first_choices(reading: Reading) -> dict[str, Any]:
    """Where both models' first choices part along a text for the first time, as :func:`parting` gives it."""
    place = reading.parts_at
    if place is None:
        return {"place": None, "words": "Both models' first choice is the same at every token."}
    return {"place": place, "words": f"first choices part here: {wanted_words(reading, place)}"}
