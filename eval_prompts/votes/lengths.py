"""Lengths beside votes: how long the answers were, whether the longer one tends to win, and who wins at equal length.

The win rate at equal length is that of a logistic regression of the preference on the difference of the logarithms of
both lengths, read where they are equal, as length-controlled AlpacaEval does for judge models (Y. Dubois et al.,
"Length-controlled AlpacaEval", 2024). A weak normal prior keeps it finite where length alone tells the votes apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eval_prompts.votes.records import VotedPair

SIDES = ("base", "tuned")
FEWEST = 10
"""Decided votes under which no win rate at equal length is told."""
PRIOR_DEVIATION = 3.0
Z95 = 1.959964
NEWTON_STEPS = 50


def lengths(votes: Sequence[VotedPair]) -> dict[str, Any]:
    """Median tokens of both sides, of the preferred answers and of the others; how often the longer answer was
    preferred (``longer_wins`` of ``compared``), and ``equal_length`` (see :func:`at_equal_length`)."""
    decided = [voted for voted in votes if voted.vote.outcome in SIDES]
    preferred = [getattr(voted.pair, voted.vote.outcome).tokens for voted in decided]
    other = [(voted.pair.base if voted.vote.outcome == "tuned" else voted.pair.tuned).tokens for voted in decided]
    tokens = {side: [getattr(voted.pair, side).tokens for voted in votes] for side in SIDES}
    middle = {
        name: median(counts) if counts else None
        for name, counts in (tokens | {"preferred": preferred, "other": other}).items()
    }
    return {
        "median_tokens": middle,
        "longer": sum(won > lost for won, lost in zip(preferred, other, strict=True)),
        "compared": sum(won != lost for won, lost in zip(preferred, other, strict=True)),
        "equal_length": at_equal_length(decided),
    }


def at_equal_length(decided: Sequence[VotedPair]) -> dict[str, float] | None:
    """The tuned side's win rate where both answers are equally long, with its 95% interval: ``rate``, ``low``,
    ``high``; None for fewer than ten decided votes, or where all lengths are equal already."""
    return equal_length(
        [(voted.pair.base.tokens, voted.pair.tuned.tokens, voted.vote.outcome == "tuned") for voted in decided]
    )


def equal_length(decided: Sequence[tuple[int, int, bool]]) -> dict[str, float] | None:
    """:func:`at_equal_length` of (tokens of base, tokens of tuned, whether tuned won)."""
    differences = [math.log((tuned + 1) / (base + 1)) for base, tuned, _ in decided]
    if len(decided) < FEWEST or not any(differences):
        return None
    won = [tuned_won for _, _, tuned_won in decided]
    intercept, variance = _logistic(differences, won)
    spread = Z95 * math.sqrt(variance)
    rate, low, high = (1 / (1 + math.exp(-value)) for value in (intercept, intercept - spread, intercept + spread))
    return {"rate": rate, "low": low, "high": high}


def _logistic(inputs: Sequence[float], outcomes: Sequence[bool]) -> tuple[float, float]:
    """Intercept of a logistic regression and its variance, by Newton's method (all likelihood with its prior is
    concave, so that steps that are halved until they improve it arrive)."""
    import numpy

    design = numpy.column_stack([numpy.ones(len(inputs)), inputs])
    target = numpy.asarray(outcomes, dtype=float)
    precision = numpy.eye(2) / PRIOR_DEVIATION**2

    def objective(weights: Any) -> float:
        scores = design @ weights
        return float(target @ scores - numpy.logaddexp(0, scores).sum() - weights @ precision @ weights / 2)

    weights = numpy.zeros(2)
    for _ in range(NEWTON_STEPS):
        rates = 1 / (1 + numpy.exp(-(design @ weights)))
        gradient = design.T @ (target - rates) - precision @ weights
        curvature = design.T @ (design * (rates * (1 - rates))[:, None]) + precision
        step = numpy.linalg.solve(curvature, gradient)
        while objective(weights + step) < objective(weights) and numpy.abs(step).max() > 1e-12:
            step = step / 2
        weights = weights + step
        if numpy.abs(step).max() < 1e-9:
            break
    rates = 1 / (1 + numpy.exp(-(design @ weights)))
    curvature = design.T @ (design * (rates * (1 - rates))[:, None]) + precision
    return float(weights[0]), float(numpy.linalg.inv(curvature)[0, 0])
