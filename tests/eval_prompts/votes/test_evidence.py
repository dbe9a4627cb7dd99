"""Claims that may be looked at after every vote: false at most as often as they say, and made after a bearable number
of votes."""

from __future__ import annotations

import math
import random
import statistics
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval_prompts.votes.evidence import REJECT, Evidence, Scope, confidence_sequence, log_e_value, more_needed

CONTESTS = 2000
LOOKS = 120


def false_claims(contest, contests=CONTESTS):
    """The share of fair contests in which each claim is made at any of the looks, one after every vote."""
    made = Counter()
    for seed in range(contests):
        evidence, claimed = Evidence(), set()
        for person, question, won in contest(random.Random(seed)):
            evidence.add(person, question, won)
            claimed |= {scope for scope in Scope if evidence.sequences[scope].better}
        made.update(claimed)
    return {scope: made[scope] / contests for scope in Scope}


def independent(chance):
    for vote in range(LOOKS):
        yield f"p{vote}", f"q{vote}", chance.random() < 0.5


def voters_of_one_mind(chance):
    """Each person casts ten votes, nearly all for one side, which one is fair."""
    for vote in range(LOOKS):
        if vote % 10 == 0:
            bias = chance.betavariate(0.2, 0.2)
        yield f"p{vote // 10}", f"q{vote}", chance.random() < bias


def questions_with_a_clear_winner(chance):
    """On each question nearly everybody prefers the same answer, which one is fair."""
    bias = [chance.betavariate(0.2, 0.2) for _ in range(30)]
    for vote in range(LOOKS):
        question = chance.randrange(30)
        yield f"p{vote}", f"q{question}", chance.random() < bias[question]


def both(chance):
    people = [chance.gauss(0, 2) for _ in range(40)]
    questions = [chance.gauss(0, 2) for _ in range(40)]
    for _ in range(LOOKS):
        person, question = chance.randrange(40), chance.randrange(40)
        rate = 1 / (1 + math.exp(-people[person] - questions[question]))
        yield f"p{person}", f"q{question}", chance.random() < rate


def a_class(chance):
    """Each of some pupils votes on the same five questions."""
    for vote in range(LOOKS):
        yield f"p{vote // 5}", f"q{vote % 5}", chance.random() < 0.5


@pytest.mark.parametrize(
    ("contest", "scopes"),
    [
        (independent, tuple(Scope)),
        (a_class, tuple(Scope)),
        (voters_of_one_mind, (Scope.EVERYONE, Scope.PEOPLE)),
        (questions_with_a_clear_winner, (Scope.EVERYONE, Scope.QUESTIONS)),
        (both, (Scope.EVERYONE,)),
    ],
)
def test_at_most_five_in_a_hundred_fair_contests_are_called_looked_at_after_every_vote(contest, scopes):
    """The claims that each way of clustering leaves valid. A sign test looked at as often is wrong in one of five."""
    found = false_claims(contest)
    assert {scope: found[scope] for scope in scopes if found[scope] > 0.05} == {}


def test_the_naive_test_fails_this_very_check():
    from scipy.stats import binom

    lowest = [max((wins for wins in range(votes) if 2 * binom.cdf(wins, votes, 0.5) < 0.05), default=-1)
              for votes in range(LOOKS + 1)]  # fmt: skip
    false = 0
    for seed in range(200):
        wins = 0
        for vote, (_, _, won) in enumerate(independent(random.Random(seed)), 1):
            wins += won
            if min(wins, vote - wins) <= lowest[vote]:
                false += 1
                break
    assert false / 200 > 0.15


@pytest.mark.parametrize(("rate", "least", "most"), [(0.7, 38, 56), (0.8, 16, 24), (0.9, 10, 14)])
def test_votes_needed(rate, least, most):
    """The median over contests that one side wins at that rate; figures of this test are the documentation's."""
    needed = []
    for seed in range(400):
        chance, evidence, votes = random.Random(seed), Evidence(), 0
        while evidence.claim is None:
            evidence.add(f"p{votes}", f"q{votes}", chance.random() < rate)
            votes += 1
        needed.append(votes)
        assert evidence.claim[0] is Scope.EVERYONE
    assert least <= statistics.median(needed) <= most


def test_the_e_value_is_the_mixture_of_all_rates():
    """Its closed form against the integral of the likelihood ratio over a uniform prior (Robbins, 1970)."""
    from scipy.integrate import quad

    for wins, losses in ((0, 0), (3, 1), (12, 30), (8, 0)):
        mixture, _ = quad(lambda p, w=wins, n=losses: p**w * (1 - p) ** n / 0.5 ** (w + n), 0, 1)
        assert math.exp(log_e_value(wins, losses)) == pytest.approx(mixture)


@given(st.integers(0, 12))
def test_the_e_value_is_expected_to_be_one_without_a_preference(votes):
    expected = sum(
        math.comb(votes, wins) * 0.5**votes * math.exp(log_e_value(wins, votes - wins)) for wins in range(votes + 1)
    )
    assert expected == pytest.approx(1)


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_interval_holds_what_the_test_does_not_reject(wins, losses):
    low, high = confidence_sequence(wins, losses)
    assert 0 <= low <= high <= 1
    if wins + losses:
        assert low <= wins / (wins + losses) <= high
    rejected = log_e_value(wins, losses) >= math.log(REJECT)
    assert rejected == (not low < 0.5 < high)
    swapped = confidence_sequence(losses, wins)
    assert swapped == (pytest.approx(1 - high, abs=1e-9), pytest.approx(1 - low, abs=1e-9))


@given(st.integers(0, 60), st.integers(0, 60))
def test_what_is_said_to_be_missing_is_missing(wins, losses):
    more = more_needed(wins, losses)
    settled = log_e_value(wins, losses) >= math.log(REJECT)
    if settled:
        assert more == 0
    elif wins == losses:
        assert more is None
    elif more is not None:
        share = wins / (wins + losses)
        fewer = 0.9 * more - 2
        assert log_e_value(wins + 1.02 * more * share, losses + 1.02 * more * (1 - share)) >= math.log(REJECT) - 0.1
        assert fewer <= 0 or log_e_value(wins + fewer * share, losses + fewer * (1 - share)) < math.log(REJECT)
