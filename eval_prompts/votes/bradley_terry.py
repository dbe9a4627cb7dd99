"""Several adapters against each other: Bradley-Terry strengths from votes, with bootstrap intervals.

Adapters are told apart by their weights, not by their names. Those of one base model are compared through it, others
where they met. Fitted by choix (L. Maystre and M. Grossglauser, "Fast and accurate inference of Plackett-Luce models",
2015), slightly regularised. A strength is finite only if, of any two parts of the players, each has won against the
other (L. R. Ford, "Solution of a ranking problem from binary comparisons", 1957): players outside the largest such
group are not shown, nor those with few votes, since a bootstrap of votes that all say the same has no width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from eval_prompts.votes.records import has_adapter

if TYPE_CHECKING:
    from eval_prompts.votes.records import VotedPair

FEWEST = 10
RESAMPLES = 300
REGULARISATION = 0.01
Game = tuple[str, str]
"""The fingerprints of the side that was preferred and of the other."""


@dataclass(frozen=True)
class Strength:
    """One side's log-odds of being preferred to the reference, with its 95% interval over resampled votes.

    ``votes`` counts the decided votes on it; ``reference`` is the fingerprint that all strengths are relative to.
    """

    fingerprint: str
    reference: str
    votes: int
    strength: float
    low: float
    high: float


def bradley_terry(votes: Sequence[VotedPair], seed: int = 0) -> list[Strength]:
    """Strengths of all sides that can be compared, strongest first, without the reference; empty if these are fewer
    than two.

    The reference is the base model with most votes, or the adapter with most where no base model was voted on. Ties
    are left out, and so are open votes: who knows which side is which, and what the machine says, votes otherwise.
    """
    games = _comparable([game for voted in votes if voted.vote.blind and (game := _game(voted))])
    counts = Counter(player for game in games for player in game)
    if len(counts) < 3:
        return []
    reference = max(counts, key=lambda player: (not has_adapter(player), counts[player], player))
    players = [reference, *sorted(player for player in counts if player != reference)]
    won = Counter(games)
    fitted, low, high = _with_intervals(tuple(tuple(won[a, b] for b in players) for a in players), seed)
    found = [
        Strength(player, reference, counts[player], float(fitted[at]), float(low[at]), float(high[at]))
        for at, player in enumerate(players)
        if at
    ]
    return sorted(found, key=lambda each: -each.strength)


def _game(voted: VotedPair) -> Game | None:
    sides = {"base": voted.pair.base.fingerprint, "tuned": voted.pair.tuned.fingerprint}
    won = voted.vote.outcome
    if won not in sides or sides["base"] == sides["tuned"]:
        return None
    return sides[won], sides["tuned" if won == "base" else "base"]


def _comparable(games: list[Game]) -> list[Game]:
    """The games among players with enough of them, in the largest group whose strengths are finite."""
    while True:
        counts = Counter(player for game in games for player in game)
        kept = _largest_group([game for game in games if min(counts[player] for player in game) >= FEWEST])
        if len(kept) == len(games):
            return kept
        games = kept


def _largest_group(games: list[Game]) -> list[Game]:
    """The games within the strongly connected component, of the graph of who won against whom, that has most games."""
    if not games:
        return []
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    place = {player: at for at, player in enumerate({player: None for game in games for player in game})}
    winners, losers = [place[won] for won, _ in games], [place[lost] for _, lost in games]
    graph = coo_array(([1] * len(games), (winners, losers)), shape=(len(place), len(place)))
    _, group = connected_components(graph, directed=True, connection="strong")
    inside = Counter(int(group[a]) for a, b in zip(winners, losers, strict=True) if group[a] == group[b])
    largest = max(inside, key=inside.__getitem__, default=-1)
    return [game for game in games if all(group[place[player]] == largest for player in game)]


@lru_cache(maxsize=16)
def _with_intervals(won: tuple[tuple[int, ...], ...], seed: int) -> tuple[Any, Any, Any]:
    """Fitted strengths and the ends of their intervals; kept, since the page asks again whenever it is looked at.

    Votes are resampled as counts, which takes as long for many votes as for few.
    """
    import numpy

    table = numpy.array(won)
    fitted = fit(table)
    resampled = numpy.random.default_rng(seed).multinomial(table.sum(), table.ravel() / table.sum(), RESAMPLES)
    strengths = [fit(counts.reshape(table.shape), start=fitted) for counts in resampled]
    low, high = numpy.percentile(strengths, [2.5, 97.5], axis=0)
    return fitted, low, high


def fit(won: Any, regularisation: float = REGULARISATION, start: Any = None) -> Any:
    """Log strengths of the players, [players], relative to player 0; ``won[a][b]`` counts the wins of a against b,
    [players, players]."""
    import choix
    import numpy

    counts = numpy.asarray(won, dtype=float)
    strengths = choix.ilsr_pairwise_dense(counts, alpha=regularisation, initial_params=start, max_iter=1000)
    return strengths - strengths[0]
