"""What goes wrong with a load's target is one clear line and exit code 2, and the old table is as it was."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tuning.ingest.tables import LOCK, content, file_place, names, query, questions, refused, write_jsonl
from tuning.__main__ import main
from tuning.data import dataset
from tuning.errors import UserError
from tuning.ingest import load
from tuning.ingest.load import ingest

duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed (tuning/ingest/requirements.txt)")
HOLDER = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('there', flush=True); sys.stdin.read()"
HELD_LOAD = """
import sys
from tuning.ingest import load
from tuning.data.place import Place
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


@contextlib.contextmanager
def other_process(script, *arguments):
    """Another Python, at the point where it says that it is there; it is killed (SIGKILL) at the end."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=Path(__file__).parents[3], text=True, **pipes) as process:
        try:
            assert process.stdout.readline() == "there\n"
            yield process
        finally:
            process.kill()


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


@pytest.mark.parametrize("phase", ["read_raw", "model", "merge"])
def test_a_load_that_is_killed_leaves_the_old_table_and_the_next_one_works(tmp_path, table, unchanged, phase):
    source = write_jsonl(tmp_path / "new.jsonl", questions(60, start=20, answer="new"))
    with other_process(HELD_LOAD, phase, source, table.database):
        pass
    unchanged(".t.duckdb.loading", *({"t.duckdb.wal"} & names(table.path.parent)))
    loaded = ingest(source, table)
    assert (loaded.added, loaded.removed) == (60, 40)
    assert names(table.path.parent) == {"t.duckdb", LOCK}
    assert len(dataset.load(table.name)) == 60


def test_two_loads_at_once(tmp_path, capsys, table):
    source = write_jsonl(tmp_path / "new.jsonl", questions(60))
    with other_process(HELD_LOAD, "read_raw", source, table.database) as first:
        said = refused(capsys, "ingest", source, "--to", table.database)
        assert f"Another load into {table.database} is under way" in said
        assert len(content(table.path)) == 40
        first.stdin.close()
        assert first.wait(timeout=60) == 0
    assert len(content(table.path)) == 60
