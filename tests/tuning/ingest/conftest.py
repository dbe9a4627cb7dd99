"""What the tests of the data pipeline share: small sources, and a data folder of their own."""

from __future__ import annotations

import pytest

from tests.tuning.ingest.tables import LOCK, TOKEN, Cloud, content, file_place, names, questions, write_jsonl


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch):
    """No test reads or writes the user's data folder, and none has a token unless it says so."""
    folder = tmp_path / "data-folder"
    monkeypatch.setenv("LORA_LENS_DATA", str(folder))
    for name in ("MOTHERDUCK_TOKEN", "motherduck_token"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def table(tmp_path):
    """A loaded table, alone in its folder."""
    from tuning.ingest.load import ingest

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


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    """MotherDuck, stood in for where its driver begins."""
    import duckdb

    monkeypatch.setenv("MOTHERDUCK_TOKEN", TOKEN)
    (tmp_path / "cloud").mkdir()
    stand_in = Cloud(tmp_path / "cloud")
    monkeypatch.setattr(duckdb, "connect", stand_in.connect)
    return stand_in
