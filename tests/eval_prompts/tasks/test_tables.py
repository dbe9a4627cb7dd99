"""Files of questions: what is too large is refused before it is read, and what a cell is taken for."""

import gzip

import pytest

from eval_prompts.tasks import tables
from eval_prompts.tasks.files import read_task
from tuning.errors import UserError


def test_a_small_file_that_unpacks_to_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MOST_BYTES", 1000)
    path = tmp_path / "questions.csv.gz"
    path.write_bytes(gzip.compress(b"question\n" + b"What is it?\n" * 80))
    assert len(tables.read_table(path).rows) == 80
    path.write_bytes(gzip.compress(b"question\n" + b"What is it?\n" * 90))
    with pytest.raises(UserError, match="larger than"):
        tables.read_table(path)


def test_true_and_false_in_json_are_references_as_they_are_written_there(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"question": "Is it?", "answer": true}\n{"question": "Or?", "answer": false}\n')
    (tmp_path / "t.yaml").write_text("questions: q.jsonl\n")
    assert [one.references for one in read_task(tmp_path / "t.yaml").questions] == [("true",), ("false",)]


@pytest.mark.parametrize(("part", "cell"), [("turns", "3"), ("conversation", "c17"), ("checks", "3")])
def test_a_column_that_only_has_a_parts_name_is_refused_and_can_be_left_out(tmp_path, part, cell):
    (tmp_path / "q.csv").write_text(f"question,answer,{part}\nIs it?,true,{cell}\n")
    (tmp_path / "t.yaml").write_text("questions: q.csv\n")
    with pytest.raises(UserError, match=f"q.csv, line 2, {part}: .*if this column means something else, choose none"):
        read_task(tmp_path / "t.yaml")
    (tmp_path / "t.yaml").write_text("questions: q.csv\ncolumns: {turns: null, messages: '', checks: ''}\n")
    assert read_task(tmp_path / "t.yaml").questions[0].references == ("true",)
