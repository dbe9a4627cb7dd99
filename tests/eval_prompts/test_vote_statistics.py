"""Statistics of votes, against published worked examples and by properties; exports; what the Results tab is told."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from eval_prompts.__main__ import known_votes
from eval_prompts.adapters import AdapterCard
from eval_prompts.decode import Settings
from eval_prompts.ratings import Ratings, Vote, VotedPair
from eval_prompts.report import Comparison, write
from eval_prompts.results_view import EMPTY, headline, results, results_view
from eval_prompts.service import Status
from eval_prompts.strengths import bradley_terry
from eval_prompts.vote_export import COLUMNS, export
from eval_prompts.vote_statistics import proportion, summarise
from tests.eval_prompts.kept_pairs import answered, shown
from tuning.errors import UserError

CHOICES = st.sampled_from(["left", "right", "tie", "both_bad"])
PASSES, FAILS = {"task": "passes"}, {"task": "fails"}


def voted(choice="left", *, comment="", blind=False, session="me", **pair):
    about = shown(**pair)
    vote = Vote(about.id, session, choice, about.outcome(choice), False, blind, (), comment, 1.0, 1.0)
    return VotedPair(about, vote)


def test_the_interval_is_wilsons():
    """Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I: 81 of 263, 15 of 148 and
    1 of 29 by the score method without continuity correction."""
    for wins, of, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (1, 29, 0.0061, 0.1718)):
        found = proportion(wins, of)
        assert (found["low"], found["high"]) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_the_sign_test_is_exact():
    assert proportion(5, 5)["p_value"] == pytest.approx(0.0625)
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
    ]
    found = summarise(votes)["agreement"]
    assert (found["wins"], found["of"]) == (1, 2)


def test_length_is_told_beside_the_win_rate():
    votes = [voted("right", tuned=answered("mine", tokens=50)), voted("left", tuned=answered("mine", tokens=2))]
    lengths = summarise(votes)["lengths"]
    assert lengths["median_tokens"] == {"base": 5, "tuned": 26}
    assert (lengths["longer_wins"]["wins"], lengths["longer_wins"]["of"]) == (2, 2)


def cast_on(label, wins, losses):
    tuned = answered(label)
    return [voted("right", tuned=tuned)] * wins + [voted("left", tuned=tuned)] * losses


def test_bradley_terry_of_votes_against_one_base_is_the_log_odds():
    """With one common opponent the maximum-likelihood strength is the logit of the win rate (Agresti, "Categorical Data
    Analysis", section 11.6); the regularisation hardly moves it."""
    found = bradley_terry(cast_on("weak", 16, 24) + cast_on("strong", 28, 12))
    assert [each["name"] for each in found] == ["strong", "weak"]
    assert found[0]["strength"] == pytest.approx(math.log(28 / 12), abs=0.02)
    assert found[1]["strength"] == pytest.approx(math.log(16 / 24), abs=0.02)
    assert all(each["low"] < each["strength"] < each["high"] for each in found)
    assert found == bradley_terry(cast_on("weak", 16, 24) + cast_on("strong", 28, 12))


def test_no_strength_is_told_of_one_sided_or_few_votes():
    enough = cast_on("a", 6, 6)
    assert bradley_terry(enough) == []
    assert bradley_terry(enough + cast_on("b", 20, 0)) == []
    assert bradley_terry(enough + cast_on("b", 4, 3)) == []


HOSTILE = ["=1+1", "+1", "-1", "@cmd", "\t=1", "plain", "<script>alert(1)</script>", 'a "quoted", cell\nwith lines']


def test_a_csv_holds_every_text_and_no_formula():
    votes = [voted("right", comment=text, tuned=answered("mine", text)) for text in HOSTILE]
    content, count = export(votes, "csv")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline="")))
    assert count == len(rows) == len(HOSTILE)
    for text, row in zip(HOSTILE, rows, strict=True):
        assert row["chosen"].removeprefix("'") == text
        assert not row["chosen"].startswith(("=", "+", "-", "@", "\t"))
        assert not row["comment"].startswith(("=", "+", "-", "@", "\t"))
        assert row["rejected"] == "An answer."


def test_jsonl_and_parquet_hold_preference_pairs_as_they_are():
    votes = [voted("left", tuned=answered("mine", text)) for text in HOSTILE] + [voted("tie"), voted("both_bad")]
    lines = [json.loads(line) for line in export(votes, "jsonl")[0].decode().splitlines()]
    table = parquet.read_table(io.BytesIO(export(votes, "parquet")[0])).to_pylist()
    assert lines == table
    assert [row["rejected"] for row in table] == HOSTILE
    assert {row["chosen_side"] for row in table} == {"base"}
    assert list(table[0]) == list(COLUMNS)
    assert parquet.read_table(io.BytesIO(export([], "parquet")[0])).column_names == list(COLUMNS)


def test_no_other_format_is_written():
    with pytest.raises(UserError, match="csv, jsonl, parquet"):
        export([], "pickle")


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
    for ident, fingerprint in (("a", "11+22"), ("b", "11+another")):
        ratings.add_pair(shown(ident, tuned=replace(answered("mine"), fingerprint=fingerprint)))
        ratings.vote(ident, "me", "right")
    lines = known_votes(status)
    assert lines[0] == "Not enough votes to tell: tuned wins 1 of 1 decided vote, 100% (p = 1)."
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
    ratings.vote("b", "me", "tie", comment=HOSTILE[6])
    ratings.vote("c", "me", "right")
    found = results(ratings, "mine")
    assert (found["votes"]["blind"]["base"], found["votes"]["open"]["tie"], found["comparisons"]) == (1, 1, 2)
    knn = found["probes"][0]
    assert (knn["base"]["answers"], knn["base"]["judged"], knn["base"]["passes"]) == (2, 1, 0)
    assert (knn["counts"]["base"], knn["counts"]["tie"]) == (1, 1)
    view = results_view(ratings)
    assert view["adapter"] == "newer"
    assert view["adapters"] == [{"name": "newer", "votes": 1}, {"name": "mine", "votes": 2}]
    view = results_view(ratings, "mine")
    assert [item["outcome_words"] for item in view["history"]] == ["base preferred", "tie"]
    assert "<script>" in view["history"][1]["about"]
    assert "hidden" not in json.dumps(view)
    assert results_view(ratings, "no such adapter")["empty"] is True
