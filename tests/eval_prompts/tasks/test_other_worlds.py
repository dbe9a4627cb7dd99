"""The built-in tasks beside Python: their questions, the data that their adapters learned from, and those adapters."""

from __future__ import annotations

import json
import re
import sqlite3
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from eval_prompts.models.adapter_source import STARTERS
from eval_prompts.models.adapters import read_card
from eval_prompts.tasks import export
from eval_prompts.tasks.catalogue import called, find_task, summary
from eval_prompts.tasks.command import refused
from eval_prompts.tasks.export import dump_task, elsewhere
from eval_prompts.tasks.of_adapter import format_of, is_made_for, take_adapter_of
from eval_prompts.tasks.verdicts import judge_answer
from tuning.data.dataset import load
from tuning.data.place import BOOKINGS, EMBEDDED_SETS, QUERIES
from tuning.file_names import RECORD_FILE, WEIGHTS_FILE
from tuning.presets import PRESETS

TABLE = re.compile(r"CREATE TABLE (\w+)")
WORLDS = [("json", BOOKINGS), ("sql", QUERIES)]


def words(text):
    return set(re.findall(r"[a-z]+", text.lower()))


@pytest.mark.parametrize(("name", "source"), WORLDS)
def test_a_world_has_questions_data_and_a_recipe_in_one_prompt(name, source):
    task, data = find_task(name), load(source)
    assert len(task.questions) >= 40
    assert len(data.train) >= 300
    assert not data.dropped
    assert data.format == task.format
    assert PRESETS[name].data == source
    assert refused(task) == []
    asked = {row.question.lower() for row in data.rows()}
    assert not [question.text for question in task.questions if question.text.lower() in asked]


def test_guests_who_are_asked_about_are_in_no_row():
    task, rows = find_task("json"), load(BOOKINGS).rows()
    trained = set().union(*(words(json.loads(row.answer)["name"]) for row in rows))
    asked = set().union(*(words(json.loads(question.references[0])["name"]) for question in task.questions))
    assert not trained & asked
    question = task.questions[0]
    for row in rows:  # what is trained is what the task's own schema asks for
        own = replace(question, references=(row.answer,), columns=question.columns | {"answer": row.answer})
        found = judge_answer(task, own, row.answer, True)
        assert found.task == "passes", (row.question, found.task_reason)
        assert set(json.loads(row.answer)) == {"name", "guests", "day", "time", "outside"}
        assert json.loads(row.answer)["name"] in row.question


def test_tables_that_are_asked_about_are_in_no_row():
    task, rows = find_task("sql"), load(QUERIES).rows()

    trained = {TABLE.search(row.input)[1] for row in rows}
    asked = {TABLE.search(str(question.columns["input"]))[1] for question in task.questions}
    assert len(asked) >= 8
    assert not trained & asked
    for row in rows:
        with sqlite3.connect(":memory:") as database:
            database.executescript(row.input)
            database.execute(row.answer)


def test_a_query_that_finds_other_rows_fails():
    task = find_task("sql")
    for question in task.questions:
        shown = str(question.columns["input"])
        everything = f"SELECT * FROM {TABLE.search(shown)[1]};"
        assert judge_answer(task, question, everything, True).task == "fails"


@pytest.mark.parametrize(("name", "source"), WORLDS)
def test_its_adapter_was_trained_on_it_and_asks_in_its_prompt(name, source):
    task = find_task(name)
    assert task.adapter == f"starter-{name}"
    folder = STARTERS[task.adapter]
    record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    assert record["data"] == source
    assert record["loss_after"] < record["loss_before"] / 2
    assert (folder / WEIGHTS_FILE).stat().st_size < 1_500_000
    card = read_card(task.adapter)
    assert format_of(card)[0] == task.format
    assert is_made_for(card, task)
    assert not is_made_for(card, find_task("python"))
    assert not is_made_for(None, task)


