"""A run says which rows it was trained on, from which snapshot of which table."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.tuning.ingest.tables import file_place, questions, write_jsonl
from tuning import presets
from tuning.__main__ import main
from tuning.data import batches, dataset
from tuning.data.cleaning import SPLITS
from tuning.runs import run
from tuning.training import used_rows


def train(folder, source, model, *options):
    common = ["--preset", "smoke", "--model", str(model), "--sample-every", "0", "--quiet"]
    return main(["train", *common, "--data", source, "--run-dir", str(folder), *options])


def listed(capsys, folder):
    capsys.readouterr()
    assert main(["data", "rows", str(folder)]) == 0
    printed = capsys.readouterr()
    lines = [line.split("\t") for line in printed.out.splitlines()]
    assert lines[0] == ["id", "split", "trained"]
    return lines[1:], printed.err


def test_a_run_on_a_table_records_table_snapshot_and_ids(tmp_path, tiny_model_path, capsys):
    pytest.importorskip("duckdb", reason="duckdb is not installed (tuning/ingest/requirements.txt)")
    from tuning.ingest.load import ingest

    place = file_place(tmp_path / "t.duckdb")
    loaded = ingest(write_jsonl(tmp_path / "s.jsonl", questions(80)), place)
    source = f"{place.name}&where=QuestionInput = ''"
    assert train(tmp_path / "run", source, tiny_model_path, "--max-steps", "3", "--batch-size", "4") == 0

    recorded = json.loads((tmp_path / "run" / "config.json").read_text())["data"]
    assert (recorded["table"], recorded["where"]) == (place.name, "QuestionInput = ''")
    assert recorded["snapshot"] == loaded.facts.snapshot

    rows, said = listed(capsys, tmp_path / "run")
    direct = dataset.load(source, limit=presets.preset("smoke").limit)
    used = {split: [row[0] for row in rows if row[1] == split] for split in SPLITS}
    assert used["train"] == [row.id for row in direct.train]
    assert set(used["validation"]) <= {row.id for row in direct.validation}
    assert sum(int(row[2]) for row in rows) == 12
    assert all(row[2] == "0" for row in rows if row[1] != "train")
    assert loaded.facts.snapshot in said
    card = json.loads((tmp_path / "run" / "adapter" / "run_record.json").read_text())
    assert card["data_revision"] == loaded.facts.snapshot


def test_a_run_on_a_file_lists_its_rows_too(tmp_path, tiny_model_path, capsys):
    source = write_jsonl(tmp_path / "s.jsonl", questions(60))
    assert train(tmp_path / "run", source, tiny_model_path, "--max-steps", "1") == 0
    rows, said = listed(capsys, tmp_path / "run")
    assert dataset.load(source).fingerprint in said
    assert Counter(row[1] for row in rows)["train"] == len(dataset.load(source, limit=48).train)


@pytest.mark.parametrize(("rows", "steps", "batch"), [(7, 3, 2), (7, 5, 4), (3, 4, 8), (5, 0, 3), (4, 2, 4)])
def test_how_often_a_row_was_met_is_what_the_steps_took(rows, steps, batch):
    taken = Counter(row for step in range(steps) for row in batches.step_rows(step, batch, rows, seed=11))
    assert used_rows.times_met(rows, steps * batch, 11) == [taken[row] for row in range(rows)]


def test_a_run_that_has_read_nothing_yet_has_no_list(tmp_path, capsys):
    made = run.create("smoke", presets.preset("smoke"), tmp_path / "new")
    assert main(["data", "rows", str(made.path)]) == 2
    assert "has no list of rows" in capsys.readouterr().err
