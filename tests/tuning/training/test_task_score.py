"""A task scored while a run trains: which adapter is kept, when it ends early, exact resume, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval_prompts.scoring.statistics import mean_interval
from tests.tuning.tiny_runs import interrupted, losses, new_run, of_kind, outcome
from tuning.errors import UserError
from tuning.presets import Config
from tuning.runs import scores
from tuning.training import answering, loop, task_score, worker
from tuning.training.adapter import checkpoint_adapter
from tuning.training.answering import Answered, Judged
from tuning.training.parallel import Ranks

BY_STEP = {0: 2, 2: 5, 3: 1, 4: 8, 6: 3, 8: 4, 9: 1}
"""How many of ten questions pass after a step."""
SCORED = [0, 2, 4, 6, 8, 9]
"""The steps that are scored where every second one is."""


@pytest.fixture
def scored(settings, monkeypatch):
    asked = []

    def answer(request, on_progress, should_stop):
        asked.append(request)
        step = int(request["folder"].rpartition("-")[2])
        on_progress(1, 10)
        passing = BY_STEP[step]
        return Answered(tuple(Judged(str(n), 0, "x", True, n < passing, float(n < passing)) for n in range(10)))

    monkeypatch.setattr(answering, "answer", answer)
    return settings | {"score_on": "python-suite", "score_every": 2, "score_questions": 10}, asked


def test_the_adapter_of_the_best_score_is_kept_and_a_fall_ends_the_run(scored, monkeypatch):
    chosen, asked = scored
    whole = new_run(chosen)
    assert worker.work(whole, Ranks(), quiet=True) == "finished"
    told = [(event["step"], event["score"], event["best"]) for event in of_kind(whole.history(), "score")]
    assert told == [(step, BY_STEP[step] / 10, step in (0, 2, 4)) for step in SCORED]
    record = json.loads((whole.adapter / "run_record.json").read_text())
    assert (record["steps"], record["score"], record["scored_on"]) == (4, 0.8, "python-suite")
    assert (asked[0]["adapter"], asked[0]["task"], asked[0]["limit"]) == (None, "python-suite", 10)
    assert [one.step for one in scores.read(whole.path)] == SCORED
    assert "step 4  score on python-suite 80.0% (49 to 94) of 10 questions  (best so far" in whole.log_path.read_text()

    short = new_run(chosen | {"stop_when_score_falls": 2})
    assert worker.work(short, Ranks(), quiet=True) == "finished"
    assert short.state().step == 8
    assert "Stopped early: 2 scores on python-suite that were no better" in short.log_path.read_text()
    assert outcome(short) | {"steps": 4} == outcome(whole)

    killed = interrupted(chosen, 5, monkeypatch)
    asked.clear()
    assert worker.work(killed, Ranks(), quiet=True) == "finished"
    assert len(asked) == 3  # what was scored is not asked again
    assert losses(killed.history()) == losses(whole.history())
    assert outcome(killed) == outcome(whole)


def test_a_stop_while_it_is_scored_loses_nothing(scored, monkeypatch):
    chosen, _ = scored
    plain = answering.answer

    def half_way(request, *rest):
        return None if "000004" in request["folder"] else plain(request, *rest)

    monkeypatch.setattr(answering, "answer", half_way)
    run = new_run(chosen)
    assert worker.work(run, Ranks(), quiet=True) == "stopped"
    assert run.state().step == 4
    monkeypatch.setattr(answering, "answer", plain)
    assert worker.work(run, Ranks(), quiet=True) == "finished"
    assert [one.step for one in scores.read(run.path)] == SCORED


def test_only_what_the_run_itself_asked_chooses_its_best_and_all_of_it_alike(scored, monkeypatch):
    """Between stop and resume its checkpoint is scored on five other questions, and its task is changed."""
    chosen, _ = scored
    plain = answering.answer

    def stopped(request, *rest):
        return None if "000004" in request["folder"] else replace(plain(request, *rest), asked="as it was")

    monkeypatch.setattr(answering, "answer", stopped)
    run = new_run(chosen | {"max_steps": 4})
    assert worker.work(run, Ranks(), quiet=True) == "stopped"
    later = scores.TaskScore(4, "python-suite", "Suite", 0.1, 0, 1, 5, asked="later")
    scores.keep(run.path, [replace(later, asked="", base=0.0), later])
    monkeypatch.setattr(answering, "answer", lambda *rest: replace(plain(*rest), asked="changed"))
    with pytest.raises(UserError, match="the task has changed since step 2 was scored"):
        worker.work(run, Ranks(), quiet=True)
    monkeypatch.setattr(answering, "answer", lambda *rest: replace(plain(*rest), asked="as it was"))
    assert worker.work(run, Ranks(), quiet=True) == "finished"
    assert [event["score"] for event in of_kind(run.history(), "score")] == [0.2, 0.5, 0.8]


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(UserError, match="name it with --score-on"):
        Config(stop_when_score_falls=1)
    with pytest.raises(UserError, match="none of its questions could be asked"):
        task_score.score_of(Answered((), unasked=3), 0, "mine")


def test_passes_count_where_anything_passes_and_scores_elsewhere():
    mixed = (Judged("a", 0, "x", True, False, 0.9), Judged("b", 0, "x", True, True, 0.2))
    found = task_score.score_of(Answered(mixed, unasked=2), 4, "t")
    assert (found.score, found.questions, found.unasked) == (0.5, 2, 2)
    assert task_score.score_of(Answered(mixed), 4, "/home/ann/mine.yaml").title == "mine.yaml"
    graded = (Judged("a", 0, "x", True, None, 0.9), Judged("b", 0, "x", True, None, 0.2))
    assert task_score.score_of(Answered(graded), 4, "t").score == pytest.approx(0.55)
    untried = Judged("c", 0, "x", True, False, None, tried=False)
    assert task_score.score_of(Answered((*graded, untried)), 4, "t").score == pytest.approx(0.55)
    assert task_score.score_of(Answered((*mixed, untried)), 4, "t").score == pytest.approx(1 / 3)
    assert task_score.score_of(Answered((untried,)), 4, "t").score == 0


@given(st.lists(st.sampled_from([0.0, 0.3, 1.0]), min_size=1, max_size=30))
def test_the_interval_is_that_of_a_scoring(values):
    expected = mean_interval([[value] for value in values])
    assert task_score.interval(values) == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert expected.low < expected.high


def test_a_run_that_ends_early_scores_its_last_state_and_says_what_is_kept(scored, monkeypatch):
    chosen, _ = scored
    monkeypatch.setattr(loop, "measured", lambda *_: {"loss": 2.0})
    run = new_run(chosen | {"validate_every": 1, "patience": 3, "score_every": 2})
    assert worker.work(run, Ranks(), quiet=True) == "finished"
    assert run.state().step == 3
    assert [event["step"] for event in of_kind(run.history(), "score")] == [0, 2, 3]
    [told] = of_kind(run.history(), "result")
    assert (told["best_step"], told["score"], told["best_loss"]) == (2, 0.5, 2.0)
    assert "the adapter of step 2 is kept: 50.0% on python-suite" in run.log_path.read_text()
    assert "validation loss 2  (best so far, adapter saved)" not in run.log_path.read_text()


def test_a_validation_beside_a_score_is_none_that_patience_counts(scored, monkeypatch):
    chosen, _ = scored
    monkeypatch.setattr(loop, "measured", lambda *_: {"loss": 2.0})
    run = new_run(chosen | {"validate_every": 0, "patience": 1, "score_every": 2})
    assert worker.work(run, Ranks(), quiet=True) == "finished"
    assert run.state().step == 9


def test_a_checkpoints_adapter_is_that_of_its_step(settings, tiny_model_path):
    """Its loss on the validation rows, which the run measured at that step."""
    run = new_run(settings | {"validate_every": 2, "keep_checkpoints": 9, "max_steps": 6, "learning_rate": 1e-2})
    worker.work(run, Ranks(), quiet=True)
    assert checkpoint_adapter.steps(run) == [2, 4, 6]
    folder = checkpoint_adapter.write(run, 4)
    assert folder == checkpoint_adapter.write(run, 4)
    measured = {event["step"]: event["validation_loss"] for event in of_kind(run.history(), "validation")}
    record = json.loads((folder / "run_record.json").read_text())
    assert record["loss_after"] == measured[4]
    assert not [name for name in record if name.startswith("test_")]
    again = new_run(settings | {"from_adapter": str(folder), "max_steps": 1})
    worker.work(again, Ranks(), quiet=True)
    assert of_kind(again.history(), "validation")[0]["validation_loss"] == pytest.approx(measured[4], rel=1e-5)
    with pytest.raises(UserError, match="has no checkpoint of step 3: it has kept 2, 4, 6"):
        checkpoint_adapter.write(run, 3)
    (run.path / "checkpoints/step-000002/state.pt").write_bytes(b"torn")
    with pytest.raises(UserError, match="step 2 is damaged"):
        checkpoint_adapter.write(run, 2)
