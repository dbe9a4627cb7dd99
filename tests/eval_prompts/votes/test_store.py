"""The store of votes: one per pair and session, four kinds, on disk when confirmed, and clear about what is wrong."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from eval_prompts.votes.records import REASONS
from eval_prompts.votes.store import Ratings
from tests.eval_prompts.votes.kept_pairs import BASE, answered, shown
from tuning.errors import UserError

PROJECT = Path(__file__).parents[3]
HOSTILE = "<script>alert(1)</script> **b** '; DROP TABLE votes; --"


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'ratings.sqlite'}"


@pytest.fixture
def ratings(url):
    ratings = Ratings(url)
    yield ratings
    ratings.close()


def outcomes(ratings, **which):
    return [voted.vote.outcome for voted in ratings.votes(**which)]


@pytest.mark.parametrize(
    ("left", "choice", "outcome"),
    [
        ("base", "left", "base"),
        ("base", "right", "tuned"),
        ("tuned", "left", "tuned"),
        ("tuned", "right", "base"),
        ("tuned", "tie", "tie"),
        ("base", "both_bad", "both_bad"),
    ],
)
def test_a_choice_means_what_stood_there(ratings, left, choice, outcome):
    ratings.add_pair(shown(left=left))
    vote = ratings.vote("p", "me", choice, reasons=["clear", "correct", "clear"], comment=HOSTILE).vote
    assert (vote.choice, vote.outcome, vote.reasons, vote.comment) == (choice, outcome, ("correct", "clear"), HOSTILE)
    (voted,) = ratings.votes()
    assert voted.vote == vote
    assert voted.pair == shown(left=left)


def test_a_vote_is_changed_and_undone_but_never_doubled(ratings):
    ratings.add_pair(shown())
    first = ratings.vote("p", "me", "left", streaming=True).vote
    second = ratings.vote("p", "me", "tie").vote
    assert (second.created, second.streaming) == (first.created, True)
    assert second.changed >= first.changed
    assert outcomes(ratings) == ["tie"]
    ratings.vote("p", "you", "left")
    assert sorted(outcomes(ratings)) == ["base", "tie"]
    assert ratings.undo("p", "me") is True
    assert ratings.undo("p", "me") is False
    assert outcomes(ratings) == ["base"]


def test_blind_is_only_what_was_said_before_the_reveal(ratings):
    ratings.add_pair(shown(blind=True))
    assert ratings.vote("p", "me", "left").vote.blind
    assert ratings.vote("p", "me", "left", comment="because").vote.blind
    assert not ratings.vote("p", "me", "right").vote.blind
    assert not ratings.vote("p", "me", "left").vote.blind
    ratings.vote("p", "you", "left")
    ratings.undo("p", "you")
    assert not ratings.vote("p", "you", "left").vote.blind
    assert (len(ratings.votes(blind=True)), len(ratings.votes(blind=False))) == (0, 2)


def test_pairs_are_kept_once_and_blind_ones_are_told_of_only_after_a_vote(ratings):
    for ident, blind in (("open", False), ("blind", True), ("blind and voted", True)):
        ratings.add_pair(shown(ident, blind=blind, created=len(ident)))
        ratings.add_pair(shown(ident, blind=blind, label="another"))
    ratings.vote("blind and voted", "me", "tie")
    assert [pair.id for pair in ratings.pairs()] == ["blind and voted", "open"]
    assert [pair.id for pair in ratings.pairs(limit=1, offset=1)] == ["open"]
    assert ratings.pair("blind").tuned.label == "mine"
    assert [contest.label for contest in ratings.contests()] == ["mine"]


def test_votes_are_told_apart_by_the_weights_that_were_compared(ratings):
    """Not by names: two adapters may have the same, and one may be renamed."""
    sides = {
        "first": answered("mine", fingerprint="f+1"),
        "namesake": answered("mine", fingerprint="f+2"),
        "renamed": answered("yours", fingerprint="f+1"),
    }
    for created, (ident, tuned) in enumerate(sides.items()):
        ratings.add_pair(shown(ident, tuned=tuned, created=float(created)))
        ratings.vote(ident, "me", "right")
    ratings.add_pair(shown("rivals", base=answered("rival", fingerprint="f+3"), tuned=sides["first"], created=-1.0))
    ratings.vote("rivals", "me", "left")
    found = [(contest.tuned, contest.base, contest.label, contest.two_adapters) for contest in ratings.contests()]
    assert found == [("f+1", BASE, "yours", False), ("f+2", BASE, "mine", False), ("f+1", "f+3", "mine", True)]
    assert [voted.pair.id for voted in ratings.votes(adapter="f+1", against=BASE)] == ["first", "renamed"]
    assert [pair.id for pair in ratings.pairs(adapter="f+1")] == ["renamed", "first", "rivals"]
    assert ratings.votes(adapter="mine") == []


def test_verdicts_can_be_added_later(ratings):
    ratings.add_pair(shown())
    ratings.set_verdicts("p", {"task": "passes"}, {"task": "fails"})
    ratings.set_verdicts("no such pair", {}, {})
    assert ratings.pair("p").base.verdict == {"task": "passes"}
    assert ratings.pair("p").tuned.verdict == {"task": "fails"}


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("unknown", "me", "left"), {}, "no such pair"),
        (("p", "me", "middle"), {}, "left, right, tie, both_bad"),
        (("p", "me", "left"), {"reasons": ["nice"]}, "nice"),
        (("p", "me", "left"), {"reasons": "correct"}, "list"),
        (("p", "me", "left"), {"comment": "x" * 1_000_000}, "too long"),
        (("p", "me", "left"), {"comment": "a\0b"}, "no text"),
        (("p", "me", "left"), {"comment": "\ud800"}, "no text"),
        (("p", "me", "left"), {"comment": 7}, "text"),
    ],
)
def test_a_bad_vote_is_refused_in_one_line_and_changes_nothing(ratings, arguments, options, message):
    ratings.add_pair(shown())
    with pytest.raises(UserError, match=message) as refused:
        ratings.vote(*arguments, **options)
    assert "\n" not in str(refused.value)
    assert ratings.votes() == []


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "ratings.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(UserError, match=r"ratings\.sqlite cannot be used \(file is not a database\)"):
        Ratings(f"sqlite:///{tmp_path / 'ratings.sqlite'}")
    assert (tmp_path / "ratings.sqlite").read_bytes() == b"no database" * 1000


def test_a_url_that_is_none_is_refused():
    with pytest.raises(UserError, match="not a URL"):
        Ratings("not a url")


def test_a_locked_database_is_said_and_the_vote_works_once_it_is_free(ratings, url, monkeypatch, tmp_path):
    ratings.add_pair(shown())
    monkeypatch.setattr("eval_prompts.votes.store.BUSY_SECONDS", 0.05)
    impatient = Ratings(url)
    other = sqlite3.connect(tmp_path / "ratings.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UserError, match="locked"):
        impatient.vote("p", "me", "left")
    other.execute("ROLLBACK")
    other.close()
    assert impatient.vote("p", "me", "left").vote.outcome == "base"
    impatient.close()
    assert outcomes(ratings) == ["base"]


VOTERS = """
import sys, threading
from eval_prompts.votes.store import Ratings
ratings = Ratings(sys.argv[1])
lock = threading.Lock()
def voter(number):
    for at in range(100000):
        pair = f"p{at % 50}"
        session = f"s{number}-{at // 50}"
        vote = ratings.vote(pair, session, ("left", "right", "tie", "both_bad")[(number + at) % 4]).vote
        with lock:
            sys.stdout.write(f"{pair} {session} {vote.outcome}\\n")
            sys.stdout.flush()
