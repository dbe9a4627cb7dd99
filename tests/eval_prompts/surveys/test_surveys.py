"""Surveys as runs: figures over a set and the curve of strength, stopped, refused, kept, and what visitors see."""

import json
import shutil
import threading
from dataclasses import replace

import pytest

from eval_prompts.answers import Settings
from eval_prompts.lens.set_figures import TextSet
from eval_prompts.models.strength import Strength
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.local import LocalLoader
from eval_prompts.surveys import surveys as module
from eval_prompts.surveys.surveys import Surveys, read
from eval_prompts.surveys.texts import CHANGED
from eval_prompts.tasks.catalogue import find_task
from tests.eval_prompts.models.random_adapter import random_adapter
from tuning.errors import UserError

TASK = """name: t
score: [ends]
settings: {max_new_tokens: 4}
questions:
  - {id: a, question: Why?, answer: so}
  - {id: b, question: How?, answer: like this}
  - {id: c, question: When?, answer: ''}
"""


@pytest.fixture(scope="module")
def lens(tiny_model_path, tiny_adapter_path):
    with Lens(LocalLoader(str(tiny_model_path), str(tiny_adapter_path), device="cpu")) as lens:
        lens.start()
        lens.wait_ready()
        yield lens


@pytest.fixture
def task(tmp_path):
    file = tmp_path / "task.yaml"
    file.write_text(TASK)
    return find_task(str(file))


@pytest.fixture
def surveys(lens, task, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "data_root", lambda: tmp_path / "data")
    return Surveys(lens, lambda: task)


def over(surveys, name=""):
    for thread in threading.enumerate():
        if thread.name == "survey":
            thread.join(60)
    return surveys.look(name, everything=True)


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
    monkeypatch.setattr(module, "data_root", lambda: tmp_path / "data")
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
    assert seen["problem"] == module.FAILED


def test_half_a_file_or_half_a_character_hides_nothing(surveys, tmp_path, monkeypatch, caplog):
    plain = module.texts.read_all

    def quoting(*given):
        found = plain(*given)
        found.skipped.append("half a character: \ud83d")
        return found

    monkeypatch.setattr(module.texts, "read_all", quoting)
    name = surveys.start("set", {})
    view = over(surveys, name)
    assert view["result"]["skipped"] == ["half a character: \ufffd"]
    folder = tmp_path / "data" / "surveys"
    assert [file.name for file in folder.iterdir()] == [f"{name}.json"]
    for other, content in (("29990101-000000-set", '{"name": "a"'), ("29990102-000000-set", "[]")):
        (folder / f"{other}.json").write_text(content)
    again = Surveys(None, None)
    assert again.look("", everything=True)["name"] == name
    assert [each["name"] for each in again.history()["kept"]] == [name]
    assert again.history()["unreadable"] == 2
    assert "29990101-000000-set cannot be read" in caplog.text
    monkeypatch.setattr(module, "write_json", lambda path, content: json.dumps(float("nan"), allow_nan=False))
    assert "not kept on disk (Out of range" in " ".join(over(surveys, surveys.start("set", {}))["notes"])


def test_kept_surveys_are_read_once_and_older_ones_counted(surveys, tmp_path, monkeypatch):
    name = surveys.start("set", {})
    over(surveys, name)
    file = tmp_path / "data" / "surveys" / f"{name}.json"
    for number in range(module.MOST_KEPT + 2):
        shutil.copy(file, file.with_name(f"30000101-{number:06}-set.json"))
    told = surveys.history()
    assert (len(told["kept"]), told["older"], told["unreadable"]) == (module.MOST_KEPT, 3, 0)
    monkeypatch.setattr(module, "read", lambda file: 1 / 0)
    assert surveys.history() == told
    file.with_name("30000101-000051-set.json").unlink()
    monkeypatch.setattr(module, "read", read)
    assert (len(surveys.history()["kept"]), surveys.history()["older"]) == (module.MOST_KEPT, 2)


def test_a_survey_of_before_is_open_only_where_its_set_is_known_to_be(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "data_root", lambda: tmp_path)
    shown, hidden = find_task("python"), replace(find_task("python"), title="Mine", show=False)
    monkeypatch.setattr(module, "all_tasks", lambda: ([shown, hidden], []))
    (tmp_path / "surveys").mkdir()
    abouts = {"held-out": True, shown.words: True, "Mine": False, "/home/x/secret.jsonl": False, "Elsewhere": False}
    for number, about in enumerate(abouts):
        survey = module.Survey(f"{number}", "set", about, "a", notes=["1 rows of /home/x/ lack"], state="finished")
        survey.result = {"texts": 1, "most_changed_questions": ["Who?"]}
        before = {key: value for key, value in vars(survey).items() if key not in ("details", "models")}
        module.write_json(tmp_path / "surveys" / f"{number}.json", before)
    again = Surveys(None, None)
    for number, (about, everybodys) in enumerate(abouts.items()):
        seen = json.dumps(again.look(f"{number}", everything=False))
        assert ("Who?" in seen, "/home/x/" in seen) == (everybodys, everybodys), about
        mine = json.dumps(again.look(f"{number}", everything=True))
        assert "Who?" in mine
        assert "lack" in mine
    assert "/home/x" not in json.dumps(again.history())


def test_a_list_that_was_refused_for_a_moment_is_whole_the_next_time(surveys, monkeypatch):
    over(surveys, surveys.start("set", {}))
    plain = module.Path.read_text
    monkeypatch.setattr(module.Path, "read_text", lambda *_, **__: (_ for _ in ()).throw(PermissionError()))
    assert (surveys.history()["kept"], surveys.history()["unreadable"]) == ([], 1)
    monkeypatch.setattr(module.Path, "read_text", plain)
    assert (len(surveys.history()["kept"]), surveys.history()["unreadable"]) == (1, 0)


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
