"""Several adapters against each other: Bradley-Terry strengths from votes, with bootstrap intervals.

Every vote compares a base model with an adapter, so adapters of the same base are compared through it. Fitted by choix
(L. Maystre and M. Grossglauser, "Fast and accurate inference of Plackett-Luce models", 2015), slightly regularised. A
bootstrap of votes that all say the same has no width, so an adapter that has only won or only lost is not shown, nor
one with few votes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eval_prompts.ratings import VotedPair

FEWEST = 10
RESAMPLES = 300
REGULARISATION = 0.01


def bradley_terry(votes: Sequence[VotedPair], seed: int = 0) -> list[dict[str, Any]]:
    """Strengths of all adapters that have enough votes, strongest first; empty for fewer than two.

    ``strength`` is the log-odds of beating the base model, ``low`` and ``high`` its 95% percentile interval over
    resampled votes. Only adapters on the base model with most votes are compared; ties are left out.
    """
    decided = [voted for voted in votes if voted.vote.outcome in ("base", "tuned")]
    bases = [voted.pair.base.fingerprint for voted in decided]
    common = max(set(bases), key=bases.count, default="")
    by_adapter: dict[str, list[bool]] = {}
    for voted in decided:
        if voted.pair.base.fingerprint == common:
            by_adapter.setdefault(voted.pair.tuned.label, []).append(voted.vote.outcome == "tuned")
    shown = {name: won for name, won in by_adapter.items() if len(won) >= FEWEST and 0 < sum(won) < len(won)}
    if len(shown) < 2:
        return []
    fitted, low, high = _with_intervals(tuple(tuple(won) for won in shown.values()), seed)
    found = [
        {"name": name, "votes": len(won), "strength": float(at), "low": float(down), "high": float(up)}
        for (name, won), at, down, up in zip(shown.items(), fitted, low, high, strict=True)
    ]
    return sorted(found, key=lambda each: -each["strength"])


@lru_cache(maxsize=16)
def _with_intervals(results: tuple[tuple[bool, ...], ...], seed: int) -> tuple[Any, Any, Any]:
    """Fitted strengths and the ends of their intervals; kept, since the page asks again whenever it is looked at."""
    import numpy

    games = [(player, won) for player, wins in enumerate(results, start=1) for won in wins]
    chance = numpy.random.default_rng(seed)
    resampled = [
        _fit([games[at] for at in chance.integers(len(games), size=len(games))], len(results)) for _ in range(RESAMPLES)
    ]
    low, high = numpy.percentile(resampled, [2.5, 97.5], axis=0)
    return _fit(games, len(results)), low, high


def _fit(games: Sequence[tuple[int, bool]], adapters: int) -> Any:
    """Log strengths of the adapters, relative to the base model, which is player 0."""
    import choix

    data = [(player, 0) if won else (0, player) for player, won in games]
    strengths = choix.opt_pairwise(adapters + 1, data, alpha=REGULARISATION)
    return strengths[1:] - strengths[0]
