"""Statistics of votes, against published worked examples and by properties; exports; what the Results tab is told."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval_prompts.__main__ import known_votes
from eval_prompts.answers import Settings
from eval_prompts.models.adapters import AdapterCard
from eval_prompts.report import Comparison, write
from eval_prompts.serving.status import Status
from eval_prompts.votes.bradley_terry import bradley_terry, fit
from eval_prompts.votes.results import EMPTY, headline, results, results_view
from eval_prompts.votes.store import Ratings
from eval_prompts.votes.vote_statistics import kappa, proportion, summarise
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


@given(st.lists(st.tuples(CHOICES, st.sampled_from(["base", "tuned"])), max_size=20))
def test_every_vote_is_counted_once_and_swapping_the_sides_swaps_the_rate(cast):
    votes = [voted(choice, left=left) for choice, left in cast]
    found = summarise(votes)
    assert sum(found["counts"][key] for key in ("base", "tuned", "tie", "both_bad")) == found["counts"]["total"]
    assert found["counts"]["total"] == len(votes)
    swapped = summarise([voted(choice, left="tuned" if left == "base" else "base") for choice, left in cast])
    assert swapped["counts"]["base"] == found["counts"]["tuned"]
    assert swapped["position"] == found["position"]
    wins = found["tuned_wins"]
    if wins["of"]:
        assert 0 <= wins["low"] <= wins["rate"] <= wins["high"] <= 1
        assert swapped["tuned_wins"]["rate"] == pytest.approx(1 - wins["rate"])


def test_five_of_five_is_not_enough_and_six_of_six_is():
    assert summarise([voted("right")] * 5)["enough"] is False
    assert summarise([voted("right")] * 6)["enough"] is True
    assert "Not enough votes to tell" in headline(summarise([voted("right")] * 5))
    assert "People prefer tuned" in headline(summarise([voted("right")] * 6))
    assert "People prefer base" in headline(summarise([voted("left")] * 6))
    assert headline(summarise([])) == EMPTY
    assert "Nobody has preferred a side" in headline(summarise([voted("tie")]))


def test_agreement_counts_only_where_one_answer_alone_does_its_task():
    good, bad = answered(verdict=PASSES), answered(verdict=FAILS)
    votes = [
        voted("right", base=bad, tuned=good),
        voted("left", base=bad, tuned=good),
        voted("right", base=good, tuned=good),
        voted("right", base=answered(), tuned=good),
        voted("tie", base=bad, tuned=good),
        voted("right", base=answered(verdict={"task": "not run"}), tuned=good),
        voted("right", base=answered(verdict={"task": "none"}), tuned=good),
    ]
    found = summarise(votes)["agreement"]
    assert (found["wins"], found["of"], found["kappa"]) == (1, 2, 0)


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
    votes = [voted("right", tuned=answered("mine", tokens=50)), voted("left", tuned=answered("mine", tokens=2))]
    lengths = summarise(votes)["lengths"]
    assert (lengths["median_tokens"]["base"], lengths["median_tokens"]["tuned"]) == (5, 26)
    assert (lengths["median_tokens"]["preferred"], lengths["median_tokens"]["other"]) == (27.5, 3.5)
    assert (lengths["longer_wins"]["wins"], lengths["longer_wins"]["of"]) == (2, 2)


def cast_on(label, wins, losses, base="base"):
    sides = {"tuned": answered(label), "base": answered(base)}
    return [voted("right", **sides)] * wins + [voted("left", **sides)] * losses


def test_bradley_terry_of_votes_against_one_base_is_the_log_odds():
    """With one common opponent the maximum-likelihood strength is the logit of the win rate (Agresti, "Categorical Data
    Analysis", section 11.6); the regularisation hardly moves it."""
    found = bradley_terry(cast_on("weak", 16, 24) + cast_on("strong", 28, 12))
    assert [each.fingerprint for each in found] == [fingerprint_of("strong"), fingerprint_of("weak")]
    assert found[0].strength == pytest.approx(math.log(28 / 12), abs=0.02)
    assert found[1].strength == pytest.approx(math.log(16 / 24), abs=0.02)
    assert all(each.low < each.strength < each.high for each in found)
    assert found == bradley_terry(cast_on("weak", 16, 24) + cast_on("strong", 28, 12))


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
    told = "Not enough votes to tell: tuned wins 1 of 1 decided vote, 100% (p = 1)."
    assert lines[0] == f"All votes on these two so far, on the page too: {told}"
    files = write(Comparison(status, Settings(), [], votes=lines), tmp_path / "out")
    assert all("tuned wins 1 of 1" in file.read_text().replace("\\", "") for file in files)
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
    assert view["headline"].startswith("People prefer rival: mine (1111111) wins 0 of 6")
    assert "base" not in json.dumps([view["groups"], view["history"], view["notes"]]).replace('"base":', "")
    assert results(ratings, "mine")["adapter"] == "mine (2222222)"
    assert results(ratings, "base+1111111111")["votes"]["open"]["total"] == 1
