"""The store of votes on a real PostgreSQL server: the same behaviour as on SQLite."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from eval_prompts.votes.results import results_view
from eval_prompts.votes.store import Ratings
from tests.eval_prompts.votes.kept_pairs import BASE, answered, shown
from tests.eval_prompts.votes.postgresql import Unavailable, server
from tuning.errors import UserError


@pytest.fixture(scope="module")
def url():
    try:
        running = server()
        address = running.__enter__()
    except Unavailable as reason:
        pytest.skip(str(reason))
    yield address
    running.__exit__(None, None, None)


@pytest.fixture
def ratings(url):
    """Empty ratings."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    ratings = Ratings(url)
    yield ratings
    ratings.close()


def run_sql(url, *statements):
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def test_pairs_and_votes_come_back_as_they_went(ratings, url):
    ratings.add_pair(shown(blind=True, created=1700000000.123456))
    ratings.add_pair(shown(blind=True, label="another"))
    assert ratings.pair("p") == shown(blind=True, created=1700000000.123456)
    first = ratings.vote("p", "me", "left", reasons=["clear"], comment="é").vote
    assert first.blind
    assert ratings.vote("p", "me", "tie").vote.created == first.created
    assert [voted.vote.outcome for voted in ratings.votes()] == ["tie"]
    ratings.set_verdicts("p", {"task": "passes"}, {"task": "fails"})
    again = Ratings(url)
    assert again.pairs()[0].tuned.verdict == {"task": "fails"}
    assert again.undo("p", "me") is True
    assert again.undo("p", "me") is False
    again.close()
    assert ratings.votes() == []


def test_contests_are_told_apart(ratings):
    for created, fingerprint in enumerate(("f+1", "f+2")):
        ratings.add_pair(shown(fingerprint, tuned=answered("mine", fingerprint=fingerprint), created=float(created)))
        ratings.vote(fingerprint, "me", "right")
    assert [contest.tuned for contest in ratings.contests()] == ["f+2", "f+1"]
    assert [voted.pair.id for voted in ratings.votes(adapter="f+1", against=BASE)] == ["f+1"]
    assert [each["name"] for each in results_view(ratings)["adapters"]] == ["mine (2)", "mine (1)"]


def test_what_no_text_may_hold_is_replaced_or_refused(ratings):
    bad = "a\ud800b\0c"
    ratings.add_pair(replace(shown(tuned=answered(bad, bad, verdict={"output": bad})), question=bad))
    assert ratings.pair("p").question == ratings.pair("p").tuned.text == "a\ufffdb\ufffdc"
    for session in (bad, "x" * 65):
        with pytest.raises(UserError, match="whose it is"):
            ratings.vote("p", session, "left")
    with pytest.raises(UserError, match="no such pair"):
        ratings.vote(bad, "me", "left")


def test_another_layout_is_refused(ratings, url):
    run_sql(url, "UPDATE ratings_layout SET version = 99")
    with pytest.raises(UserError, match="postgres has layout 99"):
        Ratings(url)
    run_sql(url, "UPDATE ratings_layout SET version = 2", "ALTER TABLE votes RENAME COLUMN choice TO chosen")
    with pytest.raises(UserError, match="something else than votes"):
        Ratings(url)


def test_other_tables_beside_are_no_hindrance_and_an_old_layout_is_brought_up_to_date(ratings, url):
    ratings.add_pair(shown(tuned=answered("mine", fingerprint="f+1")))
    ratings.vote("p", "me", "left")
    run_sql(
        url,
        "CREATE TABLE bookmarks(x int)",
        "DROP TABLE ratings_layout, ratings_keys",
        "ALTER TABLE votes DROP COLUMN network",
        "ALTER TABLE pairs DROP COLUMN conversation, DROP COLUMN turn",
        "UPDATE pairs SET adapter = 'mine'",
    )
    again = Ratings(url)
    assert len(again.votes(adapter="f+1")) == 1
    again.close()


def test_many_voters_and_many_stores_at_once(ratings, url):
    run_sql(url, "DROP TABLE votes, pairs, ratings_layout, ratings_keys")
    barrier = threading.Barrier(8)
    failures = []

    def vote(number):
        barrier.wait()
        try:
            store = Ratings(url)
            store.add_pair(shown())
            for choice in ("left", "right", "tie"):
                store.vote("p", f"s{number}", choice)
                store.vote("p", "the same session", choice)
            store.close()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=vote, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(ratings.votes()) == 9
