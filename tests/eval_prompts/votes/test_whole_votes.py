"""Votes taken away whole and put back: nothing is left out, nothing is doubled, whatever the format."""

from __future__ import annotations

import json
from dataclasses import replace

import huggingface_hub
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval_prompts.__main__ import main
from eval_prompts.votes import formats
from eval_prompts.votes.export import export, left_out, preference_rows
from eval_prompts.votes.restore import merge, restore
from eval_prompts.votes.store import Ratings
from eval_prompts.votes.whole import COLUMNS, export_whole, read_whole, whole_rows
from tests.eval_prompts.votes.kept_pairs import answered, shown, voted
from tuning.errors import UserError

VERDICT = {"task": "passes", "badges": [{"label": "does the task", "kind": "task"}]}
TEXTS = ["=1+1", "'=1+1", "''-1", "'plain", "-1", "\t=1", 'a,b\n"c"', "", " x ", "\u0663", "null", "1", "[]", "\ufeffx"]
FORMS = ("csv", "jsonl", "parquet")


def cast():
    """Votes of every outcome, with whatever texts people and models write."""
    votes = [
        voted(choice, ident=f"p{number}", comment=text, blind=number % 2 == 0, left=("base", "tuned")[number % 3 == 1],
              question=text or "?", tuned=answered("mine", text, verdict=VERDICT if number % 3 else None))
        for number, text in enumerate(TEXTS)
        for choice in [("left", "right", "tie", "both_bad")[number % 4]]
    ]  # fmt: skip
    return [
        replace(
            one,
            vote=replace(
                one.vote, created=1764000000.123456 + at, changed=1764000100.5 + at, network="n", reasons=("clear",)
            ),
        )
        for at, one in enumerate(votes)
    ]


@pytest.fixture
def ratings(tmp_path):
    ratings = Ratings(f"sqlite:///{tmp_path / 'ratings.sqlite'}")
    yield ratings
    ratings.close()


@pytest.mark.parametrize("form", FORMS)
def test_every_format_holds_every_vote_whole(form):
    votes = cast()
    content, rows = export_whole(votes, form)
    assert rows == len(votes)
    assert read_whole(content, form) == votes


def test_the_formats_are_equal_in_content():
    votes = cast()
    told = [formats.read(export_whole(votes, form)[0], COLUMNS, form) for form in FORMS]
    assert told[0] == told[1] == told[2] == whole_rows(votes)
    assert {row["outcome"] for row in told[0]} == {"base", "tuned", "tie", "both_bad"}
    assert told[0][0]["voted_at"] == "2025-11-24T16:00:00.123456+00:00"


@settings(max_examples=200)
@given(st.text(max_size=12))
def test_a_defused_cell_is_read_as_it_was(text):
    assert formats.fused(formats.defused(text)) == text
    assert not formats.defused(text).strip("\ufeff\u200b \0").startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize("form", FORMS)
def test_an_empty_export_is_a_file_that_can_be_read(form):
    assert read_whole(export_whole([], form)[0], form) == []


@pytest.mark.parametrize("form", FORMS)
def test_votes_are_restored_once(ratings, tmp_path, form):
    file = tmp_path / f"votes.{form}"
    file.write_bytes(export_whole(cast(), form)[0])
    first = restore(ratings, str(file))
    assert (first.new, first.newer, first.known) == (len(TEXTS), 0, 0)
    again = restore(ratings, str(file))
    assert (again.new, again.newer, again.known) == (0, 0, len(TEXTS))
    assert [replace(one, pair=replace(one.pair, created=1.0)) for one in ratings.votes()] == cast()
    assert export_whole(ratings.votes(), form) == export_whole(cast(), form)


def test_a_database_survives_its_own_export(ratings, tmp_path):
    for number in range(3):
        ratings.add_pair(shown(f"p{number}", blind=True))
        ratings.vote(f"p{number}", "ann", "tie", network=ratings.network_of("192.0.2.1"))
    votes = ratings.votes()
    assert merge(ratings, read_whole(export_whole(votes, "jsonl")[0], "jsonl")).known == 3
    assert ratings.votes() == votes
    other = Ratings(f"sqlite:///{tmp_path / 'other.sqlite'}")
    merge(other, read_whole(export_whole(votes, "csv")[0], "csv"))
    assert export_whole(other.votes(), "csv") == export_whole(votes, "csv")
    other.close()


def test_the_later_of_two_votes_stays_and_one_taken_back_stays_away(ratings):
    ratings.add_pair(shown("p"))
    kept = ratings.vote("p", "me", "left")
    older = replace(kept, vote=replace(kept.vote, choice="tie", outcome="tie", changed=kept.vote.changed - 5))
    newer = replace(kept, vote=replace(kept.vote, choice="right", outcome="tuned", changed=kept.vote.changed + 5))
    assert merge(ratings, [older]).known == 1
    assert merge(ratings, [newer, older]).newer == 1
    assert [one.vote.outcome for one in ratings.votes()] == ["tuned"]
    ratings.undo("p", "me")
    assert merge(ratings, [newer]).known == 1
    assert ratings.votes() == []


