"""Votes taken away: preference pairs for trainers, cells for spreadsheets, and the command that writes them."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from eval_prompts.__main__ import main
from eval_prompts.votes.export import COLUMNS, export
from eval_prompts.votes.store import Ratings
from tests.eval_prompts.votes.kept_pairs import answered, shown, voted
from tuning.data.chat import SYSTEM_PROMPT, USER_PREFIX
from tuning.errors import UserError

FORMULAS = ["=1+1", "+1", "-1", "@cmd", "\t=1", " =1+1", "  @x", "\u00a0=1+1", "\v=1", "\n=1", "\ufeff=1", "\u200b-1"]
FORMULAS += ["\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20x", " \uff1d1", "\u22121", "\r\n+1"]
PLAIN = ["plain", "<script>alert(1)</script>", 'a "quoted", cell\nwith = lines', "1 = 1", " spaced", ""]
BAD_TEXT = "y\ud800 \0=1"


def from_csv(votes):
    content, count = export(votes, "csv")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline="")))
    assert count == len(rows)
    return rows


def from_parquet(votes):
    return parquet.read_table(io.BytesIO(export(votes, "parquet")[0])).to_pylist()


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_in_a_csv_is_defused(text):
    (row,) = from_csv([voted("right", comment=text, tuned=answered(text, text))])
    assert row["chosen"] == row["comment"] == row["chosen_model"] == f"'{text}"


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_formula_stays_as_it_is_in_a_csv(text):
    (row,) = from_csv([voted("left", tuned=answered("mine", text))])
    assert (row["prompt"], row["chosen"], row["rejected"]) == ("Why?", "An answer.", text)


@settings(max_examples=50)
@given(st.text(max_size=20))
def test_whatever_is_said_can_be_exported_and_is_no_formula(text):
    votes = [voted("right", comment=text, tuned=answered("mine", text))]
    (row,) = from_csv(votes)
    assert not row["chosen"].strip("\ufeff\u200b \0").startswith(("=", "+", "-", "@"))
    assert [json.loads(line) for line in export(votes, "jsonl")[0].decode().split("\n") if line] == from_parquet(votes)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_what_is_no_text_hinders_no_export(form):
    assert export([voted("right", comment=BAD_TEXT, tuned=answered(BAD_TEXT, BAD_TEXT))], form)[1] == 1
    (row,) = from_parquet([voted("right", tuned=answered(BAD_TEXT, BAD_TEXT))])
    assert row["chosen"][0]["content"] == "y\ufffd \ufffd=1"


def test_jsonl_and_parquet_hold_conversations_as_they_were():
    texts = FORMULAS + PLAIN
    votes = [voted("left", tuned=answered("mine", text)) for text in texts] + [voted("tie"), voted("both_bad")]
    lines = [json.loads(line) for line in export(votes, "jsonl")[0].decode().split("\n") if line]
    rows = from_parquet(votes)
    assert lines == rows
    assert [row["rejected"] for row in rows] == [[{"role": "assistant", "content": text}] for text in texts]
    assert rows[0]["chosen"] == [{"role": "assistant", "content": "An answer."}]
    assert rows[0]["prompt"] == [
        {"role": "system", "content": SYSTEM_PROMPT},
        {"role": "user", "content": f"{USER_PREFIX}\nWhy?"},
    ]
    assert {row["chosen_side"] for row in rows} == {"base"}
    assert list(rows[0]) == list(COLUMNS)
    assert parquet.read_table(io.BytesIO(export([], "parquet")[0])).column_names == list(COLUMNS)


def test_no_other_format_is_written():
    with pytest.raises(UserError, match="csv, jsonl, parquet"):
        export([], "pickle")


@pytest.fixture
def database(tmp_path):
    """The file of a database with votes on two adapters."""
    file = tmp_path / "ratings.sqlite"
    ratings = Ratings(f"sqlite:///{file}")
    for created, (ident, label) in enumerate((("a", "older"), ("b", "newer"))):
        ratings.add_pair(shown(ident, label=label, created=float(created)))
        ratings.vote(ident, "me", "right")
    for number in range(6):
        ratings.vote("b", f"s{number}", "right")
    ratings.close()
    return file


def test_the_command_says_what_people_voted(database, capsys):
    assert main(["votes", "--ratings", str(database)]) == 0
    said = capsys.readouterr().out
    assert "newer: No blind votes yet" in said
    assert "open votes 7: base 0, tuned 7, tie 0, both bad 0; 7 people, 1 question; 95% confidence sequence" in said
    assert "older: No blind votes yet" in said
    assert main(["votes", "--ratings", str(database), "--adapter", "older"]) == 0
    assert "newer" not in capsys.readouterr().out


def test_the_command_exports_by_the_ending_or_as_told(database, tmp_path, capsys):
    for name, options, start in (
        ("v.csv", ["--export"], b'"pair"'),
        ("v.jsonl", ["--export"], b'{"pair": '),
        ("v.parquet", ["--export"], b"PAR1"),
        ("votes", ["--format", "jsonl", "--export"], b"{"),
        ("p.csv", ["--export-pairs"], b'"prompt"'),
        ("p.jsonl", ["--export-pairs"], b'{"prompt": [{"role": "system"'),
    ):
        out = tmp_path / name
        assert main(["votes", "--ratings", str(database), *options, str(out)]) == 0
        assert out.read_bytes().startswith(start)
        assert f"8 rows in {out}" in capsys.readouterr().out
    only = tmp_path / "older.jsonl"
    main(["votes", "--ratings", f"sqlite:///{database}", "--adapter", "older", "--export", str(only)])
    assert len(only.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--export", "votes.txt"], "--format csv, jsonl or parquet"),
        (["--adapter", "nobody"], "no votes on nobody: there are newer, older"),
        (["--export", "no/such/folder/votes.csv"], "cannot be written"),
        (["--ratings", "none.sqlite"], "no ratings database none.sqlite"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(database, tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    assert main(["votes", "--ratings", str(database), *options]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert not (tmp_path / "none.sqlite").exists()
