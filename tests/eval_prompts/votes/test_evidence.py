"""Claims that may be looked at after every vote: false at most as often as they say, and made after a bearable number
of votes."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval_prompts.votes.evidence import REJECT, confidence_sequence, log_e_value, more_needed
from tests.eval_prompts.votes.contests import CONTEST_KINDS, false_claims, independent, naive_false_claims, votes_needed


@pytest.mark.parametrize("contest", CONTEST_KINDS)
def test_at_most_five_in_a_hundred_fair_contests_are_called_looked_at_after_every_vote(contest):
    """The claims that each way of clustering leaves valid. A sign test looked at as often is wrong in one of five."""
    found = false_claims(contest)
    assert {scope: found[scope] for scope in CONTEST_KINDS[contest][1] if found[scope] > 0.05} == {}


def test_the_naive_test_fails_this_very_check():
    assert naive_false_claims(independent, contests=200) > 0.15


@pytest.mark.parametrize(("rate", "least", "most"), [(0.7, 38, 56), (0.8, 16, 24), (0.9, 10, 14)])
def test_votes_needed(rate, least, most):
    """The median over contests that one side wins at that rate; figures of this test are the documentation's."""
    assert least <= statistics.median(votes_needed(rate)) <= most


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