for number in range(20):
    threading.Thread(target=voter, args=(number,), daemon=True).start()
threading.Event().wait()
"""


def test_killed_under_twenty_voters_nothing_confirmed_is_lost_or_double(ratings, url):
    for at in range(50):
        ratings.add_pair(shown(f"p{at}", left="tuned" if at % 2 else "base"))
    command = [sys.executable, "-c", VOTERS, url]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        confirmed = [process.stdout.readline() for _ in range(400)]
        process.send_signal(signal.SIGKILL)
        confirmed += process.stdout.readlines()
    told = [tuple(line.split()) for line in confirmed if line.endswith("\n")]
    kept = [(voted.pair.id, voted.vote.session, voted.vote.outcome) for voted in ratings.votes()]
    assert len(told) >= 400
    assert set(told) <= set(kept)
    assert len(kept) == len({(pair, session) for pair, session, _ in kept})
    assert len(kept) <= len(told) + 20


def test_many_at_once_each_count_once(ratings):
    ratings.add_pair(shown())
    barrier = threading.Barrier(20)

    def vote(number):
        barrier.wait()
        for choice in ("left", "right", "tie"):
            ratings.vote("p", f"s{number}", choice)
            ratings.vote("p", "the same session", choice)

    threads = [threading.Thread(target=vote, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes(ratings)) == 21


BAD_TEXT = "a\ud800b\0c"


def test_what_no_text_may_hold_is_replaced_where_a_pair_is_kept(ratings):
    side = answered(f"mine {BAD_TEXT}", BAD_TEXT, verdict={"output": [BAD_TEXT]})
    ratings.add_pair(replace(shown(tuned=side), question=BAD_TEXT))
    ratings.set_verdicts("p", {"reason": BAD_TEXT}, side.verdict)
    kept = ratings.pair("p")
    assert kept.question == kept.tuned.text == kept.base.verdict["reason"] == "a\ufffdb\ufffdc"
    assert kept.tuned.label == "mine a\ufffdb\ufffdc"
    assert kept.tuned.verdict == {"output": ["a\ufffdb\ufffdc"]}


@pytest.mark.parametrize("name", ["\ud800", "a\0b", "x" * 65, "x" * 1_000_000, "", 7, None])
def test_ids_and_sessions_that_are_none_are_refused_in_one_line(ratings, name):
    ratings.add_pair(shown())
    with pytest.raises(UserError, match="no such pair"):
        ratings.vote(name, "me", "left")
    with pytest.raises(UserError, match="no such pair"):
        ratings.pair(name)
    with pytest.raises(UserError, match="whose it is"):
        ratings.vote("p", name, "left")
    assert ratings.undo("p", name) is ratings.undo(name, "me") is False
    assert ratings.votes() == []


def test_every_reason_has_words():
    assert all(words and key.islower() for key, words in REASONS.items())
