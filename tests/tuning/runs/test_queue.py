"""Sweeps: what a file makes, and what it is refused for. The queue: in order, paused, taken up again, past failures."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tuning.tiny_runs import new_run
from tuning.__main__ import main
from tuning.errors import UserError
from tuning.presets import configure
from tuning.runs import process, queue, run, scores, sweep
from tuning.runs.run import Run
from tuning.runs.scores import TaskScore
from tuning.runs.sweep import Planned, grid_from_text, planned, read_sweep
from tuning.training import worker
from tuning.training.parallel import Ranks
from tuning.views import run_table
from tuning.views.actions import Actions
from tuning.views.run_view import Watcher


def described(tmp_path, text):
    path = tmp_path / "ranks.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_grid_and_a_list_make_every_run_with_a_name_of_its_own(tmp_path):
    path = described(
        tmp_path,
        "preset: smoke\nsettings: {max_steps: 2}\ngrid: {rank: [4, 8], learning-rate: [1e-3, 3.0e-4]}\n"
        "runs: [{alpha: 16}, {name: wide, target_modules: [q_proj, v_proj], notes: two layers}]\n",
    )
    plans = read_sweep(path)
    assert len(plans) == 8
    assert len({plan.name for plan in plans}) == 8
    assert plans[0].name == "ranks-alpha-16-rank-4-learning_rate-1e-3"
    assert [plan.check().rank for plan in plans[:4]] == [4, 4, 8, 8]
    assert plans[-1].check().target_modules == ("q_proj", "v_proj")
    assert plans[-1].notes == "two layers"
    assert all(plan.check().max_steps == 2 for plan in plans)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("grid: {lerning_rate: [1]}", r"grid names the setting 'lerning_rate'.*did you mean 'learning_rate'"),
        ("runs: [{ranks: 1}]", r"run 1 names the setting 'ranks'.*did you mean 'rank'"),
        ("grids: {rank: [1]}", r"no field 'grids': did you mean 'grid'"),
        ("preset: quickly\ngrid: {rank: [1]}", "did you mean 'quick'"),
        ("grid: {rank: 8}", r"rank needs a list of values"),
        ("grid: {rank: []}", r"rank needs a list of values"),
        ("grid: {rank: [0]}", "--rank is 0, but must be 1 or more"),
        ("runs: [3]", "run 1 is no mapping"),
        ("runs: {}", "has a grid"),
        ("settings: [1]\nruns: [{rank: 1}]", "settings must be a mapping"),
        ("- 1", "is no sweep"),
        ("", "is no sweep"),
        ("grid: {rank: [1", "no YAML that can be read"),
        ("grid: {rank: [8]}\nruns: [{rank: 4}]", "run 1 names rank, which the grid varies"),
        ("grid: {learning-rate: [1], learning_rate: [2]}", "one setting twice"),
        ("settings: {max-steps: 1, max_steps: 2}\ngrid: {rank: [8]}", "settings names one setting twice"),
        ("grid:\n  rank: [8]\n  alpha: [8]\n  rank: [16]", r"names rank twice in grid \(line 4\)"),
        ("runs: [{rank: 8, rank: 16}]", "names rank twice in runs"),
        ("grid: {rank: [8]}\ngrid: {alpha: [8]}", "names grid twice"),
        ("runs: [{rank: yes}]", "--rank is True, but must be a whole number"),
        ("runs: [{learning_rate: on}]", "--learning-rate is True, but must be a number"),
        ("runs: [{system: no}]", "--system is False, but must be text"),
        ("runs: [{system: {a: b}}]", "--system is .* but must be text"),
        ("runs: [{target_modules: 3}]", "--target-modules is 3, but must be names"),
        ("settings: {system: [a, b]}\nruns: [{rank: 8}]", "settings gives system several values"),
        ("grid: {rank: [[8, 16]]}", "grid gives rank several values"),
        ("settings: {from_adapter: x}\ngrid: {rank: [8, 16]}", "the grid names rank, which a run has from the adapter"),
        ("runs: [{from_adapter: x, alpha: 8}]", "run 1 names alpha, which a run has from the adapter"),
        (f"grid: {{rank: {list(range(1, 300))}}}", "makes 299 runs; at most 200"),
    ],
)
def test_what_a_sweep_is_refused_for(tmp_path, text, sentence, capsys):
    path = described(tmp_path, text)
    with pytest.raises(UserError, match=sentence) as caught:
        read_sweep(path)
    assert "ranks.yaml" in str(caught.value)
    assert main(["sweep", str(path)]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


NAMES = st.sampled_from(["rank", "alpha", "batch_size", "seed"])
VALUES = st.lists(st.integers(1, 9), min_size=1, max_size=3)


@given(st.dictionaries(NAMES, VALUES, min_size=1))
def test_a_grid_has_every_combination_once(grid):
    plans = planned({"preset": "smoke", "grid": grid}, "g")
    points = [tuple(plan.overrides.items()) for plan in plans]
    count = 1
    for values in grid.values():
        count *= len(values)
    assert len(points) == count
    assert set(points) == {tuple(zip(grid, point, strict=True)) for point in product(*grid.values())}


def test_the_forms_line_is_a_grid():
    assert grid_from_text("rank=8,16; target_modules=q_proj,v_proj|all-linear") == {
        "rank": ["8", "16"],
        "target_modules": ["q_proj,v_proj", "all-linear"],
    }
    for wrong in ("", "rank", "rank=", "rank=1;rank=2"):
        with pytest.raises(UserError):
            grid_from_text(wrong)


@pytest.fixture
def instant(monkeypatch, settings):
    """Runs that are over as soon as they begin, and nobody works on the queue but the test."""
    started = []

    def begin(made: Run):
        started.append(made.name)

    monkeypatch.setattr(run, "begin", begin)
    monkeypatch.setattr(queue.subprocess, "Popen", lambda *_, **__: started.append("worker"))
    return started


def test_runs_go_one_after_the_other_past_what_cannot_start(instant, settings):
    own = {"model": settings["model"], "data": settings["data"]}
    plans = [Planned("smoke", own | {"rank": rank}, f"rank-{rank}", "a note") for rank in (2, 4, 8)]
    assert queue.add(plans) == 3
    assert instant == ["worker"]
    with pytest.raises(UserError, match="waits already"):
        queue.add(plans[:1])
    with pytest.raises(UserError, match="--rank is 0"):
        queue.add([Planned("smoke", {"rank": 0})])
    run.named_folder("rank-4").mkdir(parents=True)  # somebody took the name meanwhile
    queue.work()
    assert instant == ["worker", "rank-2", "rank-8"]
    left = queue.load()
    assert left.waiting == []
    assert left.problems == ["rank-4: There is a run 'rank-4' already: choose another name."]
    queue.dismiss()
    assert queue.load().problems == []
    assert run.find("rank-8").settings()["notes"] == "a note"
    assert not queue.working()


def test_a_paused_queue_stops_after_the_run_and_goes_on_when_told(instant, settings, monkeypatch, capsys, tmp_path):
    own = {"model": settings["model"], "data": settings["data"]}
    queue.add([Planned("smoke", own, "first"), Planned("smoke", own, "second")])
    monkeypatch.setattr(run, "begin", lambda made: queue.pause(True))
    queue.work()
    assert [plan.name for plan in queue.load().waiting] == ["second"]
    queue.work()
    assert [plan.name for plan in queue.load().waiting] == ["second"]
    assert main(["queue"]) == 0
    assert "1 run waits; the queue is paused" in capsys.readouterr().out
    sweep_file = described(tmp_path, "preset: smoke\nruns: [{name: third}]\n")
    assert main(["sweep", str(sweep_file)]) == 0
    assert "1 queued; 2 runs wait, and the queue is paused: python -m tuning queue go." in capsys.readouterr().out
    queue.remove(1, "ranks-third")
    instant.clear()
    queue.ensure_worker()
    assert instant == []  # paused: nobody is started, also when the app comes back
    queue.pause(False)
    assert instant == ["worker"]
    with pytest.raises(UserError, match="does not wait any more"):
        queue.remove(0, "first")
    queue.remove(0, "second")
    assert main(["queue", "clear"]) == 0
    queue.pause(True)
    assert main(["queue"]) == 0
    assert "No run waits; the queue is paused" in capsys.readouterr().out


def test_a_run_that_was_being_started_when_the_worker_was_killed_is_started(instant, settings, monkeypatch):
    own = {"model": settings["model"], "data": settings["data"]}
    queue.add([Planned("smoke", own), Planned("smoke", own)])
    names = [plan.name for plan in queue.load().waiting]
    assert len(set(names)) == 2
    instant.clear()

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run, "start", killed)
        with pytest.raises(KeyboardInterrupt):
            queue.work()
    queue.work()
    assert instant == names


def test_a_run_is_started_where_it_was_queued_and_not_lost_to_somebody_faster(instant, settings, monkeypatch, tmp_path):
    """Its data lies beside whoever queued it; another run begins while its folder is there already."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "rows.csv").write_bytes(Path(settings["data"]).read_bytes())
    monkeypatch.chdir(elsewhere)
    queue.add([Planned("smoke", {"model": settings["model"], "data": "rows.csv"}, "mine")])
    monkeypatch.chdir(tmp_path)
    begin, others = run.begin, iter([elsewhere, None, None])

    def refused(made):
        monkeypatch.setattr(run, "begin", begin)
        monkeypatch.setattr(queue.lock, "current", lambda: next(others, None))
        raise UserError("Run x is training on this machine.")

    monkeypatch.setattr(run, "begin", refused)
    queue.work()
    assert (queue.load().waiting, queue.load().problems) == ([], [])
    assert run.find("mine").config().data == str(elsewhere / "rows.csv")
    assert Path.cwd() == tmp_path


