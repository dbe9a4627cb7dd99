"""Results as the page and scripts are told them, from a database of votes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from eval_prompts.__main__ import known_votes
from eval_prompts.answers import Settings
from eval_prompts.comparison import Comparison
from eval_prompts.models.adapters import AdapterCard
from eval_prompts.report import write
from eval_prompts.serving.status import Status
from eval_prompts.votes.results import results, results_view
from eval_prompts.votes.store import Ratings
from eval_prompts.votes.words import EMPTY
from tests.eval_prompts.votes.kept_pairs import answered, shown


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
    ratings.add_pair(shown("a", probe="knn", blind=True, base=answered(verdict={"task": "fails"})))
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


def test_strengths_count_the_votes_of_one_person_on_the_same_answers_once(ratings):
    for label in ("weak", "strong"):
        for number in range(11):
            ratings.add_pair(shown(f"{label}{number}", blind=True, label=label))
            ratings.vote(f"{label}{number}", "me", "left" if number % 2 else "right")
    assert results_view(ratings)["strengths"] == []
    for label in ("weak", "strong"):
        for number in range(11):
            ratings.vote(f"{label}{number}", f"s{number}", "left" if number % 2 else "right")
    words = [each["words"] for each in results_view(ratings)["strengths"]]
    assert [told.endswith(", 12 decided votes)") for told in words] == [True, True]


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
