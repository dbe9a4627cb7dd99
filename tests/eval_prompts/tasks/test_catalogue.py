"""The tasks that are built in, one's own beside them, and what is said of their answers."""

from __future__ import annotations

import pytest

from eval_prompts.tasks import catalogue
from eval_prompts.tasks.files import parse_task
from eval_prompts.tasks.probes import PROBES
from eval_prompts.tasks.verdicts import Change, change, judge_answer, tally
from tuning.data.chat import PYTHON_FORMAT
from tuning.errors import UserError


def test_the_default_is_the_python_task_of_the_original():
    task = catalogue.find_task("python")
    assert [question.text for question in task.questions] == [probe.question for probe in PROBES]
    assert task.format == PYTHON_FORMAT
    assert task.judges_python
    assert judge_answer(task, task.questions[1], "No code here.", True).task == "fails"


@pytest.mark.parametrize("name", [name for name in catalogue.BUILT_IN if name != "python-suite"])
def test_what_is_built_in_can_be_asked_and_its_references_pass(name):
    task = catalogue.find_task(name)
    assert task.words
    for question in task.questions:
        assert task.prompt(question).messages
        for reference in question.references if task.writes(question) else ():
            assert judge_answer(task, question, reference, True).task in ("passes", "none"), question.id


def test_own_tasks_are_kept_found_and_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path))
    task = parse_task("name: mine\nquestions: ['Why?']\n", "mine.yaml")
    path = catalogue.save_task(task)
    assert catalogue.find_task("mine").to_dict() == task.to_dict()
    (path.parent / "broken.yaml").write_text("questions: []\n")
    found, problems = catalogue.all_tasks()
    assert "mine" in [task.name for task in found]
    assert len(problems) == 1
    assert "broken.yaml" in problems[0]
    with pytest.raises(UserError, match="did you mean mine"):
        catalogue.find_task("mime")
    with pytest.raises(UserError, match="built-in"):
        catalogue.save_task(parse_task("name: python\nquestions: ['Why?']\n", "x"))
    catalogue.delete_task("mine")
    with pytest.raises(UserError, match="There is no task 'mine'"):
        catalogue.find_task("mine")


def test_an_answer_without_a_scorer_has_no_verdict():
    task = parse_task("name: x\nquestions: ['Why?']\n", "x")
    judgement = judge_answer(task, task.questions[0], "Because.", True)
    assert (judgement.task, judgement.score, judgement.badges) == ("none", None, [])
    strict = parse_task("name: x\nquestions: [{question: a, answer: b}]\nscore: contains\n", "x")
    own = strict.own_question("Something else?")
    assert judge_answer(strict, own, "x").badges == []
    assert judge_answer(strict, strict.own_question(" a "), "x").task == "fails"


def test_who_is_better_is_said_by_score():
    task = parse_task('name: x\nquestions: [{question: W, answer: \'{"a": 1, "b": 2}\'}]\nscore: json\n', "x")
    (question,) = task.questions
    half, right, none = (judge_answer(task, question, text, True) for text in ('{"a": 1}', question.references[0], "x"))
    assert [change(*pair) for pair in ((half, right), (right, half), (half, half), (none, None))] == [
        Change.BETTER,
        Change.WORSE,
        Change.SAME,
        Change.UNKNOWN,
    ]
    counted = tally([("base", half), ("base", right)])["base"]
    assert counted == {"answers": 2, "passes": 1, "fails": 1, "not_run": 0, "ended": 2, "score": 0.75}
