"""Rounds of own answers: what is kept of them, exact resume wherever a run ends, and the real engine once."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tuning.tiny_runs import interrupted, losses, new_run, of_kind, outcome
from tuning.data.cleaning import Row
from tuning.errors import UserError
from tuning.training import answering, rounds, used_rows, worker
from tuning.training.answering import Answered, Judged
from tuning.training.parallel import Ranks


@pytest.fixture
def checked(settings, tmp_path):
    """Forty questions, every other one with a check."""
    path = tmp_path / "checked.jsonl"
    rows = [
        {
            "question": f"Return {number} plus {number % 7}.",
            "answer": f"{number + number % 7}" + "!" * (number % 5),
            "check": f"assert f() == {number}" if number % 2 else "",
        }
        for number in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return settings | {
        "data": str(path),
        "objective": "verified",
        "rounds": 3,
        "samples": 3,
        "keep": 2,
        "columns": "question=question,answer=answer,check=check",
    }


def answers_for(request, row_ids):
    """Answers that depend on the request's seed alone; about half of them pass."""
    source = random.Random(request["seed"])
    return Answered(
        tuple(
            Judged(id, sample, f"own {source.randint(0, 3)} of {id[:4]}", source.random() < 0.9, passed, float(passed))
            for id in row_ids
            for sample in range(request["samples"])
            for passed in [source.random() < 0.5]
        )
    )


class FakeEngine:
    """Answers at once, but stops the ``stop_at``-th request half way."""

    def __init__(self, stop_at=0):
        self.requests, self.stop_at = [], stop_at

    def __call__(self, request, on_progress, should_stop):
        self.requests.append(request)
        on_progress(1, 2)
        if len(self.requests) == self.stop_at:
            return None
        content = json.loads((answering.Path(request["run"]) / "rows.json").read_text())
        return answers_for(request, sorted(content["train"])[:12])


@pytest.fixture
def engine(monkeypatch):
    def use(**options):
        made = FakeEngine(**options)
        monkeypatch.setattr(answering, "answer", made)
        return made

    return use


def factors(run):
    return (run.adapter / "adapter_model.safetensors").read_bytes()


def test_a_run_goes_on_exactly_wherever_a_round_was_left(checked, engine, monkeypatch):
    asked = engine().requests
    whole = new_run(checked)
    assert worker.work(whole, Ranks(), quiet=True) == "finished"
    assert [request["adapter"] is None for request in asked] == [True, False, False]
    told = of_kind(whole.history(), "round")
    assert [event["step"] for event in told] == [0, 3, 6]
    assert all(event["trained"] == event["kept"] > 0 for event in told)
    lines = whole.log_path.read_text()
    assert "round 1/3: 36 answers to 12 questions, " in lines
    assert "are trained beside the data's own" in lines

    engine(stop_at=2)
    stopped = new_run(checked)
    assert worker.work(stopped, Ranks(), quiet=True) == "stopped"
    assert stopped.state().step == 3
    engine()
    assert worker.work(stopped, Ranks(), quiet=True) == "finished"

    engine()
    killed = interrupted(checked, 4, monkeypatch)  # within round 2
    again = engine()
    assert worker.work(killed, Ranks(), quiet=True) == "finished"
    assert len(again.requests) == 1  # what round 2 kept is read, round 3 is asked
    for other in (stopped, killed):
        assert losses(other.history()) == losses(whole.history())
        assert outcome(other) == outcome(whole)
        assert factors(other) == factors(whole)
    met = sum(row.met for row in used_rows.listed(whole))
    trained = sum(event["trained"] for event in told)
    assert 0 < met < 9 * 4
    assert trained > 0


def test_a_round_of_other_data_is_asked_anew(checked, engine, monkeypatch):
    """A run that ended between its first round and its first checkpoint is resumed with other checks and answers."""
    engine()
    broken = interrupted(checked | {"rounds": 1, "max_steps": 2}, 1, monkeypatch)
    again = engine()
    path = answering.Path(checked["data"])
    path.write_text(path.read_text().replace("!", "?"), encoding="utf-8")
    assert worker.work(broken, Ranks(), quiet=True) == "finished"
    assert len(again.requests) == 1


