"""What votes say, and how sure that is: counts, win rates with intervals, tests, position bias, agreement, lengths.

Ties and "both are bad" count as votes, not as half a win: the win rate is that of the decided votes. Intervals are
Wilson's score intervals at 95% (E. B. Wilson, 1927), tests are exact sign tests, both by SciPy. Agreement beyond chance
is Cohen's kappa (J. Cohen, "A coefficient of agreement for nominal scales", 1960).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eval_prompts.votes.store import VotedPair

OUTCOMES = ("base", "tuned", "tie", "both_bad")
SIDES = ("base", "tuned")
SIGNIFICANT = 0.05


def summarise(votes: Sequence[VotedPair]) -> dict[str, Any]:
    """All statistics of some votes, as plain data.

    ``counts`` by outcome and ``total``; ``tuned_wins``, the share of the decided votes that tuned won (see
    ``proportion``); ``enough``, whether that differs from a coin's at 5%; ``position``, the same for the left place;
    ``agreement`` of the decided votes with the verdicts, where these differ, with its ``kappa``; ``lengths`` in tokens.
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
    """How often the preferred answer is the one that does its task, where one of the two does and the other fails."""
    said: Counter[tuple[str, str]] = Counter()
    for voted in _decided(votes):
        passes = {side: (getattr(voted.pair, side).verdict or {}).get("task") for side in SIDES}
        if set(passes.values()) != {"passes", "fails"}:
            continue
        machine = "base" if passes["base"] == "passes" else "tuned"
        said[voted.vote.outcome, machine] += 1
    table = [[said[people, machine] for machine in SIDES] for people in SIDES]
    return proportion(table[0][0] + table[1][1], said.total()) | {"kappa": kappa(table)}


def kappa(table: Sequence[Sequence[int]]) -> float | None:
    """Cohen's kappa of two raters' counts: ``table[i][j]`` subjects that the one put into category i and the other
    into j. 1 is full agreement, 0 that of chance; None where chance alone would agree always."""
    total = sum(map(sum, table))
    if not total:
        return None
    observed = sum(row[at] for at, row in enumerate(table)) / total
    expected = sum(sum(row) * sum(column) for row, column in zip(table, zip(*table, strict=True), strict=True))
    expected /= total**2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def _lengths(votes: Sequence[VotedPair]) -> dict[str, Any]:
    """Median tokens of both sides, and of the preferred answers and of the others; how often the longer answer was
    preferred."""
    longer = compared = 0
    preferred, other = [], []
    for voted in _decided(votes):
        tokens = {"base": voted.pair.base.tokens, "tuned": voted.pair.tuned.tokens}
        won = tokens.pop(voted.vote.outcome)
        (lost,) = tokens.values()
        preferred.append(won)
        other.append(lost)
        compared += won != lost
        longer += won > lost
    lengths = {side: [getattr(voted.pair, side).tokens for voted in votes] for side in SIDES}
    lengths |= {"preferred": preferred, "other": other}
    middle = {name: median(tokens) if tokens else None for name, tokens in lengths.items()}
    return {"median_tokens": middle, "longer_wins": proportion(longer, compared)}
