"""What votes say, and how sure that is: counts, win rates, evidence, position bias, agreement, lengths.

Several votes by one person on the same answers count once, as do several by one network on the same pair: the first.
Ties and "both are bad" are no half wins in the win rate, which is that of the decided votes; ``net`` counts them.
What is claimed rests on :mod:`eval_prompts.votes.evidence`, which may be looked at after every vote. Position and
agreement are told of blind votes alone: in open ones the base stands left, and the verdicts are in sight. Intervals of
proportions are Wilson's (E. B. Wilson, 1927), tests exact sign tests, both by SciPy and for one look. Agreement beyond
chance is Cohen's kappa (J. Cohen, "A coefficient of agreement for nominal scales", 1960).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from eval_prompts.votes.evidence import Evidence, Scope, confidence_sequence, more_needed
from eval_prompts.votes.lengths import lengths

if TYPE_CHECKING:
    from eval_prompts.votes.records import VotedPair

OUTCOMES = ("base", "tuned", "tie", "both_bad")
SIDES = ("base", "tuned")


def by_kind(votes: Sequence[VotedPair]) -> dict[str, dict[str, Any]]:
    """:func:`summarise` of 'all', 'blind' and 'open' votes."""
    return {
        "all": summarise(votes),
        "blind": summarise([voted for voted in votes if voted.vote.blind]),
        "open": summarise([voted for voted in votes if not voted.vote.blind]),
    }


def summarise(votes: Sequence[VotedPair]) -> dict[str, Any]:
    """All statistics of some votes, as plain data.

    ``counts`` by outcome and ``total``, of all votes; ``repeated``, how many of them count no further; ``raters`` and
    ``questions``, of how many people and on how many questions; ``tuned_wins``, the share of the decided votes that
    tuned won (see ``proportion``); ``net``, by how much it is preferred with ties counted; ``evidence`` (see there) and
    ``enough``, whether it holds for people and questions alike; ``position``, the share of the left place;
    ``agreement`` of the decided votes with the verdicts, where these differ, with its ``kappa``; ``lengths``.
    """
    counted = once_each(votes)
    counts: Counter[str] = Counter(voted.vote.outcome for voted in votes)
    wins: Counter[str] = Counter(voted.vote.outcome for voted in counted)
    blind = [voted for voted in counted if voted.vote.blind]
    places = Counter(voted.vote.choice for voted in blind)
    told = evidence(counted)
    return {
        "counts": {outcome: counts[outcome] for outcome in OUTCOMES} | {"total": len(votes)},
        "repeated": len(votes) - len(counted),
        "raters": len({person(voted) for voted in counted}),
        "questions": len({voted.pair.question for voted in counted}),
        "tuned_wins": proportion(wins["tuned"], wins["tuned"] + wins["base"]),
        "net": net(wins),
        "evidence": told,
        "enough": told["holds_for"] == Scope.EVERYONE,
        "position": proportion(places["left"], places["left"] + places["right"]),
        "agreement": _agreement(blind),
        "lengths": _lengths(counted),
    }


def person(voted: VotedPair) -> str:
    """Who gave a vote, as far as that is known: the anonymous session."""
    return voted.vote.session


def once_each(votes: Iterable[VotedPair]) -> list[VotedPair]:
    """The votes in the order in which they were given, without those that repeat an earlier one: of the same person on
    the same answers of the same models, or of the same network on the same pair."""
    seen: set[tuple[Any, ...]] = set()
    counted = []
    for voted in sorted(votes, key=lambda each: each.vote.created):
        pair, vote = voted.pair, voted.vote
        answers = [(side.fingerprint, side.text) for side in (pair.base, pair.tuned)]
        keys: set[tuple[Any, ...]] = {("answers", person(voted), pair.question, *answers)}
        if vote.network:
            keys.add(("pair", pair.id, vote.network))
        if not keys & seen:
            counted.append(voted)
        seen |= keys
    return counted


def net(outcomes: Counter[str]) -> float | None:
    """Votes for tuned less those for base, as a share of all, from -1 to 1: ties and "both bad" weigh against either
    claim. This is the difference of the two preferences in R. Davidson's model of ties ("On extending the Bradley-Terry
    model to accommodate ties", 1970), whose estimates for two sides are the shares themselves. None without votes."""
    total = sum(outcomes[outcome] for outcome in OUTCOMES)
    return (outcomes["tuned"] - outcomes["base"]) / total if total else None


def evidence(counted: Sequence[VotedPair]) -> dict[str, Any]:
    """What these votes show, however often one looks.

    ``holds_for`` is the widest of 'everyone', 'people' (on these questions) and 'questions' (for these raters) for
    which ``better`` ('base' or 'tuned') is preferred; both None where nothing can be told. ``claims`` has, for each of
    them, the votes that count for it (``wins`` of ``of``), their confidence sequence ``low`` to ``high``, and about how
    many ``more`` would settle it (None where no number can be told); ``main`` is the one that the votes are about.
    """
    found = Evidence()
    for voted in _decided(counted):
        found.add(person(voted), voted.pair.question, voted.vote.outcome == "tuned")
    claims = {}
    for scope, one in found.sequences.items():
        low, high = confidence_sequence(one.wins, one.losses)
        more = more_needed(one.wins, one.losses)
        claims[scope.value] = {"wins": one.wins, "of": one.votes, "low": low, "high": high, "more": more}
    holds_for, better = (found.claim[0].value, found.claim[1]) if found.claim else (None, None)
    return {"holds_for": holds_for, "better": better, "main": found.main.value, "claims": claims}


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
    """As :func:`eval_prompts.votes.lengths.lengths`, with the share of the longer answers as a proportion."""
    told = lengths(votes)
    longer, compared = told.pop("longer"), told.pop("compared")
    return told | {"longer_wins": proportion(longer, compared)}