def test_a_folder_that_was_half_made_when_the_worker_was_killed_is_made_anew(instant, settings):
    plan = Planned("smoke", {"model": settings["model"], "data": settings["data"]}, "half made")
    queue.add([plan])
    with pytest.raises(UserError, match="waits already"):
        queue.add([replace(plan, name="half-made")])
    with queue.changing() as found:
        found.starting = found.waiting.pop()
    run.named_folder("half-made").mkdir(parents=True)
    instant.clear()
    queue.work()
    assert instant == ["half-made"]
    assert queue.load().problems == []


def test_a_run_whose_worker_lives_is_left_to_it(instant, settings):
    """It may still be importing what it needs, with nothing written, when the queue's own worker is killed."""
    queue.add([Planned("smoke", {"model": settings["model"], "data": settings["data"]}, "alive")])
    with queue.changing() as found:
        found.starting = found.waiting.pop()
    folder = run.named_folder("alive")
    folder.mkdir(parents=True)
    (folder / process.SPAWNED).write_text(json.dumps(process.identity(os.getpid())))
    queue.take_up()
    assert folder.is_dir()
    assert queue.load().waiting == []


def test_a_worker_that_was_killed_is_replaced_and_nothing_is_lost(instant, settings):
    queue.add([Planned("smoke", {"model": settings["model"], "data": settings["data"]}, "only")])
    (queue.data_root() / queue.WORKER).write_text('{"pid": 4194303, "started": 1, "boot": "x"}')
    assert not queue.working()
    instant.clear()
    queue.ensure_worker()
    assert instant == ["worker"]


