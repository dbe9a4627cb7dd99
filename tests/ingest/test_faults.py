"""What goes wrong with a load is one clear line and exit code 2, and the old table is as it was."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tables import content, file_place, query, questions, write_jsonl, write_parquet

from tuning import data
from tuning.__main__ import USAGE_ERROR, main
from tuning.errors import UserError
from tuning.ingest import load, stage
from tuning.ingest.load import ingest

duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed (tuning/ingest/requirements.txt)")
LOCK = ".t.duckdb.loading.lock"
HOLDER = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('there', flush=True); sys.stdin.read()"
HELD_LOAD = """
import sys
from tuning.ingest import load
from tuning.ingest.place import Place
phase, source, file = sys.argv[1:]
whole = getattr(load, phase)
def held(*values):
    result = whole(*values)
    print("there", flush=True)
    sys.stdin.read()
    return result
setattr(load, phase, held)
load.ingest(source, Place("duckdb", file))
"""


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


@pytest.fixture
def table(tmp_path):
    """A loaded table, alone in its folder."""
    place = file_place(tmp_path / "there" / "t.duckdb")
    ingest(write_jsonl(tmp_path / "old.jsonl", questions(40)), place)
    return place


@pytest.fixture
def unchanged(table):
    """A check that nothing has changed in the table, and that nothing is left beside it but what is named."""
    before = content(table.path)

    def check(*left):
        assert content(table.path) == before
        assert names(table.path.parent) == {"t.duckdb", LOCK, *left}

    return check


def names(folder):
    return {path.name for path in folder.iterdir()}


def refused(capsys, *arguments):
    """The one line of a command that is refused."""
    capsys.readouterr()
    assert main(list(arguments)) == USAGE_ERROR
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    return told.err


@contextlib.contextmanager
def other_process(script, *arguments):
    """Another Python, at the point where it says that it is there; it is killed (SIGKILL) at the end."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    try:
        assert process.stdout.readline() == "there\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "made",
    [
        "TABLE questions (a INTEGER)",
        "TABLE questions (Id VARCHAR, QuestionAsked VARCHAR)",
        "VIEW questions AS SELECT 1 AS one",
    ],
)
def test_a_target_with_other_columns_is_left_alone(tmp_path, capsys, made):
    with duckdb.connect(str(tmp_path / "t.duckdb")) as connection:
        connection.execute(f"CREATE {made}")
    before = query(tmp_path / "t.duckdb", "DESCRIBE questions")
    said = refused(capsys, "ingest", "python_qa", "--to", str(tmp_path / "t.duckdb"))
    assert "with other columns" in said
    assert "choose another --table" in said
    assert query(tmp_path / "t.duckdb", "DESCRIBE questions") == before


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


def test_a_file_that_is_no_database_is_left_alone(tmp_path, capsys):
    text = tmp_path / "notes.txt"
    text.write_text("not a database " * 1000)
    assert "is no DuckDB file" in refused(capsys, "ingest", "python_qa", "--to", str(text))
    assert "is a folder" in refused(capsys, "ingest", "python_qa", "--to", str(tmp_path))
    assert "There is no DuckDB file" in refused(
        capsys, "data", "export", f"duckdb:{tmp_path}/none.duckdb", "--out", str(tmp_path / "out.parquet")
    )
    assert text.read_text() == "not a database " * 1000


def test_a_file_that_another_program_holds(tmp_path, capsys, table, unchanged):
    with other_process(HOLDER, table.database) as holder:
        for command in (("ingest", "python_qa", "--to", table.database), ("data", "export", table.name, "--out", "x")):
            said = refused(capsys, *command)
            assert f"is in use by another program (process {holder.pid})" in said
    unchanged()
    assert main(["ingest", str(tmp_path / "old.jsonl"), "--to", table.database]) == 0


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 6 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    if sys.platform != "linux" or os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk can only be mounted by root on Linux")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(path):
    """Take all the room that is left."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def test_a_disk_that_fills_up_while_a_source_is_read(tmp_path, capsys, small_disk):
    place = file_place(small_disk / "t.duckdb")
    ingest(write_jsonl(tmp_path / "old.jsonl", questions(40)), place)
    before = content(place.path)
    rows = [{"instruction": f"Q {n}?", "output": os.urandom(8192).hex()} for n in range(1000)]
    source = write_jsonl(tmp_path / "big.jsonl", rows)
    assert f"The disk that holds {small_disk}" in refused(capsys, "ingest", source, "--to", place.database)
    assert content(place.path) == before
    assert names(small_disk) == {"t.duckdb", LOCK}
    assert main(["ingest", write_jsonl(tmp_path / "new.jsonl", questions(50)), "--to", place.database]) == 0


def test_a_disk_that_fills_up_while_the_table_is_written(tmp_path, small_disk):
    place = file_place(small_disk / "t.duckdb")
    ingest(write_jsonl(tmp_path / "old.jsonl", questions(40)), place)
    before = content(place.path)
    rows = [{"instruction": f"Q {n}?", "output": os.urandom(1024).hex()} for n in range(1000)]
    source = write_jsonl(tmp_path / "big.jsonl", rows)
    with load.workshop(file_place(tmp_path / "elsewhere.duckdb")) as folder:
        load.read_raw(source, folder)
        load.model(folder)
        fill(small_disk / "ballast")
        with pytest.raises(UserError, match=rf"^The disk that holds {place.database} is full"):
            load.load(folder, place)
        (small_disk / "ballast").unlink()
        assert content(place.path) == before
        assert load.load(folder, place).added == 1000


def test_an_export_to_a_full_disk_leaves_no_file(capsys, small_disk):
    fill(small_disk / "ballast")
    said = refused(capsys, "data", "export", "--out", str(small_disk / "out.parquet"))
    assert "out.parquet cannot be written" in said
    assert "No space left on device" in said
    assert names(small_disk) == {"ballast"}


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_source_that_changes_while_it_is_read(tmp_path, capsys, table, unchanged, monkeypatch, kind, change):
    path = tmp_path / f"new.{kind}"
    (write_jsonl if kind == "jsonl" else write_parquet)(path, questions(20_000, answer="new"))
    whole, waiting = stage.append, [CHANGES[change]]

    def append(*values):
        if waiting:
            waiting.pop()(path)
        return whole(*values)

    monkeypatch.setattr(stage, "append", append)
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
    assert "can be used (NUL byte: 2, over 1,000,000 characters: 2)" in said
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


@pytest.mark.parametrize("phase", ["read_raw", "model", "merge"])
def test_a_load_that_is_killed_leaves_the_old_table_and_the_next_one_works(tmp_path, table, unchanged, phase):
    source = write_jsonl(tmp_path / "new.jsonl", questions(60, start=20, answer="new"))
    with other_process(HELD_LOAD, phase, source, table.database):
        pass
    unchanged(".t.duckdb.loading", *({"t.duckdb.wal"} & names(table.path.parent)))
    loaded = ingest(source, table)
    assert (loaded.added, loaded.removed) == (60, 40)
    assert names(table.path.parent) == {"t.duckdb", LOCK}
    assert len(data.load(table.name)) == 60


def test_two_loads_at_once(tmp_path, capsys, table):
    source = write_jsonl(tmp_path / "new.jsonl", questions(60))
    with other_process(HELD_LOAD, "read_raw", source, table.database) as first:
        said = refused(capsys, "ingest", source, "--to", table.database)
        assert f"Another load into {table.database} is under way" in said
        assert len(content(table.path)) == 40
        first.stdin.close()
        assert first.wait(timeout=60) == 0
    assert len(content(table.path)) == 60
