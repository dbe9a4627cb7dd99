"""Statistics of votes, against published worked examples and by properties; exports; what the Results tab is told."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval_prompts.votes.vote_statistics import by_kind, kappa, once_each, proportion, summarise
from eval_prompts.votes.words import EMPTY, headline
from tests.eval_prompts.votes.kept_pairs import answered, voted

CHOICES = st.sampled_from(["left", "right", "tie", "both_bad"])
PASSES, FAILS = {"task": "passes"}, {"task": "fails"}


def test_the_interval_is_wilsons():
    """Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I: 81 of 263, 15 of 148 and
    1 of 29 by the score method without continuity correction."""
    for wins, of, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (1, 29, 0.0061, 0.1718)):
        found = proportion(wins, of)
        assert (found["low"], found["high"]) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_the_sign_test_is_exact():
    """The second: Siegel, "Nonparametric Statistics" (1956), chapter 5, 11 of 14 couples, one-tailed p = 0.029."""
    assert proportion(5, 5)["p_value"] == pytest.approx(0.0625)
    assert proportion(11, 14)["p_value"] / 2 == pytest.approx(0.029, abs=5e-4)
    assert proportion(9, 10)["p_value"] == pytest.approx(22 / 1024)
    assert proportion(5, 10)["p_value"] == 1.0


def mirrored(one):
    """The same click on the same places, where the other side stands."""
    other = {"base": "tuned", "tuned": "base"}
    return replace(one, vote=replace(one.vote, outcome=other.get(one.vote.outcome, one.vote.outcome)))


@given(st.lists(st.tuples(CHOICES, st.sampled_from(["base", "tuned"])), max_size=20))
def test_every_vote_is_counted_once_and_swapping_the_sides_swaps_the_rate(cast):
    votes = [voted(choice, left=left, blind=True, session=f"s{number}") for number, (choice, left) in enumerate(cast)]
    found = summarise(votes)
    assert sum(found["counts"][key] for key in ("base", "tuned", "tie", "both_bad")) == found["counts"]["total"]
    assert found["counts"]["total"] == len(votes)
    swapped = summarise([replace(one, pair=replace(one.pair, left=one.pair.right)) for one in map(mirrored, votes)])
    assert swapped["counts"]["base"] == found["counts"]["tuned"]
    assert swapped["position"] == found["position"]
    wins = found["tuned_wins"]
    if wins["of"]:
        assert 0 <= wins["low"] <= wins["rate"] <= wins["high"] <= 1
        assert swapped["tuned_wins"]["rate"] == pytest.approx(1 - wins["rate"])


def blind_votes(choices, people=None, questions=None):
    """Blind votes, base on the left, each by its own person on its own question unless these are given."""
    return [
        voted(
            choice,
            blind=True,
            session=people[at] if people else f"person {at}",
            question=questions[at] if questions else f"Question {at}?",
        )
        for at, choice in enumerate(choices)
    ]


def test_the_headline_says_who_prefers_what_and_how_much_is_missing():
    assert headline(by_kind([])) == EMPTY
    assert headline(by_kind(blind_votes(["tie"]))).startswith("Nobody has preferred a side blind yet")
    assert headline(by_kind([voted("right")] * 3)).startswith("No blind votes yet: who sees the names")
    few = headline(by_kind(blind_votes(["right"] * 7)))
    assert few.startswith("Not enough blind votes to tell: tuned wins 7 of 7 decided blind votes, 100%")
    assert "about 1 more blind vote would tell" in few
    found = by_kind(blind_votes(["right"] * 8))
    assert found["blind"]["enough"]
    assert headline(found).startswith("People prefer tuned: tuned wins 8 of 8 decided blind votes, 100% (8 people, 8")
    assert headline(by_kind(blind_votes(["left"] * 8))).startswith("People prefer base: tuned wins 0 of 8")


def test_open_votes_do_not_sway_the_headline():
    votes = blind_votes(["left"] * 8) + [voted("right", session=f"o{at}", question=f"o{at}") for at in range(40)]
    assert headline(by_kind(votes)).startswith("People prefer base: tuned wins 0 of 8")


def test_a_claim_is_no_wider_than_its_votes():
    one_rater = by_kind(blind_votes(["right"] * 30, people=["ann"] * 30))
    assert not one_rater["blind"]["enough"]
    assert headline(one_rater).startswith("The one rater so far prefers tuned: ")
    assert "only their votes would show" in headline(one_rater)
    one_question = by_kind(blind_votes(["right"] * 30, questions=["Why?"] * 30))
    assert not one_question["blind"]["enough"]
    assert headline(one_question).startswith("On this one question people prefer tuned: ")
    class_of_twenty = by_kind(
        blind_votes(["right"] * 100, [f"p{at // 5}" for at in range(100)], [f"q{at % 5}" for at in range(100)])
    )
    assert headline(class_of_twenty).startswith("On these 5 questions people prefer tuned: ")


def test_the_same_person_on_the_same_answers_counts_once():
    votes = [voted("right", session="ann", ident=f"p{number}") for number in range(3)]
    votes += [voted("right", session="ann", ident="p4", base=answered(text="Another answer."))]
    found = summarise(votes)
    assert (found["counts"]["total"], found["repeated"], found["raters"]) == (4, 2, 1)
    assert found["tuned_wins"]["of"] == 2


def test_one_network_on_one_pair_counts_once():
    votes = [voted("right", session=f"s{number}") for number in range(5)]
    votes = [replace(one, vote=replace(one.vote, network="home")) for one in votes]
    assert [one.vote.session for one in once_each(votes)] == ["s0"]
    elsewhere = replace(votes[1], vote=replace(votes[1].vote, network="elsewhere"))
    assert len(once_each([votes[0], elsewhere])) == 2


def test_ties_are_counted_where_they_weigh():
    found = summarise(blind_votes(["right"] * 3 + ["tie"] * 6 + ["left"]))
    assert found["tuned_wins"]["rate"] == 0.75
    assert found["net"] == pytest.approx(0.2)


def test_agreement_counts_only_where_one_answer_alone_does_its_task():
    good, bad = answered(verdict=PASSES), answered(verdict=FAILS)
    cast = [
        ("right", bad, good),
        ("left", bad, good),
        ("right", good, good),
        ("right", answered(), good),
        ("tie", bad, good),
        ("right", answered(verdict={"task": "not run"}), good),
        ("right", answered(verdict={"task": "none"}), good),
    ]
    votes = [
        voted(choice, base=base, tuned=tuned, session=f"s{number}", blind=True)
        for number, (choice, base, tuned) in enumerate(cast)
    ]
    found = summarise(votes)["agreement"]
    assert (found["wins"], found["of"], found["kappa"]) == (1, 2, 0)
    seen = summarise([replace(one, vote=replace(one.vote, blind=False)) for one in votes])
    assert (seen["agreement"]["of"], seen["position"]["of"]) == (0, 0)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ([[15, 5], [10, 70]], 0.57),
        ([[75, 1, 4], [5, 4, 1], [0, 0, 10]], 0.68),
        ([[10, 0], [0, 10]], 1),
        ([[5, 0], [0, 0]], None),
        ([[0, 0], [0, 0]], None),
    ],
)
def test_kappa_is_cohens(table, expected):
    """Viera and Garrett, "Understanding interobserver agreement: the kappa statistic" (2005), table 1; Fleiss, Levin
    and Paik, "Statistical Methods for Rates and Proportions" (2003), table 18.1; full agreement; none to be had."""
    assert kappa(table) == (None if expected is None else pytest.approx(expected, abs=0.005))


def test_length_is_told_beside_the_win_rate():
    votes = [
        voted("right", tuned=answered("mine", tokens=50), session="ann"),
        voted("left", tuned=answered("mine", tokens=2), session="bob"),
    ]
    lengths = summarise(votes)["lengths"]
    assert (lengths["median_tokens"]["base"], lengths["median_tokens"]["tuned"]) == (5, 26)
    assert (lengths["median_tokens"]["preferred"], lengths["median_tokens"]["other"]) == (27.5, 3.5)
    assert (lengths["longer_wins"]["wins"], lengths["longer_wins"]["of"]) == (2, 2)


def test_at_equal_length_the_longer_side_is_no_better():
    """Voters who like length alone, and a tuned side that is longer: it wins mostly, and not at equal length."""
    chance = random.Random(4)
    votes = []
    for number in range(300):
        base, tuned = chance.randint(20, 200), chance.randint(60, 600)
        longer = "right" if tuned > base else "left"
        choice = longer if chance.random() < 0.9 else ("left" if longer == "right" else "right")
        sides = {"base": answered(tokens=base), "tuned": answered("mine", tokens=tuned)}
        votes.append(voted(choice, session=f"s{number}", **sides))
    found = summarise(votes)
    equal = found["lengths"]["equal_length"]
    assert found["tuned_wins"]["rate"] > 0.75
    assert equal["low"] < 0.5 < equal["high"]
    assert summarise(votes[:9])["lengths"]["equal_length"] is None


def test_equal_lengths_leave_the_win_rate_as_it_is():
    """Where length plays no part the regression's rate is the plain one (its prior pulls a little)."""
    votes = [
        voted("right" if number % 4 else "left", session=f"s{number}",
              tuned=answered("mine", tokens=4 if number % 8 < 4 else 6), base=answered(tokens=5))
        for number in range(200)
    ]  # fmt: skip
    assert summarise(votes)["lengths"]["equal_length"]["rate"] == pytest.approx(0.75, abs=0.02)