@pytest.mark.parametrize("change", [{"left": "tuned"}, {"question": "How?"}, {"tuned": answered("other")}])
def test_a_vote_on_a_pair_that_was_shown_otherwise_is_refused(ratings, change):
    """Its click would be counted for the other side, or for models that it is not of."""
    ratings.add_pair(shown("p"))
    with pytest.raises(UserError, match="The pair p is kept with another question"):
        merge(ratings, [voted(session="me", ident="q"), voted("left", session="you", ident="p", **change)])
    assert ratings.votes() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"choice": "best"}, "Row 2 .*left, right, tie"),
        ({"outcome": "tuned"}, "Row 2 .*is not 'tuned'"),
        ({"voted_at": "yesterday"}, "Row 2"),
        ({"voted_at": "2026-01-01T00:00:00"}, "Row 2 .*no zone"),
        ({"base_tokens": "many"}, "Row 2 .*base_tokens is str"),
        ({"base_tokens": True}, "Row 2 .*base_tokens"),
        ({"base_tokens": -1}, "Row 2 .*no measures"),
        ({"tuned_seconds": float("nan")}, "Row 2 .*no measures"),
        ({"settings": []}, "Row 2 .*settings"),
        ({"session": "x" * 65}, "Row 2 .*names of at most 64"),
        ({"left": "middle"}, "Row 2 .*left"),
        ({"reasons": ["no-such"]}, "Row 2 .*no reason"),
    ],
)
def test_a_row_that_is_no_vote_is_named_and_nothing_is_taken_in(ratings, tmp_path, change, message):
    rows = whole_rows(cast()[:2])
    rows[1] |= change
    file = tmp_path / "votes.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=message):
        restore(ratings, str(file))
    assert ratings.votes() == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("votes.txt", b"", "does not end in .csv"),
        ("none.jsonl", None, "cannot be read"),
        ("votes.jsonl", b"{", "cannot be read as jsonl"),
        ("votes.jsonl", b"[]\n", "cannot be read as jsonl"),
        ("votes.jsonl", b"\xff\xfe", "cannot be read as jsonl"),
        ("votes.jsonl", b"{}\n", "column 'pair' is missing"),
        ("votes.parquet", b"PAR1", "cannot be read as parquet"),
        ("votes.csv", b'"pair"\r\n"a","b"\r\n', "another number of cells"),
    ],
)
def test_a_file_of_something_else_is_refused_in_one_line(ratings, tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as refused:
        restore(ratings, str(tmp_path / name))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("form", FORMS)
def test_preference_pairs_are_not_taken_for_votes(ratings, tmp_path, form):
    file = tmp_path / f"pairs.{form}"
    file.write_bytes(export(cast(), form)[0])
    with pytest.raises(UserError, match="preference pairs, which leave out ties"):
        restore(ratings, str(file))


def test_preference_pairs_say_what_they_leave_out():
    votes = [voted("left"), voted("tie"), voted("both_bad"), voted("tie")]
    assert left_out(votes) == "3 of 4 votes prefer no side and are left out: 2 ties, 1 “both bad”"
    assert left_out(votes[:1]) == ""
    assert len(preference_rows(votes)) == 1


def test_preference_pairs_hold_the_conversation_that_was_given():
    turns = [{"role": "system", "content": "Speak like a pirate."}, {"role": "user", "content": "Ahoy?"}]
    one = voted("left")
    own = replace(one, pair=replace(one.pair, settings={"messages": turns}))
    assert preference_rows([own])[0]["prompt"] == turns


def test_a_mirror_of_several_processes_is_restored_from_the_hub(ratings, tmp_path, monkeypatch):
    (tmp_path / "votes").mkdir()
    votes = cast()
    for name, part in (("a", votes[:8]), ("b", votes[5:])):
        (tmp_path / "votes" / f"{name}.jsonl").write_bytes(export_whole(part, "jsonl")[0])
    asked = []

    def snapshot_download(repo_id, **options):
        asked.append((repo_id, options["repo_type"]))
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    restored = restore(ratings, "ann/votes")
    assert asked == [("ann/votes", "dataset")]
    assert (restored.new, restored.known) == (len(votes), 3)
    (tmp_path / "votes" / "a.jsonl").unlink()
    (tmp_path / "votes" / "b.jsonl").unlink()
    with pytest.raises(UserError, match="holds no votes"):
        restore(ratings, "ann/votes")


def test_the_command_restores_into_a_new_database(tmp_path, capsys):
    file, database = tmp_path / "votes.csv", tmp_path / "new.sqlite"
    file.write_bytes(export_whole(cast(), "csv")[0])
    assert main(["votes", "--ratings", str(database), "import", str(file)]) == 0
    assert capsys.readouterr().out == "14 votes are new, 0 newer than the one kept, 0 known already.\n"
    assert main(["votes", "import", str(file), "--ratings", str(database)]) == 0
    assert "0 votes are new" in capsys.readouterr().out
    assert main(["votes", "import", "no-such.csv", "--ratings", str(database)]) == 2
    assert "no-such.csv cannot be read" in capsys.readouterr().err
