"""Folders and zip archives of data files are read as one source; what of them is not read is said."""

from __future__ import annotations

import errno
import json
import shutil
import zipfile

import pytest

from tests.tuning.data.test_layouts import PAIR
from tuning.data.dataset import load
from tuning.data.sources import PLAIN_READING
from tuning.errors import UserError
from tuning.ingest.chunks import open_source


def line(pair):
    return json.dumps({"question": pair[0], "answer": pair[1]}) + "\n"


FILES = {
    "set/test.csv": f"question;answer\n{PAIR[2][0]};{PAIR[2][1]}\n",
    "set/train/part-1.jsonl": line(PAIR[0]),
    "set/train/part-2.json": json.dumps({"version": 1, "data": [json.loads(line(PAIR[1]))]}),
    "set/dataset_info.json": '{"builder_name": "json"}',
    "set/README.md": "# A set",
    "set/.hidden.jsonl": "{",
}


def packed(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_the_data_files_are_read_one_after_the_other(tmp_path, kind):
    if kind == "zip":
        source = packed(tmp_path / "set.zip", FILES | {"__MACOSX/set/test.csv": "x"})
    else:
        source = tmp_path / "set"
        for name, text in FILES.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
    data = load(str(source))
    assert [(row.line, row.question, row.answer) for row in data.rows()] == [(n, *PAIR[n - 1]) for n in (1, 2, 3)]
    told = " ".join(data.notes)
    for words in (
        "part-1.jsonl, ",
        "test.csv are put together",
        "Not read: ",
        "README.md",
        "Columns are separated by semi",
    ):
        assert words in told
    assert ".hidden" not in told
    assert data.unused == ("version",)
    chunks = open_source(str(source), PLAIN_READING)
    before = (chunks.revision(), chunks.state())
    assert len(list(chunks.records)) == 3
    if kind == "folder":
        (source / "test.csv").write_text("question,answer\nother,one\n")
        assert (chunks.revision(), chunks.state()) != before
        assert load(str(source)).rows()[-1].answer == "one"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.txt": "x"}, "s.zip holds no data file: use some of .jsonl"),
        ({"in/b.jsonl": line(PAIR[0]), "a.jsonl": "{"}, "a.jsonl is malformed in line 1"),
        ({"b.jsonl": ""}, "The data file b.jsonl is empty"),
    ],
)
def test_what_is_wrong_in_an_archive_is_said_of_its_file(tmp_path, files, said):
    with pytest.raises(UserError) as refusal:
        load(str(packed(tmp_path / "s.zip", files)))
    assert said in str(refusal.value)


def test_a_damaged_archive_is_refused_in_one_line(tmp_path):
    path = packed(tmp_path / "s.zip", {"a.jsonl": "".join(line((f"q{n}", "a")) for n in range(50))})
    whole = path.read_bytes()
    for at in (10, 40, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:at] + bytes(8) + whole[at + 8 :])
        try:
            rows = [(row.question, row.answer) for row in load(str(path)).rows()]
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017 (that it is none is asserted below)
        else:  # a changed date, say, does no harm
            assert rows == [(f"q{n}", "a") for n in range(50)]
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"s\.zip is damaged"):
        load(str(path))


def test_a_full_disk_is_not_taken_for_a_damaged_archive(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = packed(tmp_path / "s.zip", {"a.jsonl": line(PAIR[0])})
    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(UserError, match=r"The disk is full: free some space in .*, where a\.jsonl in the archive is"):
        load(str(path))


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("a.ods", "save it as .xlsx"),
        ("a.xls", "save it as .xlsx"),
        ("a.tar.gz", "unpack it"),
        ("a.csv.bz2", "unpack it"),
        ("a.txt", "with a column text"),
        ("a.pkl", "save it as Parquet"),
        ("a.sqlite", "export the table"),
        ("a.duckdb", "duckdb:FILE"),
        ("a.bin", "use one of .jsonl"),
    ],
)
def test_another_file_is_refused_with_what_to_do(tmp_path, name, remedy):
    (tmp_path / name).write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match=f"is no data file: .*{remedy}"):
        load(str(tmp_path / name))
