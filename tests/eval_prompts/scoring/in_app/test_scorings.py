"""Scorings of an app: begun from what a page sends, watched, filtered, compared, stopped and resumed."""

from __future__ import annotations

import json

import pytest

from eval_prompts.scoring import forgetting
from eval_prompts.scoring.folder import all_scorings
from eval_prompts.scoring.in_app.scorings import Scorings
from tuning.errors import UserError

TASK = """
name: {name}
title: {name} title
system: You are {name} and only {name}.
{battery}
show: {show}
score: contains
settings: {{max_new_tokens: 6}}
questions:
""" + "".join(
    f'- {{{{id: q{number}, question: "Say {number}", answer: {"aeiou"[number % 5]}, tags: [t{number % 2}]}}}}\n'
    for number in range(8)
)


@pytest.fixture
def scorings(lens, tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path))
    (tmp_path / "tasks").mkdir()
    for name, battery, show in (("mine", "battery: [other]", "true"), ("other", "", "false")):
        (tmp_path / "tasks" / f"{name}.yaml").write_text(TASK.format(name=name, battery=battery, show=show))
    monkeypatch.setattr(forgetting, "passages", lambda name: ["A passage.", "Another one.", "A third."])
    made = Scorings(lens, people=lambda tuned, base: f"People prefer {'tuned' if '+' in tuned else base}.")
    yield made
    made.close()


def finished(scorings, **asked):
    name = scorings.start({"task": "mine", **asked})
    scorings._thread.join(60)
    return name


def test_what_a_page_begins_is_shown_to_its_end(scorings):
    assert scorings.look({}, True) == {"scoring": ""}
    form = scorings.form()
    assert next(task for task in form["tasks"] if task["name"] == "mine")["battery"] == ["other"]
    name = scorings.start({"task": "mine", "limit": "6", "samples": "1", "seed": ""})
    running = scorings.look({}, True)
    assert running["scoring"] == name
    assert running["card"] is None
    with pytest.raises(UserError, match="is at work: stop it"):
        scorings.start({"task": "mine"})
    scorings._thread.join(60)
    view = scorings.look({"scoring": name}, True)
    assert json.loads(json.dumps(view)) == view | {"figures": json.loads(json.dumps(view["figures"]))}
    assert (view["state"], view["done"], view["total"]) == ("finished", 24, 24)
    assert view["card"]["standing"] in ("cannot tell yet", "not better")
    assert [task["title"] for task in view["tasks"]] == ["mine title", "other title"]
    assert sum(view["tasks"][0]["counts"].values()) == 6
    assert any("the first 6 of 8 questions" in note for note in view["card"]["notes"])
    assert scorings.history()[0]["head"] == view["card"]["head"]
    report = scorings.file(name, "report.html", True)["content"]
    assert "people: People prefer tuned." in report
    assert scorings.latest()["sources"][1] == ("people", "People prefer tuned.")
    assert scorings.latest("x+y", "x") is None
    with pytest.raises(UserError, match="has finished"):
        scorings.resume(name)


def test_lists_are_filtered_and_hidden_tasks_are_the_owners(scorings):
    name = finished(scorings)
    every = scorings.look({"scoring": name}, True)["items"]
    assert every["total"] == 16
    outcomes = [row["outcome"] for row in every["rows"]]
    order = ["lost", "gained", "both", "neither", "unknown"]
    assert outcomes == sorted(outcomes, key=order.index)
    assert scorings.look({"scoring": name, "tag": "t1", "task": "mine"}, True)["items"]["total"] == 4
    assert scorings.look({"scoring": name, "search": "SAY 3", "task": "mine"}, True)["items"]["total"] >= 1
    seen = scorings.look({"scoring": name}, False)
    assert {row["task"] for row in seen["items"]["rows"]} == {"mine"}
    mine = scorings.look({"scoring": name}, True)
    prompts = ["You are mine and only mine." in line for line in seen["about"]]
    assert sum(prompts) == 1
    assert "You are other" in json.dumps(mine)
    assert "You are other" not in json.dumps(seen)
    assert [len(task["parts"]) for task in mine["figures"]] == [3, 3]
    assert [(len(task["parts"]), bool(task["about_parts"])) for task in seen["figures"]] == [(3, True), (0, False)]
    board = scorings.board(name)
    pair = board.pair("mine", 0, 0, False)
    assert pair["references"] == ["a"]
    assert set(pair["sides"]) == {"base", "tuned"}
    for task, number, everything in (("other", 0, False), ("mine", 99, True), ("none", 0, True)):
        with pytest.raises(UserError, match="no such question"):
            board.pair(task, number, 0, everything)
    for kind in ("score.json", "report.html"):
        with pytest.raises(UserError, match="the owner's"):
            scorings.file(name, kind, False)
    assert str(all_scorings()[0].path) not in json.dumps(seen)


