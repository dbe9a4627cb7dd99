"""What is wrong with a source is one clear line and exit code 2, and the old table is as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.tuning.ingest.tables import file_place, questions, refused, write_jsonl, write_parquet
from tuning.__main__ import main
from tuning.ingest import raw
from tuning.ingest.load import ingest

duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed (tuning/ingest/requirements.txt)")


def replaced(path):
    """The same bytes in another file of that name."""
    path.with_suffix(".fresh").write_bytes(path.read_bytes())
    path.with_suffix(".fresh").replace(path)


CHANGES = {
    "grows": lambda path: path.write_bytes(path.read_bytes() * 2),
    "is replaced": replaced,
    "is cut off": lambda path: os.truncate(path, 1000),
    "goes": Path.unlink,
}


def test_a_source_with_other_columns_names_them(tmp_path, capsys, table, unchanged, tiny_model_path):
    with duckdb.connect(str(tmp_path / "other.duckdb")) as connection:
        connection.execute("CREATE TABLE weather AS SELECT 'Oslo' AS city, 3 AS degrees")
    source = f"duckdb:{tmp_path / 'other.duckdb'}?table=weather"
    assert "no usable columns (city, degrees)" in refused(capsys, "ingest", source, "--to", table.database)
    unchanged()
    common = ("--preset", "smoke", "--model", str(tiny_model_path), "--quiet", "--run-dir", str(tmp_path / "run"))
    main(["train", *common, "--data", source])
    assert "no usable columns (city, degrees)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("?table=none", "There is no table none of"),
        ("?table=questions&where=Nonsense > 1", "where= is no condition on table questions"),
        ("?table=questions&where=Id = '", "where= is no condition on table questions"),
        ("?table=questions&where=Id = 'none'", "holds no rows for which Id = 'none'"),
        ("?table=questions&where=1 = 1; DROP TABLE questions", "where= is no condition on table questions"),
        ("?table=questions&where=1 = 1) OR (1 = 1", "where= is no condition on table questions"),
        ("?table=questions&where=CAST(QuestionAsked AS INTEGER) = 1", "Could not convert string"),
        ("?table=drop table questions", "The table's name must be letters"),
        ("?colour=red", "nothing else"),
    ],
)
def test_a_name_that_chooses_nothing_says_why(tmp_path, capsys, table, unchanged, name, said):
    source = f"duckdb:{table.database}{name}"
    assert said in refused(capsys, "data", "export", source, "--out", str(tmp_path / "out.parquet"))
    assert said in refused(capsys, "ingest", source, "--to", str(tmp_path / "copy.duckdb"))
    assert not (tmp_path / "out.parquet").exists()
    unchanged()


def test_a_condition_reaches_no_file(tmp_path, capsys, table, unchanged):
    (tmp_path / "secret.txt").write_text("a secret")
    other = file_place(tmp_path / "other.duckdb")
    ingest("python_qa", other)
    for reach in (
        f"FROM read_text('{tmp_path}/secret.txt')",
        f"FROM '{other.database}'.questions",
        "FROM glob('/etc/*')",
    ):
        name = f"{table.name}&where=(SELECT count(*) {reach}) > 0"
        assert "secret\n" not in refused(capsys, "data", "export", name, "--out", str(tmp_path / "out.parquet"))
        refused(capsys, "ingest", name, "--to", str(tmp_path / "copy.duckdb"))
    unchanged()


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_source_that_changes_while_it_is_read(tmp_path, capsys, table, unchanged, monkeypatch, kind, change):
    path = tmp_path / f"new.{kind}"
    (write_jsonl if kind == "jsonl" else write_parquet)(path, questions(20_000, answer="new"))
    whole, waiting = raw.append, [CHANGES[change]]

    def append(*values):
        if waiting:
            waiting.pop()(path)
        return whole(*values)

    monkeypatch.setattr(raw, "append", append)
    assert "changed while it was read" in refused(capsys, "ingest", str(path), "--to", table.database)
    unchanged()


@pytest.mark.parametrize("write", [write_jsonl, write_parquet])
def test_nul_bytes_and_endless_answers_are_left_out_and_counted(tmp_path, capsys, table, unchanged, write):
    long = "x" * 10_000_000
    bad = [
        {"instruction": "Has a NUL?", "input": "", "output": "a\x00b"},
        {"instruction": "Has\x00one?", "input": "", "output": "a"},
        {"instruction": "Is endless?", "input": "", "output": long},
        {"instruction": long, "input": long, "output": "short"},
    ]
    source = write(tmp_path / ("bad.jsonl" if write is write_jsonl else "bad.parquet"), bad)
    said = refused(capsys, "ingest", source, "--to", table.database)
    assert "can be used (NUL byte: 2 (first in line 1), over 1,000,000 characters: 2 (first in line 3))" in said
    unchanged()
    source = write(Path(source).with_stem("mixed"), [*bad, *questions(45)])
    loaded = ingest(source, table)
    assert loaded.facts.dropped == {"NUL byte": 2, "over 1,000,000 characters": 2}
    assert (loaded.added, loaded.unchanged) == (5, 40)


@pytest.mark.parametrize(
    ("name", "bytes_"),
    [
        ("half.parquet", b"PAR1 and no more"),
        ("latin.jsonl", b'{"instruction": "\xe9", "output": "a"}\n'),
        ("surrogate.jsonl", b'{"instruction": "q \\ud800", "output": "a"}\n'),
        ("broken.json", b'[{"instruction": "q", "output": "a"}, {"instr'),
        ("ragged.csv", b'instruction,output\n"q,a\nb,c,d,e\n'),
        ("empty.csv", b""),
        ("headers.csv", b"instruction,output\n"),
    ],
)
def test_a_damaged_source_is_told_in_one_line(tmp_path, capsys, table, unchanged, name, bytes_):
    (tmp_path / name).write_bytes(bytes_)
    assert name in refused(capsys, "ingest", str(tmp_path / name), "--to", table.database)
    unchanged()