def test_a_real_queue_trains_its_runs(settings, monkeypatch, capsys):
    """A run of two steps by a real process, beside one that was there before."""
    small = settings | {"max_steps": 2, "validate_every": 0}
    before = run.create("smoke", configure("smoke", small | {"rank": 2}), run.named_folder("rank-2"))
    worker.work(before, Ranks(), quiet=True)
    monkeypatch.setattr(queue, "ensure_worker", lambda: None)
    queue.add([Planned("smoke", small | {"rank": 4}, "rank-4")])
    queue.work()
    assert [run.find(f"rank-{rank}").state().state for rank in (2, 4)] == ["finished", "finished"]
    assert main(["note", "rank-2", "the", "small", "one"]) == 0
    assert main(["runs"]) == 0
    told = capsys.readouterr().out
    assert "rank 2" in told
    assert "the small one" in told
    assert "best by validation loss, among 2 runs" in told


def test_scores_and_forgetting_stand_in_the_table(settings, capsys):
    made = [new_run(settings | {"rank": rank}) for rank in (2, 4)]
    for one, share in zip(made, (0.5, 0.25), strict=True):
        own = TaskScore(0, "mbpp", "MBPP", share, 0.1, 0.9, 40, 0.2)
        scores.keep(one.path, [TaskScore(0, "mbpp", "MBPP", 0.9, 0, 1, 40), own])
        scores.keep(one.path, [TaskScore(0, "general", "General", 0.6, 0.5, 0.7, 40, 0.65, beside=True)])
    with (made[0].path / scores.FILE).open("a") as file:
        file.write('{"event": "score", "step": "x"}\n{"torn')
    rows, why = run_table.table(made)
    assert [row["score"] for row in rows] == ["50.0%", "25.0%"]
    assert [row["forgotten"] for row in rows] == ["+5.0", "+5.0"]
    assert [row["best"] for row in rows] == [True, False]
    assert why == "the score on MBPP of 2 runs"
    assert [row["differs"] for row in rows] == ["rank 2", "rank 4"]
    assert main(["runs"]) == 0
    assert "50.0%  MBPP  20.0%" in capsys.readouterr().out
    assert run_table.curve(scores.read(made[0].path)) == {"MBPP": [(0, 50.0)], "forgotten": [(0, 5.0)]}


def test_the_form_queues_no_setting_that_it_does_not_show(settings):
    actions = Actions(Watcher(), lambda run: "", lambda: "", closed="")
    with pytest.raises(UserError, match="no setting 'trust_remote_code'"):
        actions.enqueue("smoke", {}, "", "trust_remote_code=true,false")


def test_names_are_apart_whatever_they_are(tmp_path):
    path = described(tmp_path, "name: s\nruns: [{name: x-3}, {name: x}, {name: x}, {name: x-3}]")
    names = [plan.name for plan in read_sweep(path)]
    assert names == ["s-x-3", "s-x", "s-x-4", "s-x-3-4"]


def test_a_list_in_a_sweep_is_one_value():
    assert sweep.settings_of({"target-modules": ["a", "b"]}, "x") == {"target_modules": "a,b"}