def test_stopped_and_resumed_and_compared(scorings):
    first = finished(scorings, battery=False)
    second = scorings.start({"task": "mine", "battery": False, "max_new_tokens": 60})
    assert scorings.stop() == second
    scorings._thread.join(60)
    assert scorings.look({}, True)["can"] == {
        "stop": False,
        "resume": True,
        "extend": False,
        "delete": True,
        "judge": False,
    }
    with pytest.raises(UserError, match="not at work"):
        scorings.stop()
    scorings.resume(second)
    scorings._thread.join(60)
    assert scorings.look({"scoring": second}, True)["state"] == "finished"
    (task,) = scorings.compare(first, second)["tasks"]
    assert task["of"] == 8
    assert "p = " in task["words"]
    scorings.delete(first)
    assert [row["scoring"] for row in scorings.history()] == [second]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"task": "none"}, "There is no task"),
        ({"task": "plain"}, "has no questions"),
        ({"limit": "-3"}, "The limit must be a whole number"),
        ({"limit": 1.5}, "The limit must be a whole number"),
        ({"samples": 0}, "The samples must be a whole number"),
        ({"samples": 3}, "greedy answers are all the same"),
        ({"temperature": "warm"}, "The temperature must be a number"),
        ({"temperature": 9}, "The temperature must lie between"),
        ({"suite": "/none.jsonl"}, "There is no suite file"),
        ({"max_new_tokens": True}, "The token cap must be a whole number"),
    ],
)
def test_what_cannot_be_scored_is_one_sentence(scorings, asked, words):
    with pytest.raises(UserError, match=words):
        scorings.start({"task": "mine", **asked})
    assert scorings.working is None
    assert all_scorings() == []


def test_what_else_got_worse_joins_a_finished_scoring(scorings):
    name = finished(scorings, battery=False)
    before = scorings.look({"scoring": name}, True)
    assert before["can"]["extend"]
    assert any("what got worse elsewhere is not known" in line for line in before["card"]["missing"])
    assert scorings.extend(name) == name
    with pytest.raises(UserError, match="is at work"):
        scorings.extend(name)
    scorings._thread.join(60)
    after = scorings.look({"scoring": name}, True)
    assert (after["state"], after["done"], after["total"]) == ("finished", 32, 32)
    assert [task["name"] for task in after["tasks"]] == ["mine", "other"]
    assert [row[0] for row in after["forgetting"][1:]] == ["prose", "code"]
    assert not after["can"]["extend"]
    assert not any("not known" in line for line in after["card"]["missing"])
    assert len(all_scorings()) == 1
    with pytest.raises(UserError, match="has its battery already"):
        scorings.extend(name)


def test_an_extension_that_was_killed_at_once_is_resumed(scorings):
    name = finished(scorings, battery=False)
    scorings._begin = lambda scoring, subjects: None
    scorings.extend(name)
    del scorings._begin
    assert scorings.look({"scoring": name}, True)["state"] == "interrupted"
    scorings.resume(name)
    scorings._thread.join(60)
    assert scorings.look({"scoring": name}, True)["done"] == 32


def test_one_side_or_an_unfinished_scoring_is_not_extended(scorings, lens):
    name = finished(scorings, battery=False, limit=1)
    events = all_scorings()[0].events_path
    events.write_text(events.read_text().replace('"finished"', '"stopped"'))
    with pytest.raises(UserError, match="has not finished: resume it first"):
        scorings.extend(name)
