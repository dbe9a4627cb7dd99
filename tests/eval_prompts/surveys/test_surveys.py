"""Surveys as runs: figures over a set and the curve of strength, stopped, refused, kept, and what visitors see."""

import json
import threading
from dataclasses import replace

import pytest

from eval_prompts.answers import Settings
from eval_prompts.lens.set_figures import TextSet
from eval_prompts.models.strength import Strength
from eval_prompts.surveys import kept
from eval_prompts.surveys import surveys as module
from eval_prompts.surveys.kept import read
from eval_prompts.surveys.surveys import Surveys
from eval_prompts.surveys.texts import CHANGED
from tests.eval_prompts.models.random_adapter import random_adapter
from tests.eval_prompts.surveys.waiting import over
from tuning.errors import UserError


def test_a_sets_figures_are_those_of_its_texts_and_are_kept(surveys, lens, task):
    name = surveys.start("set", {})
    view = over(surveys, name)
    assert (view["state"], view["result"]["texts"]) == ("finished", 2)
    assert view["notes"] == ["1 of 3 questions have no reference and are left out."]
    expected = TextSet()
    for question in task.questions[:2]:
        messages = task.prompt(question).messages
        expected.add(question.text, lens.read(messages, question.references[0], ended=True))
    assert view["result"]["estimates"] == expected.figures()["estimates"]
    assert Surveys(lens, lambda: task).look("", everything=True) == view  # after a restart
    assert surveys.history()["kept"][0]["name"] == name
    json.dumps(view, allow_nan=False)


def test_a_curves_points_are_the_adapters_and_leave_what_others_get_alone(surveys, lens):
    before = [answer.text for answer in lens.ask(["Why?"], Settings(8)).result()]
    lens.set_strength(Strength(0.3))
    try:
        view = over(surveys, surveys.start("curve", {"strengths": "0, 1,0.5", "limit": 2}))
        assert lens.status().adapter.name.endswith("at strength 0.3")
    finally:
        lens.set_strength(Strength())
    assert view["state"] == "finished", view["problem"]
    assert view["notes"] == ["Only the first 2 of 3 questions are asked."]
    points = view["result"]["points"]
    assert [point["strength"] for point in points] == [0, 0.5, 1]
    assert [point["scored"] for point in points] == [2, 2, 2]
    kl = [point["forgetting"]["value"] for point in points]
    assert kl[0] == 0 < kl[1] < kl[2]
    assert [answer.text for answer in lens.ask(["Why?"], Settings(8)).result()] == before


def test_one_at_a_time_and_a_stop_keeps_what_was_read(surveys, lens, monkeypatch):
    begun, free = threading.Event(), threading.Event()
    plain = module.texts.read_all

    def slowly(lens, texts, work):
        def report(done, total, words):
            work.report(done, total, words)
            begun.set()
            free.wait(60)

        return plain(lens, texts, replace(work, report=report))

    monkeypatch.setattr(module.texts, "read_all", slowly)
    surveys.start("set", {})
    assert begun.wait(60)
    assert surveys.words() == "measuring 1 of 2"
    with pytest.raises(UserError, match="is being measured"):
        surveys.start("set", {})
    surveys.stop()
    free.set()
    view = over(surveys)
    assert (view["state"], view["result"]["texts"]) == ("stopped", 1)
    assert "of the 1 texts that were read, of 2" in " ".join(view["notes"])
    with pytest.raises(UserError, match="Nothing is being measured"):
        surveys.stop()


def during(monkeypatch, words, act):
    """Have ``act`` called once, as soon as a survey reports something in these words."""
    plain, called = module.Work, []

    def working(report, *others, **named):
        def telling(done, total, told):
            report(done, total, told)
            if words in told and not called:
                called.append(told)
                act()

        return plain(telling, *others, **named)

    monkeypatch.setattr(module, "Work", working)
    return called


@pytest.mark.parametrize(
    ("kind", "wish", "words"),
    [
        ("set", {}, "1 texts read"),
        ("set", {}, "2 texts read"),
        ("set", {"answers": True}, "answers"),
        ("curve", {"strengths": "1"}, "general questions"),
        ("curve", {"strengths": "0,1"}, "what is forgotten"),
    ],
)
def test_figures_of_two_adapters_are_never_mixed(surveys, lens, tiny_adapter_path, monkeypatch, kind, wish, words):
    called = during(monkeypatch, words, lambda: lens.reload(str(tiny_adapter_path)))
    view = over(surveys, surveys.start(kind, wish))
    assert called
    assert (view["state"], view["problem"]) == ("failed", CHANGED)
    assert view["result"] is None


@pytest.mark.parametrize(("kind", "state"), [("set", "failed"), ("curve", "finished")])
def test_another_strength_is_another_model_for_a_set_and_none_for_a_curve(surveys, lens, monkeypatch, kind, state):
    words = {"set": "1 texts read", "curve": "answers"}[kind]
    called = during(monkeypatch, words, lambda: lens.set_strength(Strength(0.5)))
    try:
        view = over(surveys, surveys.start(kind, {"strengths": "0.5,1"} if kind == "curve" else {}))
    finally:
        lens.set_strength(Strength())
    assert called
    assert view["state"] == state


