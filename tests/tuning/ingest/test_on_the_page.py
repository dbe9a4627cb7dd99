"""Tables on the Train tab: which are offered, how a choice is checked and named, and what stays unsaid."""

from __future__ import annotations

import json

import pytest

from tests.tuning.ingest.tables import file_place, questions, write_jsonl
from tuning import presets
from tuning.data.place import DEFAULT_FILE
from tuning.ingest.load import ingest
from tuning.ingest.tables import offered
from tuning.views import form, preview

duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed (tuning/ingest/requirements.txt)")


@pytest.fixture
def default_table(tmp_path, data_folder):
    """The table ``asked`` in the default file, among others that cannot be trained on."""
    place = file_place(data_folder / DEFAULT_FILE, "asked")
    ingest(write_jsonl(tmp_path / "s.jsonl", questions(60)), place)
    with duckdb.connect(place.database) as connection:
        connection.execute("CREATE TABLE weather (city VARCHAR)")
        connection.execute('CREATE TABLE "a b; drop" (question VARCHAR, answer VARCHAR)')
        connection.execute('CREATE VIEW "order" AS SELECT * FROM asked LIMIT 7')
    return place


def test_no_file_offers_no_table_and_is_not_made(data_folder):
    assert offered() == {"tables": [], "unread": ""}
    assert not data_folder.exists()


def test_tables_that_can_be_trained_on_are_offered_with_their_rows(default_table):
    assert offered() == {
        "tables": [
            {"name": "duckdb:?table=asked", "table": "asked", "rows": 60},
            {"name": "duckdb:?table=order", "table": "order", "rows": 7},
        ],
        "unread": "",
    }


def test_a_file_in_use_is_said_instead(default_table):
    with duckdb.connect(default_table.database):
        told = offered()
    assert told["tables"] == []
    assert "is in use by another program" in told["unread"]


def test_a_preview_of_chosen_rows(default_table, tiny_model_path):
    source = "duckdb:?table=asked&where=QuestionInput = ''"
    assert form.problems("smoke", {"data": source}) == {}
    config = presets.configure("smoke", {"model": str(tiny_model_path), "data": source})
    told = preview.preview(presets.to_dict(config))
    assert len(told["samples"]) == 3
    assert "x = 1" not in json.dumps(told)
    assert form.data_name(source) == "table asked of lora_lens.duckdb where QuestionInput = ''"


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        ("duckdb:?table=a-b", "The table's name must be letters, digits and underscores"),
        ("duckdb:/no/such/folder/file.duckdb", "There is no DuckDB file file.duckdb"),
        ("duckdb:?table=asked&where=Id =", "where= is no condition on table asked of lora_lens.duckdb"),
        ("duckdb:?table=asked&where=EXISTS (FROM glob('/*'))", "where= may ask for the columns of the row alone"),
        ("md:shop?table=asked", "MotherDuck needs a token"),
        ("md:shop?motherduck_token=secret", "A token has no place in a name"),
        ("md:", "md: takes the name of a MotherDuck database"),
    ],
)
def test_a_wrong_table_is_said_as_one_types_without_folders(default_table, data_folder, data, wrong):
    said = form.problems("smoke", {"data": data})
    assert said.keys() == {"data"}
    assert said["data"].startswith(wrong)
    assert "secret" not in said["data"]
    assert str(data_folder) not in said["data"]
    assert "\n" not in said["data"]
