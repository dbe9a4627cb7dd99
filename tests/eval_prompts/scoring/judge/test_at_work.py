"""A judge asked from the page: an endpoint or the loaded base, stopped and gone on with, its key kept nowhere."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from eval_prompts.models.adapters import AdapterCard
from eval_prompts.scoring.folder import Scoring, kept_question
from eval_prompts.scoring.judge.at_work import ENDED_EARLY, FAULT, Judging
from eval_prompts.scoring.judge.pairs import pairs_of
from eval_prompts.serving.status import Status
from eval_prompts.tasks.files import parse_task
from eval_prompts.votes.records import VotedPair
from tests.eval_prompts.scoring.judge.judge_server import JudgeServer, send
from tests.eval_prompts.scoring.tables import answer, plan_of
from tests.eval_prompts.votes.kept_pairs import voted
from tuning.errors import UserError


@pytest.fixture
def scoring(tmp_path):
    """A finished scoring of six questions, whose tuned answers are longer."""
    plan = plan_of([("mine", 6)])
    question = {"title": "", "input": "", "tags": [], "cluster": "", "references": []}
    questions = {"mine": [question | {"id": f"q{at}", "question": f"Question {at}?"} for at in range(6)]}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    (tmp_path / "questions.json").write_text(json.dumps(questions))
    lines = [
        answer("mine", at, side, True, text=f"{side} answer {at}") for at in range(6) for side in ("base", "tuned")
    ]
    lines.append({"event": "finished", "message": ""})
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(line | {"time": 1.0}) + "\n" for line in lines))
    return Scoring(tmp_path)


def prefers_tuned(first, second):
    return "[[A]]" if first.startswith("tuned") else "[[B]]"


def ended(judging):
    judging._thread.join(20)
    assert not judging.working
    return judging


def test_an_endpoint_judges_and_its_key_is_kept_nowhere(scoring, monkeypatch, caplog):
    seen = []

    def respond(handler):
        seen.append(handler.headers["Authorization"])
        send(handler, 200, json.dumps({"choices": [{"message": {"content": "[[TIE]]"}}]}))

    judging = Judging(lens=None)
    with JudgeServer(respond=respond) as server:
        judging.start(scoring, {"url": server.url, "model": "m", "key": "s3cret-key"})
        ended(judging)
        monkeypatch.setenv("LORA_LENS_JUDGE_KEY", "of-the-environment")
        judging.start(scoring, {"url": server.url, "model": "other"})
        ended(judging)
    assert seen[0] == "Bearer s3cret-key"
    assert seen[-1] == "Bearer of-the-environment"
    kept = "".join(path.read_text() for path in Path(scoring.path).iterdir() if path.is_file())
    assert "s3cret-key" not in kept
    assert "s3cret-key" not in caplog.text + repr(vars(judging))
    view = judging.view(scoring, True)
    assert (view["running"], view["done"], view["of"], view["problem"]) == (False, 6, 6, "")
    assert "nobody has voted blind" in view["lines"][1]


def test_stopped_it_keeps_what_it_said_and_goes_on(scoring):
    judging = Judging(lens=None)
    reached, go = threading.Event(), threading.Event()

    def slow(first, second):
        reached.set()
        go.wait(20)
        return prefers_tuned(first, second)

    with JudgeServer(slow) as server:
        asked = {"url": server.url, "model": "m"}
        judging.start(scoring, asked)
        assert reached.wait(20)
        with pytest.raises(UserError, match="is at work on"):
            judging.start(scoring, asked)
        judging.stop()
        go.set()
        ended(judging)
        assert "Stopped by hand" in judging.view(scoring, True)["problem"]
        asked_before = server.asked
        judging.start(scoring, asked)
        ended(judging)
        assert server.asked == 12
        assert asked_before == 2
    assert "prefers tuned in 6 of 6 pairs" in judging.view(scoring, True)["lines"][0]
    with pytest.raises(UserError, match="No judge is at work"):
        judging.stop()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"url": "file:///etc/passwd", "model": "m"}, "begins with http"),
        ({"url": "http://127.0.0.1:9/v1"}, "Give the judge's name"),
        ({"model": "m"}, "Give the address"),
        ({"url": "http://h/v1", "model": "m", "rubric": "x" * 5000}, "longer than 4,000 characters"),
    ],
)
def test_what_cannot_judge_is_one_sentence(scoring, asked, words):
    with pytest.raises(UserError, match=words):
        Judging(lens=None).start(scoring, asked)


def test_one_that_is_gone_is_told_in_the_view(scoring, monkeypatch):
    monkeypatch.setattr("eval_prompts.scoring.judge.replies.PAUSE_SECONDS", 0.0)
    judging = Judging(lens=None)
    judging.start(scoring, {"url": "http://127.0.0.1:9/v1", "model": "m"})
    assert "does not answer" in ended(judging).view(scoring, True)["problem"]


def test_an_unfinished_scoring_and_one_side_are_refused(scoring):
    events = scoring.path / "events.jsonl"
    events.write_text(events.read_text().replace('"finished"', '"stopped"'))
    with pytest.raises(UserError, match="finish first"):
        Judging(lens=None).start(scoring, {"url": "http://h/v1", "model": "m"})
    (scoring.path / "plan.json").write_text(json.dumps(scoring.plan() | {"sides": ["base"]}))
    with pytest.raises(UserError, match="compares two answers"):
        Judging(lens=None).start(scoring, {"url": "http://h/v1", "model": "m"})


class Loaded:
    """A lens whose base prefers the tuned answer; ``then`` is called behind each of its replies."""

    def __init__(self, then=lambda lens: None):
        self.now = Status("ready", "ready", None, "/a/smol", "", "CPU", None, True, 1, 0, 0, 1.0, "0", fingerprint="11")
        self.asked, self._then = 0, then

    def wait_ready(self, timeout=None):
        return None

    def status(self):
        return self.now

    def ask(self, prompts, *_, **__):
        self.asked += 1
        first = prompts[0].partition("[Answer A]")[2].strip()
        reply = SimpleNamespace(text="[[A]]" if first.startswith("tuned") else "[[B]]")
        self._then(self)
        return SimpleNamespace(result=lambda: [reply])


RIVAL = AdapterCard("rival", Path("r"), "m", 8, 8.0, ())


@pytest.mark.parametrize("change", [{"fingerprint": "22"}, {"against": RIVAL}])
def test_a_loaded_judge_ends_where_another_model_takes_its_place(scoring, change):
    def swap(lens):
        if lens.asked == 3:
            lens.now = replace(lens.now, **change)

    lens = Loaded(swap)
    judging = Judging(lens)
    judging.start(scoring, {})
    view = ended(judging).view(scoring, True)
    assert view["problem"].startswith("The models were changed, so the judge is no longer loaded")
    assert "What it said of 1 pairs is kept" in view["problem"]
    assert (view["lines"], lens.asked) == ([], 3)


def test_another_model_of_the_same_name_is_asked_anew(scoring):
    one, other, one_again = Loaded(), Loaded(), Loaded()
    other.now = replace(other.now, model="/b/smol", fingerprint="22")
    for lens in (one, other, one_again):
        judging = Judging(lens)
        judging.start(scoring, {})
        assert (
            "smol (the base that is loaded) prefers tuned in 6 of 6" in ended(judging).view(scoring, True)["lines"][0]
        )
    assert [lens.asked for lens in (one, other, one_again)] == [12, 12, 0]


def test_what_goes_on_from_something_that_it_does_not_read_is_left_out(scoring):
    path = scoring.path / "questions.json"
    rows = json.loads(path.read_text())["mine"]
    for row, change in zip(rows, [{"behind": 0}, {"behind": 1}, {"cluster": "q0", "id": "q0/2"}], strict=False):
        row |= change
    path.write_text(json.dumps({"mine": rows}))
    shots, given = ([{"role": "user", "content": words}, {"role": "assistant", "content": "y"}] for words in "ab")
    plan = scoring.plan()
    plan["tasks"][0]["shots"] = shots
    (scoring.path / "plan.json").write_text(json.dumps(plan))

    def vote(at, before, **changes):
        one = voted(blind=True, question=f"Question {at}?", ident=f"p{at}{len(votes)}")
        asked = [{"role": "system", "content": "Be."}, *before, {"role": "user", "content": one.pair.question}]
        votes.append(VotedPair(replace(one.pair, settings={"messages": asked}, **changes), one.vote))

    votes = []
    vote(0, shots)
    vote(1, [])  # asked by itself, though the scoring's goes on from something
    vote(5, given)
    vote(0, [], turn=2, conversation="p0")
    judging = Judging(Loaded(), lambda plan: votes)
    judging.start(scoring, {})
    assert ended(judging).view(scoring, True)["lines"][-1] == (
        "2 questions and 2 votes left out: they go on from a conversation that the judge does not read"
    )
    pairs, _ = pairs_of(scoring, votes)
    assert sorted(pair.question for pair in pairs) == [f"Question {at}?" for at in (0, 0, 1, 3, 4, 5)]


def test_a_scoring_keeps_what_stands_before_a_question():
    given = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    led = [{"role": "system", "content": "Be."}, {"role": "user", "content": "a"}]
    rows = [{"turns": ["one", "two"]}, {"messages": given}, {"messages": led}, {"question": "alone"}]
    task = parse_task(json.dumps({"name": "talk", "questions": rows}), "talk.yaml")
    assert [kept_question(question)["behind"] for question in task.questions] == [0, 1, 2, 0, 0]


def test_a_judge_that_breaks_is_loud_in_the_log_and_says_one_sentence(scoring, monkeypatch, caplog):
    def explode(*_, **__):
        raise ArithmeticError("a detail with /folders")

    monkeypatch.setattr("eval_prompts.scoring.judge.at_work.judge_pairs", explode)
    judging = Judging(lens=None)
    judging.start(scoring, {"url": "http://127.0.0.1:9/v1", "model": "m"})
    view = ended(judging).view(scoring, True)
    assert (view["running"], view["problem"]) == (False, FAULT)
    assert judging.view(scoring, False)["problem"] == ENDED_EARLY
    (record,) = caplog.records
    assert (record.levelname, record.exc_info[0]) == ("ERROR", ArithmeticError)
