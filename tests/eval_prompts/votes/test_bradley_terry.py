"""Strengths of more than two adapters, against published examples and by what must hold."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest

from eval_prompts.votes.bradley_terry import bradley_terry, fit
from tests.eval_prompts.votes.kept_pairs import BASE, answered, fingerprint_of, voted


def cast_on(label, wins, losses, base="base"):
    sides = {"tuned": answered(label), "base": answered(base)}
    return [voted("right", blind=True, **sides)] * wins + [voted("left", blind=True, **sides)] * losses


def test_bradley_terry_of_votes_against_one_base_is_the_log_odds():
    """With one common opponent the maximum-likelihood strength is the logit of the win rate (Agresti, "Categorical Data
    Analysis", section 11.6); the regularisation hardly moves it."""
    found = bradley_terry(cast_on("weak", 16, 24) + cast_on("strong", 28, 12))
    assert [each.fingerprint for each in found] == [fingerprint_of("strong"), fingerprint_of("weak")]
    assert found[0].strength == pytest.approx(math.log(28 / 12), abs=0.02)
    assert found[1].strength == pytest.approx(math.log(16 / 24), abs=0.02)
    assert all(each.low < each.strength < each.high for each in found)
    assert found == bradley_terry(cast_on("weak", 16, 24) + cast_on("strong", 28, 12))


def test_open_votes_do_not_sway_the_strengths():
    votes = cast_on("weak", 16, 24) + cast_on("strong", 28, 12)
    swayed = [replace(voted, vote=replace(voted.vote, blind=False)) for voted in cast_on("weak", 40, 1)]
    assert bradley_terry(votes + swayed) == bradley_terry(votes)


TEAMS = ("Baltimore", "Milwaukee", "Detroit", "Toronto", "New York", "Boston", "Cleveland")
WINS = (
    (0, 2, 4, 1, 3, 1, 7),
    (11, 0, 7, 9, 7, 7, 9),
    (9, 6, 0, 7, 5, 11, 9),
    (12, 4, 6, 0, 7, 7, 8),
    (10, 6, 8, 6, 0, 6, 7),
    (12, 6, 2, 6, 7, 0, 7),
    (6, 4, 4, 5, 6, 6, 0),
)
PUBLISHED = {"Milwaukee": 1.5814, "Detroit": 1.4364, "Toronto": 1.2945, "New York": 1.2476, "Boston": 1.1077}
PUBLISHED |= {"Cleveland": 0.6839}


def test_bradley_terry_gives_the_published_strengths_of_baseball_teams():
    """American League, Eastern Division, 1987: Agresti, "Categorical Data Analysis" (2nd edition), table 10.10; the
    estimates, relative to Baltimore, as in the vignette of R's BradleyTerry2 (Turner and Firth, 2012)."""
    exact = dict(zip(TEAMS, fit(WINS, regularisation=1e-9), strict=True))
    assert {team: exact[team] for team in PUBLISHED} == pytest.approx(PUBLISHED, abs=1e-4)
    names = ["base", *TEAMS[1:]]
    votes = [vote for a, b in itertools.combinations(range(7), 2) for vote in
             cast_on(names[b], WINS[b][a], WINS[a][b], base=names[a])]  # fmt: skip
    found = {each.fingerprint: each.strength for each in bradley_terry(votes)}
    assert found == pytest.approx({fingerprint_of(team): at for team, at in PUBLISHED.items()}, abs=0.03)


def test_adapters_of_one_name_are_players_of_their_own():
    votes = [
        replace(vote, pair=replace(vote.pair, tuned=answered("mine", fingerprint=fingerprint)))
        for fingerprint, wins in (("f+1", 24), ("f+2", 12))
        for vote in cast_on("mine", wins, 36 - wins)
    ]
    assert [(each.fingerprint, each.votes) for each in bradley_terry(votes)] == [("f+1", 36), ("f+2", 36)]


def test_two_adapters_are_compared_where_they_met():
    met = cast_on("a", 12, 6) + cast_on("b", 9, 9) + cast_on("b", 15, 5, base="a")
    found = bradley_terry(met)
    assert {each.reference for each in found} == {BASE}
    assert [each.votes for each in found] == [38, 38]
    assert found[0].fingerprint == fingerprint_of("b")
    apart = cast_on("b", 15, 5, base="a") + cast_on("c", 12, 12, base="a")
    assert {each.reference for each in bradley_terry(apart)} == {fingerprint_of("a")}


def test_no_strength_is_told_of_one_sided_or_few_votes():
    enough = cast_on("a", 6, 6)
    assert bradley_terry(enough) == []
    assert bradley_terry(enough + cast_on("b", 20, 0)) == []
    assert bradley_terry(enough + cast_on("b", 4, 3)) == []