def test_a_command_takes_the_tasks_adapter_unless_it_names_a_model(capsys):
    task = find_task("json")
    for given, taken in (
        ({}, "starter-json"),
        ({"adapter": "mine"}, "mine"),
        ({"tuned_model": "other"}, None),
        ({"sides": "base"}, None),
    ):
        options = Namespace(**({"adapter": None, "tuned_model": None, "sides": "both"} | given))
        take_adapter_of(task, options)
        assert options.adapter == taken
    assert capsys.readouterr().err.count("starter-json") == 1


@pytest.mark.parametrize(
    ("adapter", "told"),
    [("starter-sql", "starter-sql"), ("/home/me/runs/mine", "mine"), ("owner/name@main", "owner/name@main")],
)
def test_visitors_are_told_an_adapters_name_and_no_folder(adapter, told):
    assert called(adapter) == told


def test_an_adapter_beside_the_task_is_found_there(tmp_path):
    (tmp_path / "mine").mkdir()
    file = tmp_path / "t.yaml"
    file.write_text("adapter: mine\nquestions: ['Q?']\n", encoding="utf-8")
    task = find_task(str(file))
    assert task.adapter == str(tmp_path / "mine")
    assert summary(task)["adapter"] == "mine"
    assert Path(task.to_dict()["adapter"]) == tmp_path / "mine"
    assert str(tmp_path) not in dump_task(task)
    (tmp_path / "away" / "mine").mkdir(parents=True)
    taken = tmp_path / "away" / "u.yaml"
    taken.write_text(dump_task(task), encoding="utf-8")
    assert find_task(str(taken)).adapter == str(tmp_path / "away" / "mine")


def test_what_is_taken_away_says_nothing_of_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path / "data"))
    (tmp_path / "score.py").write_text("def score(answer, question):\n    return True\n", encoding="utf-8")
    (tmp_path / "age.json").write_text('{"required": ["age"]}', encoding="utf-8")
    (tmp_path / "tasks").mkdir()
    file = tmp_path / "tasks" / "t.yaml"
    lines = (
        f"adapter: {tmp_path}/pirate",
        f"battery: [json, {tmp_path}/other.yaml]",
        f"score: [{{own: {{file: {tmp_path}/score.py}}}}, {{json: {{schema: {tmp_path}/age.json}}}}]",
        "questions: ['Q?']",
    )
    file.write_text("\n".join(lines), encoding="utf-8")
    text = dump_task(find_task(str(file)))
    assert str(tmp_path) not in text
    assert str(tmp_path) not in str(summary(find_task(str(file))))
    assert text.startswith("# The adapter that was made for it, pirate, lies in a folder of the machine")
    assert "# Of the battery, other.yaml lies in a folder" in text
    assert "# The scorer own needs score.py beside this file." in text
    away = tmp_path / "away"
    away.mkdir()
    (away / "t.yaml").write_text(text, encoding="utf-8")
    (away / "score.py").write_bytes((tmp_path / "score.py").read_bytes())
    task = find_task(str(away / "t.yaml"))
    assert (task.adapter, task.battery) == ("", ("json",))
    assert task.scorers[1].options == {"schema": {"required": ["age"]}}


def test_a_task_too_long_to_be_brought_back_says_so(monkeypatch):
    monkeypatch.setattr(export, "MOST_CHARACTERS", 1000)
    assert dump_task(find_task("sql")).startswith("# It is longer than the 1,000 characters")


@pytest.mark.parametrize(
    ("adapter", "told"),
    [
        ("starter-sql", "starter-sql"),
        ("owner/name@main", "owner/name@main"),
        ("{data}/runs/mine/adapter", "mine"),
        ("mine", "mine"),
        ("~/loras/mine", ""),
        ("../mine", ""),
        ("C:\\\\loras\\\\mine", ""),
    ],
)
def test_an_adapter_is_taken_away_by_a_name_that_means_something_there(tmp_path, monkeypatch, adapter, told):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path))
    assert elsewhere(adapter.format(data=tmp_path), None) == told


def test_embedded_sets_are_offered_by_name():
    assert set(EMBEDDED_SETS) == {"python_qa", BOOKINGS, QUERIES}
