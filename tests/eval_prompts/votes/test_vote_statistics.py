"""Statistics of votes, against published worked examples and by properties; exports; what the Results tab is told."""

from __future__ import annotations

import itertools
import json
import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval_prompts.__main__ import known_votes
from eval_prompts.answers import Settings
from eval_prompts.comparison import Comparison
from eval_prompts.models.adapters import AdapterCard
from eval_prompts.report import write
from eval_prompts.serving.status import Status
from eval_prompts.votes.bradley_terry import bradley_terry, fit
from eval_prompts.votes.results import results, results_view
from eval_prompts.votes.store import Ratings
from eval_prompts.votes.vote_statistics import by_kind, kappa, once_each, proportion, summarise
from eval_prompts.votes.words import EMPTY, headline
from tests.eval_prompts.votes.kept_pairs import BASE, answered, fingerprint_of, shown, voted

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


@pytest.fixture
def ratings(tmp_path):
    ratings = Ratings(f"sqlite:///{tmp_path / 'ratings.sqlite'}")
    yield ratings
    ratings.close()


def test_the_report_tells_the_votes_on_this_very_adapter(ratings, tmp_path, monkeypatch):
    card = AdapterCard("mine", tmp_path, "m", 4, 8.0, ("q_proj",), fingerprint="22")
    status = Status("ready", "ready", None, "smol", "", "CPU", card, True, 1, 0, 0, 1.0, "0", fingerprint="11")
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'none-yet.sqlite'}")
    assert known_votes(status) == []
    assert not (tmp_path / "none-yet.sqlite").exists()
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'ratings.sqlite'}")
    base = answered(fingerprint="11")
    for ident, fingerprint in (("a", "11+22"), ("b", "11+another")):
        ratings.add_pair(shown(ident, base=base, tuned=answered("mine", fingerprint=fingerprint)))
        ratings.vote(ident, "me", "right")
    lines = known_votes(status)
    assert lines[0].startswith("All votes on these two so far, on the page too: No blind votes yet")
    files = write(Comparison(status, Settings(), [], votes=lines), tmp_path / "out")
    assert all("No blind votes yet" in file.read_text().replace("\\", "") for file in files)
    (tmp_path / "ratings.sqlite").write_bytes(b"broken" * 1000)
    for rest in ("ratings.sqlite-wal", "ratings.sqlite-shm"):
        (tmp_path / rest).unlink(missing_ok=True)
    assert known_votes(status) == []


def test_results_of_nothing(ratings):
    view = results_view(ratings)
    assert (view["headline"], view["empty"], view["exportable"], view["adapters"]) == (EMPTY, True, False, [])
    assert results(ratings)["votes"]["blind"]["total"] == 0


def test_results_keep_adapters_probes_blind_and_open_apart(ratings):
    ratings.add_pair(shown("a", probe="knn", blind=True, base=answered(verdict=FAILS)))
    ratings.add_pair(shown("b", probe="knn"))
    ratings.add_pair(shown("c", label="newer", created=9.0))
    ratings.add_pair(shown("hidden", blind=True, created=99.0))
    ratings.vote("a", "me", "left")
    ratings.vote("b", "me", "tie", comment="<script>alert(1)</script>")
    ratings.vote("c", "me", "right")
    found = results(ratings, "mine")
    assert (found["votes"]["blind"]["base"], found["votes"]["open"]["tie"], found["comparisons"]) == (1, 1, 2)
    knn = found["probes"][0]
    assert (knn["base"]["answers"], knn["base"]["judged"], knn["base"]["passes"]) == (2, 1, 0)
    assert (knn["counts"]["base"], knn["counts"]["tie"]) == (1, 1)
    ratings.add_pair(shown("d", probe="knn", base=answered(verdict={"task": "not run"}), created=-1.0))
    knn = results_view(ratings, "mine")["probes"][0]
    assert (knn["base"]["tasks"], knn["tuned"]["tasks"]) == ("0 of 1, 1 not run", "")
    ratings.vote("d", "me", "both_bad")
    view = results_view(ratings)
    assert view["adapter"] == "newer"
    assert view["adapters"] == [{"name": "newer", "votes": 1}, {"name": "mine", "votes": 3}]
    view = results_view(ratings, "mine")
    assert [item["outcome_words"] for item in view["history"]] == ["base preferred", "tie", "both bad"]
    assert "<script>" in view["history"][1]["about"]
    assert "hidden" not in json.dumps(view)
    assert results_view(ratings, "no such adapter")["empty"] is True


def test_results_tell_namesakes_apart_and_name_two_adapters_that_met(ratings):
    for created, (ident, fingerprint) in enumerate((("a", "base+1111111111"), ("b", "base+2222222222"))):
        ratings.add_pair(shown(ident, tuned=answered("mine", fingerprint=fingerprint), created=float(created)))
        ratings.vote(ident, "me", "right")
    rival = answered("rival", fingerprint="base+3333333333")
    ratings.add_pair(shown("c", base=rival, tuned=answered("mine", fingerprint="base+1111111111"), created=-1.0))
    for session in range(6):
        ratings.vote("c", f"s{session}", "left", comment="why")
    view = results_view(ratings)
    titles = ["mine (2222222)", "mine (1111111)", "mine (1111111) against rival"]
    assert [(each["name"], each["votes"]) for each in view["adapters"]] == list(zip(titles, (1, 1, 6), strict=True))
    assert view["sides"] == {"base": "base", "tuned": "tuned"}
    view = results_view(ratings, titles[2])
    assert view["sides"] == {"base": "rival", "tuned": "mine (1111111)"}
    assert view["groups"][0]["words"].startswith("mine (1111111) wins 0 of 6 decided votes, 0% (6 people, 1 question")
    assert "base" not in json.dumps([view["groups"], view["history"], view["notes"]]).replace('"base":', "")
    assert results(ratings, "mine")["adapter"] == "mine (2222222)"
    assert results(ratings, "base+1111111111")["votes"]["open"]["total"] == 1


def test_a_visitor_is_told_the_sums_and_no_word_of_others(ratings):
    for ident, session in (("mine", "me"), ("theirs", "them"), ("unvoted", "them")):
        pair = shown(ident, question=f"A question of {session}", tuned=answered("mine", f"answer to {session}"))
        ratings.add_pair(replace(pair, session=f"asked by {session}"))
    for ident, session in (("mine", "me"), ("theirs", "them"), ("mine", "them")):
        ratings.vote(ident, session, "left", comment=f"comment of {session}")
    everything = json.dumps(results_view(ratings))
    assert all(
        word in everything for word in ("question of me", "question of them", "comment of them", "answer to them")
    )
    view = results_view(ratings, own="me")
    assert [item["question"] for item in view["history"]] == ["A question of me"]
    told = json.dumps(view)
    assert "comment of me" in told
    assert "of them" not in told
    assert "to them" not in told
    assert view["groups"][0]["counts"]["total"] == 3
    assert view["history_title"] == "Your comparisons with mine"
    assert "for the owner of this app alone" in view["more"]
    assert results_view(ratings, own="nobody")["history"] == []


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
