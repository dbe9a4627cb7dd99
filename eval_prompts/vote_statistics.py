"""What votes say, and how sure that is: counts, win rates with intervals, tests, position bias, agreement, lengths.

Ties and "both are bad" count as votes, not as half a win: the win rate is that of the decided votes. Intervals are
Wilson's score intervals at 95% (E. B. Wilson, 1927), tests are exact sign tests, both by SciPy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eval_prompts.ratings import VotedPair

OUTCOMES = ("base", "tuned", "tie", "both_bad")
SIGNIFICANT = 0.05


def summarise(votes: Sequence[VotedPair]) -> dict[str, Any]:
    """All statistics of some votes, as plain data.

    ``counts`` by outcome and ``total``; ``tuned_wins``, the share of the decided votes that tuned won (see
    ``proportion``); ``enough``, whether that differs from a coin's at 5%; ``position``, the same for the left place;
    ``agreement`` of the decided votes with the verdicts, where these differ; ``lengths`` in tokens.
    """
    counts = Counter(voted.vote.outcome for voted in votes)
    tuned_wins = proportion(counts["tuned"], counts["tuned"] + counts["base"])
    places = Counter(voted.vote.choice for voted in votes)
    return {
        "counts": {outcome: counts[outcome] for outcome in OUTCOMES} | {"total": len(votes)},
        "tuned_wins": tuned_wins,
        "enough": tuned_wins["p_value"] is not None and tuned_wins["p_value"] < SIGNIFICANT,
        "position": proportion(places["left"], places["left"] + places["right"]),
        "agreement": _agreement(votes),
        "lengths": _lengths(votes),
    }


def proportion(wins: int, of: int) -> dict[str, Any]:
    """``wins`` of ``of``: ``rate``, ``low`` and ``high`` (95%, Wilson) and the exact ``p_value`` against one half; all
    None where there is nothing to count."""
    from scipy.stats import binomtest

    if not of:
        return {"wins": 0, "of": 0, "rate": None, "low": None, "high": None, "p_value": None}
    test = binomtest(wins, of)
    interval = test.proportion_ci(method="wilson")
    return {
        "wins": wins,
        "of": of,
        "rate": wins / of,
        "low": float(interval.low),
        "high": float(interval.high),
        "p_value": float(test.pvalue),
    }


def _decided(votes: Iterable[VotedPair]) -> Iterable[VotedPair]:
    return (voted for voted in votes if voted.vote.outcome in ("base", "tuned"))


def _agreement(votes: Sequence[VotedPair]) -> dict[str, Any]:
    """How often the preferred answer is the one that does its task, where exactly one of the two does."""
    agreed = compared = 0
    for voted in _decided(votes):
        passes = {side: (getattr(voted.pair, side).verdict or {}).get("task") for side in ("base", "tuned")}
        if None in passes.values() or (passes["base"] == "passes") == (passes["tuned"] == "passes"):
            continue
        compared += 1
        agreed += passes[voted.vote.outcome] == "passes"
    return proportion(agreed, compared)


def _lengths(votes: Sequence[VotedPair]) -> dict[str, Any]:
    """Median tokens of both sides, and how often the longer answer was preferred."""
    longer = compared = 0
    for voted in _decided(votes):
        tokens = {"base": voted.pair.base.tokens, "tuned": voted.pair.tuned.tokens}
        if tokens["base"] != tokens["tuned"]:
            compared += 1
            longer += voted.vote.outcome == max(tokens, key=tokens.__getitem__)
    middle = {
        side: median(getattr(voted.pair, side).tokens for voted in votes) if votes else None for side in OUTCOMES[:2]
    }
    return {"median_tokens": middle, "longer_wins": proportion(longer, compared)}
