"""Surveys on disk: half files, files of before, many of them, and a folder that was out of reach for a moment."""

import json
import shutil
from dataclasses import replace

from eval_prompts.surveys import kept
from eval_prompts.surveys import surveys as module
from eval_prompts.surveys.kept import read
from eval_prompts.surveys.surveys import Surveys
from eval_prompts.tasks.catalogue import find_task
from tests.eval_prompts.surveys.waiting import over


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
    monkeypatch.setattr(kept, "write_json", lambda path, content: json.dumps(float("nan"), allow_nan=False))
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
    monkeypatch.setattr(kept, "data_root", lambda: tmp_path)
    shown, hidden = find_task("python"), replace(find_task("python"), title="Mine", show=False)
    monkeypatch.setattr(kept, "all_tasks", lambda: ([shown, hidden], []))
    (tmp_path / "surveys").mkdir()
    abouts = {"held-out": True, shown.words: True, "Mine": False, "/home/x/secret.jsonl": False, "Elsewhere": False}
    for number, about in enumerate(abouts):
        survey = kept.Survey(f"{number}", "set", about, "a", notes=["1 rows of /home/x/ lack"], state="finished")
        survey.result = {"texts": 1, "most_changed_questions": ["Who?"]}
        before = {key: value for key, value in vars(survey).items() if key not in ("details", "models")}
        kept.write_json(tmp_path / "surveys" / f"{number}.json", before)
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
    plain = kept.Path.read_text
    monkeypatch.setattr(kept.Path, "read_text", lambda *_, **__: (_ for _ in ()).throw(PermissionError()))
    assert (surveys.history()["kept"], surveys.history()["unreadable"]) == ([], 1)
    monkeypatch.setattr(kept.Path, "read_text", plain)
    assert (len(surveys.history()["kept"]), surveys.history()["unreadable"]) == (1, 0)