def test_before_the_first_round_is_asked_no_row_was_met(checked, engine):
    engine(stop_at=1)
    stopped = new_run(checked)
    assert worker.work(stopped, Ranks(), quiet=True) == "stopped"
    rows = list(used_rows.listed(stopped))
    assert rows
    assert not any(row.met for row in rows)


def test_a_round_that_nothing_passes_is_said_and_training_goes_on_with_the_data(checked, monkeypatch):
    def answer(request, on_progress, should_stop):
        return Answered((Judged("x", 0, "wrong", True, False, 0.0),), unasked=2)

    monkeypatch.setattr(answering, "answer", answer)
    run = new_run(checked | {"rounds": 1, "max_steps": 3})
    assert worker.work(run, Ranks(), quiet=True) == "finished"
    assert "none passes, training goes on with the data alone" in run.log_path.read_text()
    plain = new_run(checked | {"objective": "sft", "max_steps": 3})
    worker.work(plain, Ranks(), quiet=True)
    assert losses(run.history()) == losses(plain.history())


ROW = Row("a" * 16, "q", "", "the data's own")
TEXTS = st.sampled_from(["one", "one ", "two", "three", "the  data's own", "four"])


@given(st.lists(st.tuples(TEXTS, st.booleans(), st.booleans()), max_size=12), st.integers(1, 3))
def test_what_is_kept_passes_ends_differs_and_is_counted(answers, most):
    found = Answered(tuple(Judged(ROW.id, n, text, ended, ok, None) for n, (text, ended, ok) in enumerate(answers)))
    kept, left_out = rounds.kept_of(found, {ROW.id: ROW}, most)
    texts = [text for _, text in kept]
    passing = [rounds.same(text) for text, ended, ok in answers if ok and ended]
    assert len(texts) <= most
    assert len(set(texts)) == len(texts)
    assert set(texts) <= set(passing) - {"the data's own"}
    assert len(kept) + sum(left_out.values()) == sum(ok for *_, ok in answers)


@given(st.integers(1, 50), st.integers(1, 50))
def test_rounds_begin_at_even_distances(steps, number):
    if number <= steps:
        first = rounds.first_steps(steps, number)
        lengths = [after - before for before, after in zip(first, [*first[1:], steps], strict=True)]
        assert first[0] == 0
        assert min(lengths) >= 1
        assert max(lengths) - min(lengths) <= 1


def test_the_engine_answers_the_rows_that_a_task_can_judge(checked, tmp_path):
    """The real engine in its own process: a scorer that nearly every answer passes."""
    task = tmp_path / "anything.yaml"
    task.write_text("name: anything\nscore: [{length: {unit: characters, least: 1}}]\nquestions: [x]\n")
    run = new_run(checked | {"rounds": 1, "max_steps": 2, "samples": 2, "checked_by": str(task), "limit": 6})
    assert worker.work(run, Ranks(), quiet=True) == "finished"
    told = of_kind(run.history(), "round")[0]
    assert (told["questions"], told["answers"], told["passed"]) == (6, 12, 12)
    kept = json.loads((run.path / "rounds/1.json").read_text())["kept"]
    assert len(kept) == told["kept"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"columns": "question=question,answer=answer"}, "No training row of checked.jsonl has an assertion"),
        ({"checked_by": "nowhere"}, "There is no task 'nowhere'"),
    ],
)
def test_what_cannot_be_checked_is_refused(checked, changes, sentence):
    run = new_run(checked | changes)
    with pytest.raises(UserError, match=sentence):
        worker.work(run, Ranks(), quiet=True)
    assert run.state().state == "failed"


def test_more_rounds_than_steps_are_refused(checked):
    with pytest.raises(UserError, match="must be at most the 2 steps"):
        new_run(checked | {"max_steps": 2})