def test_another_base_side_alone_is_another_model(surveys, lens, tiny_adapter_path, monkeypatch):
    during(monkeypatch, "1 texts read", lambda: lens.reload(str(tiny_adapter_path), against=str(tiny_adapter_path)))
    try:
        assert over(surveys, surveys.start("set", {}))["problem"] == CHANGED
    finally:
        lens.reload(str(tiny_adapter_path))


def test_nothing_is_measured_while_other_models_are_opened(surveys, lens):
    with lens._opening, pytest.raises(UserError, match="being opened"):
        surveys.start("set", {})


def test_what_tells_of_hidden_questions_is_the_owners(lens, task, tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "data_root", lambda: tmp_path / "data")
    hidden = Surveys(lens, lambda: replace(task, show=False))
    over(hidden, hidden.start("set", {}))
    seen = hidden.look("", everything=False)
    assert "Why?" not in json.dumps(seen)
    assert seen["notes"][-1].startswith("The questions are hidden")
    assert "Why?" in json.dumps(hidden.look("", everything=True))


def test_what_tells_of_a_set_of_the_owners_is_the_owners(surveys, task, tmp_path):
    private = tmp_path / "private.jsonl"
    rows = [{"question": f"Who {number}?", "answer": "so"} for number in range(60)]
    private.write_text("\n".join(json.dumps(row) for row in [*rows, {"question": "Alone?"}]))
    for wish in ({"suite": str(private)}, {"data": str(private)}, {"task": str(tmp_path / "task.yaml")}):
        surveys.start("set", wish | {"limit": 2})
        mine = over(surveys)
        assert mine["state"] == "finished", mine["problem"]
        seen = surveys.look("", everything=False)
        told = json.dumps([seen, surveys.history()])
        assert not any(words in told for words in ("Who ", "Why?", str(tmp_path), "1 rows of")), wish
        assert seen["result"]["estimates"] == mine["result"]["estimates"]
        assert any(words in json.dumps(mine) for words in ("Who ", "Why?"))
        assert "1 rows of private.jsonl lack" in " ".join(mine["notes"]) or "suite" not in wish
        assert seen["about"] == ("private.jsonl" if "task" not in wish else task.words)
    over(surveys, surveys.start("set", {"task": "t"}))  # the task in use, whose questions everybody sees
    assert "Why?" in json.dumps(surveys.look("", everything=False))


def test_why_reading_the_owners_set_failed_is_the_owners(surveys, tmp_path):
    mine = over(surveys, surveys.start("set", {"suite": str(tmp_path / "none.jsonl")}))
    assert (mine["state"], str(tmp_path / "none.jsonl") in mine["problem"]) == ("failed", True)
    assert str(tmp_path) not in json.dumps(surveys.look("", everything=False))


def test_the_held_out_rows_are_everybodys(surveys, monkeypatch):
    monkeypatch.setattr(module.texts, "read_all", lambda lens, texts, work: 1 / 0)
    over(surveys, surveys.start("set", {"data": "held-out", "limit": 1}))
    seen = surveys.look("", everything=False)
    assert not any("hidden" in note for note in seen["notes"])
    assert seen["problem"] == kept.FAILED


def test_the_best_of_a_curve_is_for_its_own_adapter_alone(
    surveys, lens, task, tiny_model_path, tiny_adapter_path, tmp_path
):
    name = surveys.start("curve", {"strengths": "0.5", "limit": 1})
    view = over(surveys, name)
    assert "models" not in view  # they are nobody's business but the app's
    assert surveys.best(name) == view["result"]["best"] == 0.5
    lens.set_strength(Strength(0.3))
    assert surveys.best(name) == 0.5  # of the same adapter
    lens.reload(str(random_adapter(tiny_model_path, tmp_path / "other", ["q_proj"])))
    try:
        with pytest.raises(UserError, match="not known to be of the models of now"):
            surveys.best(name)
    finally:
        lens.reload(str(tiny_adapter_path))
    assert Surveys(lens, lambda: task).best(name) == 0.5  # after a restart
    measured = surveys.start("set", {})
    over(surveys, measured)
    for none in (measured, "no such survey"):
        with pytest.raises(UserError, match=r"no best strength|no survey"):
            surveys.best(none)


@pytest.mark.parametrize(
    ("kind", "wish", "words"),
    [
        ("both", {}, "'set' or a 'curve'"),
        ("set", {"limit": -1}, "limit"),
        ("set", {"limit": 1.5}, "limit"),
        ("set", {"task": "t", "data": "held-out"}, "one set"),
        ("set", {"task": 7}, "one set"),
        ("set", {"task": "no such task"}, "no such task"),
        ("curve", {"data": "held-out"}, "that of a task"),
        ("curve", {"strengths": "0,3"}, "from 0"),
        ("curve", {"strengths": "often"}, "numbers with commas"),
        ("curve", {"strengths": 7}, "numbers with commas"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_sentence(surveys, kind, wish, words):
    with pytest.raises(UserError, match=words):
        surveys.start(kind, wish)


def test_a_set_that_cannot_be_read_fails_in_a_sentence(surveys, tmp_path):
    view = over(surveys, surveys.start("set", {"suite": str(tmp_path / "none.jsonl")}))
    assert view["state"] == "failed"
    assert "none.jsonl" in view["problem"]
    (tmp_path / "data" / "surveys" / "a.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path / "data" / "surveys" / "a.json")
    with pytest.raises(UserError, match="no survey"):
        surveys.look("nobody", everything=True)
