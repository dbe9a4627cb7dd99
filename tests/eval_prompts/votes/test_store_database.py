"""Databases as users have them: new, old, another program's, read-only, full, opened by many at once."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from eval_prompts.votes import tables
from eval_prompts.votes.store import Ratings
from tests.eval_prompts.votes.kept_pairs import answered, fingerprint_of, shown
from tuning.errors import UserError

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "ratings.sqlite"


@pytest.fixture
def opened(file):
    """Opens the file's ratings; they are closed after the test."""
    stores = []

    def make(url=f"sqlite:///{file}"):
        stores.append(Ratings(url))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


STORED = Path(__file__).parents[2] / "stored"


def run_sql(file, *statements):
    with closing(sqlite3.connect(file)) as connection:
        rows = [connection.execute(statement).fetchall() for statement in statements]
        connection.commit()
    return rows[-1]


def with_a_vote(ratings, ident="p"):
    ratings.add_pair(shown(ident))
    ratings.vote(ident, "me", "left")
    return ratings


def test_the_layout_is_written_down(opened, file):
    opened()
    assert run_sql(file, "PRAGMA user_version") == [(tables.LAYOUT,)]
    assert run_sql(file, "PRAGMA journal_mode") == [("wal",)]


def test_a_database_of_before_is_brought_up_to_date_with_its_votes(opened, file):
    with_a_vote(opened()).close()
    run_sql(
        file,
        "UPDATE pairs SET adapter = 'mine'",
        "ALTER TABLE votes DROP COLUMN network",
        "DROP TABLE ratings_keys",
        "DROP INDEX pairs_by_conversation",
        "ALTER TABLE pairs DROP COLUMN conversation",
        "ALTER TABLE pairs DROP COLUMN turn",
        "PRAGMA user_version = 0",
    )
    (voted,) = opened().votes(adapter=fingerprint_of("mine"))
    assert voted.pair == shown()
    assert run_sql(file, "PRAGMA user_version") == [(tables.LAYOUT,)]


def test_a_database_that_the_first_version_wrote_opens_with_all_its_votes(opened, file):
    shutil.copy(STORED / "ratings_layout_1.sqlite", file)
    ratings = opened()
    assert run_sql(file, "PRAGMA user_version") == [(tables.LAYOUT,)]
    cast = {(voted.pair.id, voted.vote.session): voted for voted in ratings.votes()}
    assert {key: (voted.vote.outcome, voted.vote.blind) for key, voted in cast.items()} == {
        ("open", "ann"): ("tuned", False),
        ("open", "bob"): ("tie", False),
        ("blind", "ann"): ("tuned", True),
        ("blind", "bob"): ("both_bad", True),
        ("other", "bob"): ("base", False),
    }
    vote = cast["open", "ann"].vote
    assert (vote.reasons, vote.comment, vote.network) == (("correct", "clear"), "It runs – “yes”, über 1.", "")
    assert cast["blind", "ann"].vote.streaming
    assert cast["open", "ann"].pair.tuned.verdict["task"] == "passes"
    assert [pair.id for pair in ratings.pairs()] == ["other", "blind", "open"]
    assert ratings.vote("hidden", "cat", "left", network=ratings.network_of("192.0.2.1")).vote.blind
    assert len(opened().votes()) == 6


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (["CREATE TABLE votes(x)", "CREATE TABLE pairs(id)"], "something else"),
        (["CREATE TABLE bookmarks(x)"], "something else"),
        (["CREATE TABLE bookmarks(x)", "PRAGMA user_version = 1"], "something else"),
        (["PRAGMA user_version = 1"], "something else"),
        (["PRAGMA user_version = 99"], "layout 99, and this LoRA Lens knows 3: update"),
    ],
)
def test_a_newer_database_or_another_programs_is_refused_and_left_alone(opened, file, statements, message):
    run_sql(file, *statements)
    before = run_sql(file, "SELECT name FROM sqlite_master")
    with pytest.raises(UserError, match=message) as refused:
        opened()
    assert "ratings.sqlite" in str(refused.value)
    assert run_sql(file, "SELECT name FROM sqlite_master") == before


def test_a_read_only_database_is_read_and_a_vote_is_refused(opened, file):
    with_a_vote(opened()).close()
    ratings = opened(f"sqlite:///file:{file}?mode=ro&uri=true")
    assert len(ratings.votes()) == 1
    with pytest.raises(UserError, match="readonly"):
        ratings.vote("p", "you", "right")
    assert [voted.vote.session for voted in ratings.votes()] == ["me"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 512 KB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("a small file system cannot be mounted here: that needs root's rights")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_on_a_full_disk_the_vote_is_refused_and_none_that_was_confirmed_is_lost(small_disk):
    ratings, confirmed = Ratings(f"sqlite:///{small_disk / 'ratings.sqlite'}"), []

    def vote_until_refused():
        for number in range(1000):
            ratings.add_pair(shown(f"p{number}", tuned=answered("mine", "x" * 2000)))
            ratings.vote(f"p{number}", "me", "left")
            confirmed.append(f"p{number}")

    with pytest.raises(UserError, match=r"ratings\.sqlite cannot be used \((database or disk is full|disk I/O error)"):
        vote_until_refused()
    ratings.close()
    again = Ratings(f"sqlite:///{small_disk / 'ratings.sqlite'}")
    kept = sorted(voted.pair.id for voted in again.votes())
    again.close()
    assert confirmed
    assert kept == sorted(confirmed)


OPEN = """
import sys
from eval_prompts.votes.store import Ratings
print("here", flush=True)
sys.stdin.readline()
Ratings(sys.argv[1]).votes()
"""


def test_many_processes_may_open_a_new_file_at_once(file):
    command = [sys.executable, "-c", OPEN, f"sqlite:///{file}"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    processes = [subprocess.Popen(command, cwd=PROJECT, text=True, **pipes) for _ in range(8)]
    for process in processes:
        assert process.stdout.readline() == "here\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    complaints = [process.communicate()[1] for process in processes]
    assert complaints == [""] * len(processes)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://somebody:secret@host/votes", "SQLite or PostgreSQL, not in mysql"),
        ("postgres://somebody:secret@127.0.0.1:1/votes", "The ratings database votes cannot be used"),
        ("postgresql://somebody:secret@127.0.0.1:nonsense/votes", "not a URL"),
    ],
)
def test_a_database_that_cannot_be_reached_is_named_without_its_password(opened, url, message):
    pytest.importorskip("psycopg")
    with pytest.raises(UserError, match=message) as refused:
        opened(url)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_missing_driver_is_said_with_what_to_install(opened, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UserError, match=r"pip install -r eval_prompts/requirements_postgresql\.txt"):
        opened("postgres://somebody:secret@127.0.0.1:1/votes")
