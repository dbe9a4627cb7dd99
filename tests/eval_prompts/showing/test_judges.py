"""Verdicts while people watch: cheap while an answer streams, whole once it is over, never in anybody's way."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from eval_prompts.answers import Answer
from eval_prompts.judging.examine import examine
from eval_prompts.judging.sandbox import monty
from eval_prompts.judging.verdict import Verdict
from eval_prompts.lens.likelihood import Likelihood
from eval_prompts.showing import judges as workers
from eval_prompts.showing.judges import CHECKING, UNJUDGED, Judges, Verdicts
from eval_prompts.tasks.catalogue import python_task
from eval_prompts.tasks.files import parse_task
from eval_prompts.tasks.verdicts import Judgement
from tuning.errors import UserError

GOOD = "```python\ndef average(numbers):\n    return sum(numbers) / len(numbers)\n```"


def answer(text=GOOD, state="ended", side="base"):
    return Answer(side, 0, "?", text, tokens=9, state=state)


def labels(shown):
    return [badge["label"] for badge in shown["badges"]]


def examined_here(text, task, stopped, jail):
    return examine(text, task, stopped=stopped, jail=jail)


@pytest.fixture
def judges():
    judges = Judges(workers=1)
    yield judges
    judges.close()


@pytest.fixture
def verdicts(judges):
    return Verdicts(judges, python_task(), [python_task().find("average")])


def test_a_finished_answer_is_judged_once_and_its_probe_is_known(verdicts):
    first = verdicts.of(answer())
    assert first["checking"] or "does the task" in labels(first)
    assert verdicts.wait(30)
    assert "does the task" in labels(verdicts.of(answer()))
    assert verdicts.begin(answer()) is verdicts.begin(answer())
    assert set(verdicts.final(0)) == {"base"}


def test_nobody_waits_for_an_answer_that_takes_long_to_judge(monkeypatch, verdicts):
    release = threading.Event()
    found = Judgement(python=Verdict(code="x", parses=True))
    monkeypatch.setattr(workers, "judge_answer", lambda *_, **__: release.wait(60) and found)
    assert verdicts.of(answer()) == CHECKING
    assert not verdicts.wait(0)
    assert verdicts.final(0) == {}
    release.set()
    assert verdicts.wait(30)
    assert "parses" in labels(verdicts.of(answer()))


def test_an_answer_that_streams_is_looked_at_now_and_then(monkeypatch, verdicts):
    looked = []
    partial = workers.judge_partial
    monkeypatch.setattr(workers, "judge_partial", lambda text: looked.append(text) or partial(text))
    clock = SimpleNamespace(monotonic=iter([10.0, 10.1, 10.2, 10.6, 10.7]).__next__)
    monkeypatch.setattr(workers, "time", clock)
    for length in (20, 30, 40, 50, 60):
        shown = verdicts.of(answer("```python\n" + "x = 1\n" * length, state="streaming"))
        assert labels(shown) == ["parses so far"] or "repeats itself" in labels(shown)
    assert len(looked) == 2


def test_an_answer_that_was_stopped_is_not_held_against_the_model(verdicts):
    shown = verdicts.of(answer("```python\ndef average(", state="cancelled"))
    assert shown["checking"] is False
    assert not {"task", "runs"} & {badge["kind"] for badge in shown["badges"]}
    assert verdicts.of(answer("", state="waiting")) == UNJUDGED


def test_a_judge_that_fails_says_so_on_the_page_and_in_the_log(monkeypatch, verdicts, caplog):
    def fail(*_, **__):
        raise RuntimeError("the judge is ill")

    monkeypatch.setattr(workers, "judge_answer", fail)
    verdicts.of(answer())
    assert verdicts.wait(30)
    for _ in range(3):
        assert labels(verdicts.of(answer())) == ["failed to judge"]
    assert verdicts.final(0)["base"].python.judging_failed
    assert caplog.text.count("could not be judged") == 1
    assert "RuntimeError: the judge is ill" in caplog.text
    assert {record.levelname for record in caplog.records} == {"ERROR"}


@pytest.mark.parametrize("error", [FileNotFoundError("no interpreter"), IndexError("4")])
def test_without_a_sandbox_an_answer_is_read_and_says_why_it_was_not_run(monkeypatch, verdicts, caplog, error):
    def broken(*_, **__):
        raise error

    monkeypatch.setattr("eval_prompts.judging.judge.judge_apart", examined_here)
    monkeypatch.setattr(monty, "_pools", {})
    monkeypatch.setattr(monty, "_monty", lambda: SimpleNamespace(Monty=broken))
    verdicts.of(answer())
    assert verdicts.wait(30)
    badges = {badge["kind"]: badge for badge in verdicts.of(answer())["badges"]}
    assert badges["parses"]["state"] == "good"
    assert badges["names"]["state"] == "good"
    assert (badges["runs"]["label"], badges["task"]["label"]) == ("not run", "task not checked")
    assert badges["runs"]["reason"] == "Code cannot be run on this server, whose log says why."
    assert badges["task"]["reason"] == "not tried: runs (code cannot be run on this server, whose log says why)"
    verdicts.of(answer(side="tuned"))
    assert verdicts.wait(30)
    assert caplog.text.count("reinstall it with pip install pydantic-monty") == 1
    assert "Traceback" not in caplog.text


def test_what_was_called_off_has_no_verdict():
    future: Future[Verdict] = Future()
    future.cancel()
    future.set_running_or_notify_cancel()
    assert workers.outcome(future) is None


@pytest.mark.parametrize("jail", [False, True])
def test_the_jail_is_used_where_it_is_allowed(monkeypatch, jail):
    asked = []
    monkeypatch.setattr(workers, "judge_answer", lambda *_, **named: asked.append(named["jail"]))
    judges = Judges(workers=1, jail=jail)
    judges.judge(answer(), python_task(), python_task().find("average")).result(30)
    judges.close()
    assert asked == [jail]


CHOICE = """
name: facts
score: {choice: {by: likelihood}}
questions: [{question: 'Which?', options: [red, green], answer: green}]
"""


@pytest.mark.parametrize(
    ("logprobs", "task", "words"),
    [
        ((-3.0, -2.0), "passes", "is likeliest"),
        ((-1.0, -2.0), "fails", "B is right"),
        ((-2.0, -2.0), "not run", "equally likely"),
        (None, "not run", "the models were changed"),
    ],
)
def test_likelihoods_are_read_in_the_answers_place(logprobs, task, words):
    facts = parse_task(CHOICE, "facts.yaml")
    asked = []

    def read(given, texts):
        asked.append((given.side, [text.text for text in texts]))
        if logprobs is None:
            raise UserError("the models were changed before it was read")
        return {text: Likelihood(value, 1, 3, 3) for text, value in zip(texts, logprobs, strict=True)}

    judges = Judges(workers=1)
    try:
        found = Verdicts(judges, facts, facts.questions, read).begin(answer()).result(30)
    finally:
        judges.close()
    assert asked == [(answer().side, ["red", "green"])]
    assert found.task == task
    assert words in found.scores[0].reason
