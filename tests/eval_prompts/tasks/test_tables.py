"""Files of questions: what is too large is refused before it is read."""

import gzip

import pytest

from eval_prompts.tasks import tables
from tuning.errors import UserError


def test_a_small_file_that_unpacks_to_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MOST_BYTES", 1000)
    path = tmp_path / "questions.csv.gz"
    path.write_bytes(gzip.compress(b"question\n" + b"What is it?\n" * 80))
    assert len(tables.read_table(path).rows) == 80
    path.write_bytes(gzip.compress(b"question\n" + b"What is it?\n" * 90))
    with pytest.raises(UserError, match="larger than"):
        tables.read_table(path)
