"""What the Train tab shows, without a page: bounded whatever a run's length, and clear whatever has happened to it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuning import files, presets
from tuning.errors import UserError
from tuning.runs import lock, process, run, scores
from tuning.runs.scores import TaskScore
from tuning.views.actions import Actions
from tuning.views.run_fold import LOG_LINES, MOST_BUCKETS, MOST_SAMPLES, Fold, Series
from tuning.views.run_view import LIVE_POLL_SECONDS, Watcher


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def watcher(home):
    return Watcher()


def fake_run(name="a-run", preset="smoke", **changes):
    return run.create(preset, presets.configure(preset, changes), run.runs_root() / name)


def step(number, loss=1.0, at=None, **more):
    return {
        "event": "step",
        "time": 1000.0 + number if at is None else at,
        "step": number,
        "max_steps": 8,
        "epoch": 0.1,
        "loss": loss,
        "learning_rate": 1e-3,
        "grad_norm": 1.0,
        "tokens_per_second": 160.0,
        "memory_mb": 900,
        "eta_seconds": 5.0,
        "seconds": 2.0,
    } | more


def write(target, *events):
    with target.events_path.open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


def working(target):
    """This very process stands for the run's worker."""
    files.write_json(target.path / "worker.json", process.identity(os.getpid()))


def sample(number, answer):
    fields = {"step": number, "question": "Q?", "answer": answer, "tokens": 3, "ended": True}
    return {"event": "sample", "time": 1.0, **fields}


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=2000), st.integers(1, 50))
def test_buckets_cover_the_whole_series_and_hide_no_peak(values, most):
    series = Series()
    for number, value in enumerate(values):
        series.add(number, value)
    buckets = series.buckets(most)
    assert len(buckets) <= most
    assert buckets[-1][0] == len(values) - 1
    assert [each[0] for each in buckets] == sorted({each[0] for each in buckets})
    assert min(low for _, _, low, _ in buckets) == pytest.approx(min(values), rel=1e-5)
    assert max(high for *_, high in buckets) == pytest.approx(max(values), rel=1e-5)
    assert all(
        low <= mean + 1e-4 * abs(mean) + 1e-9 and mean <= high + 1e-4 * abs(mean) + 1e-9
        for _, mean, low, high in buckets
    )


def test_a_run_of_a_hundred_thousand_events_is_told_in_little(watcher):
    long = fake_run()
    write(long, *(step(number, 1 / number) for number in range(1, 100_001)))
    first = watcher.look("a-run", {})
    assert first["step"] == 100_000
    assert len(first["charts"]["loss"]) <= MOST_BUCKETS
    assert first["charts"]["loss"][-1][0] == 100_000
    assert len(first["log"]) == LOG_LINES
    assert len(json.dumps(first)) < 100_000
    again = watcher.look("a-run", first["seen"])
    assert again["log"] == []
    assert "charts" not in again
    assert len(json.dumps(again)) < 2_000
    write(long, step(100_001))
    news = watcher.look("a-run", again["seen"])
    assert [line[0] for line in news["log"]] == [100_001]
    assert len(json.dumps(news)) < 40_000


def test_only_what_is_new_is_read(watcher, monkeypatch):
    short = fake_run()
    write(short, step(1), step(2))
    fold = Fold(short.events_path)
    fold.update()
    offset = fold.offset
    write(short, step(3))
    fold.update()
    assert fold.offset > offset
    assert list(fold.series["loss"].steps) == [1, 2, 3]


def test_a_page_that_comes_late_sees_the_run_from_its_beginning(watcher):
    begun = fake_run()
    working(begun)
    write(begun, step(1, 3.0), step(2, 2.0))
    early = watcher.look(None, {})
    write(begun, step(3, 1.0))
    watcher.look(None, early["seen"])
    late = watcher.look(None, {})
    assert [point[1] for point in late["charts"]["loss"]] == [3.0, 2.0, 1.0]
    assert len(late["log"]) == 3
    assert late["state"] == "running"
    assert late["poll_seconds"] == LIVE_POLL_SECONDS < 1


def test_what_a_resume_does_again_is_drawn_once(watcher):
    resumed = fake_run()
    write(
        resumed,
        sample(0, "a"),
        step(1, 3.0),
        step(2, 2.0),
        sample(2, "b"),
        {"event": "stopped", "time": 1.0, "step": 2},
    )
    watcher.look("a-run", {})
    write(resumed, {"event": "resumed", "time": 2.0, "step": 1})
    assert watcher.look("a-run", {})["step"] == 1
    write(resumed, step(2, 9.0))
    view = watcher.look("a-run", {})
    assert view["step"] == 2
    assert [point[:2] for point in view["charts"]["loss"]] == [(1, 3.0), (2, 9.0)]
    assert [each["step"] for each in view["samples"]] == [0]
    assert any("resumed" in line[3] for line in view["log"])


def test_samples_stay_few_and_keep_the_first_and_the_newest(watcher):
    fake = fake_run()
    write(fake, *(sample(number, f"answer {number}") for number in range(500)))
    shown = watcher.look("a-run", {})["samples"]
    assert len(shown) <= MOST_SAMPLES
    assert (shown[0]["step"], shown[-1]["step"]) == (0, 499)


def test_the_run_shows_its_own_settings(watcher):
    fake_run(max_steps=77, learning_rate=2e-4)
    view = watcher.look("a-run", {})
    assert ["Steps", "77"] in view["settings"]
    assert ["CPU threads", "all cores"] in view["settings"]
    assert view["max_steps"] == 77
    assert view["command"] == "python -m tuning train --preset smoke --max-steps 77 --learning-rate 0.0002"


def test_how_many_pairs_come_out_right_is_told(watcher):
    pairs = fake_run(objective="dpo")
    held_out = {"event": "validation", "time": 1.0, "step": 1, "validation_loss": 0.5, "best": True, "kept": True}
    write(pairs, step(1, 0.6, right=0.75, margin=0.21), held_out | {"right": 0.5, "margin": 0.1})
    view = watcher.look("a-run", {})
    assert ["Held-out pairs right", "50%"] in view["figures"]
    lines = [text for *_, text in view["log"]]
    assert "loss 0.6  right 75%  margin 0.21  lr" in lines[0]
    assert lines[1] == "step 1  validation loss 0.5  right 50%  margin 0.1  (best so far, adapter saved)"


@pytest.mark.parametrize(
    ("shares", "best"), [((0.2, 0.5, 0.5), [False, True, True]), ((0.2, 0.2), [False, False]), ((0.2,), [False])]
)
def test_the_best_checkpoints_are_those_that_none_beats(watcher, shares, best):
    kept = [TaskScore(at, "t", "T", share, 0.0, 1.0, 9) for at, share in enumerate(shares)]
    scores.keep(fake_run().path, kept)
    assert [row["best"] for row in watcher.look("a-run", {})["scores"]["rows"]] == best


def test_a_folder_deleted_in_the_middle_is_said(watcher):
    doomed = fake_run()
    write(doomed, step(1))
    watcher.look("a-run", {})
    doomed.delete()
    with pytest.raises(UserError, match="no run 'a-run' any more"):
        watcher.look("a-run", {})
    assert watcher.look(None, {}) == {"run": None, "poll_seconds": 4.0}


def test_a_folder_deleted_under_its_worker_is_said_before_the_worker_notices(watcher):
    doomed = fake_run()
    with lock.working_on(doomed.path):
        seen = watcher.look(None, {})["seen"]
        shutil.rmtree(doomed.path)
        assert watcher.look(None, seen)["gone"] == "There is no run 'a-run' any more."
        with pytest.raises(UserError, match="no run 'a-run' any more"):
            watcher.look("a-run", seen)


def test_a_run_of_the_same_name_begins_anew(watcher):
    first = fake_run()
    write(first, step(1), step(2), step(3))
    seen = watcher.look("a-run", {})["seen"]
    first.delete()
    second = fake_run()
    write(second, step(1, 5.0))
    view = watcher.look("a-run", seen)
    assert view["fresh"]
    assert [point[:2] for point in view["charts"]["loss"]] == [(1, 5.0)]


@pytest.mark.parametrize("jump", [-1e6, 1e6, 1e15])
def test_a_clock_that_jumps_changes_neither_order_nor_duration(watcher, jump):
    jumped = fake_run()
    working(jumped)
    write(jumped, step(1), step(2, at=1002.0 + jump), step(3))
    view = watcher.look("a-run", {})
    assert view["words"] == "training"
    assert [point[0] for point in view["charts"]["loss"]] == [1, 2, 3]
    assert dict(view["figures"])["Trained for"] == "6 s"
    assert view["eta"] == "about 5 s left"


def test_a_killed_worker_shows_its_last_lines_and_the_likely_cause(watcher):
    dead = fake_run()
    files.write_json(dead.path / "worker.json", {"pid": 2**22 + 1, "started": 1, "boot": process.boot()})
    dead.log_path.write_text("loading\nKilled in /home/someone/secret/place.py\n")
    view = watcher.look("a-run", {})
    assert view["state"] == "failed"
    assert "ran out of memory" in view["message"]
    assert view["last_lines"] == ["loading", "Killed in place.py"]
    assert view["can"] == {"stop": False, "resume": True, "delete": True, "use": False}


def test_events_of_another_version_do_no_harm(watcher):
    odd = fake_run()
    write(odd, {"event": "step"}, {"event": "sample", "time": "x"}, {"event": "validation", "step": "no"}, step(4))
    view = watcher.look("a-run", {})
    assert view["step"] == 4


def test_a_loss_that_is_no_number_is_left_out_of_the_curve(watcher):
    fake = fake_run()
    write(fake, step(1), step(2, None), step(3))
    assert [point[0] for point in watcher.look("a-run", {})["charts"]["loss"]] == [1, 3]


@pytest.mark.parametrize("name", ["../../etc", "/etc", ".", "a/b", "", "none-such", "a\x00b"])
def test_only_runs_are_found_by_name(watcher, name):
    fake_run()
    with pytest.raises(UserError, match="no run"):
        watcher.named(name)


def test_the_history_lists_all_runs_and_reads_what_has_not_changed_once(watcher, monkeypatch):
    first, second = fake_run("20260101-a"), fake_run("20260102-b")
    write(first, step(3), {"event": "finished", "time": 1.0, "step": 3, "message": "done"})
    rows = watcher.history()
    assert [(row["run"], row["state"], row["steps"]) for row in rows] == [
        ("20260102-b", "new", "0 of 8"),
        ("20260101-a", "finished", "3 of 8"),
    ]
    monkeypatch.setattr(run.Run, "state", lambda self: pytest.fail("read again"))
    assert watcher.history() == rows
    assert second.path.exists()


def test_curves_of_runs_are_laid_over_each_other(watcher):
    write(fake_run("one"), step(1, 2.0))
    write(fake_run("two"), step(1, 3.0), step(2, 1.0))
    curves = watcher.curves(["one", "gone", "two"])
    assert [(curve["run"], [point[1] for point in curve["loss"]]) for curve in curves] == [
        ("one", [2.0]),
        ("two", [3.0, 1.0]),
    ]


def test_a_run_that_cannot_be_is_refused_before_anything_is_made(home, watcher):
    actions = Actions(watcher, lambda *_: None, str)
    with pytest.raises(UserError, match="LoRA rank: must be 1 or more"):
        actions.start("smoke", {"rank": 0})
    with pytest.raises(UserError, match="no preset 'none'"):
        actions.start("none", {})
    assert run.all_runs() == []


def test_a_second_start_names_who_runs(home, watcher):
    mine = fake_run("the-first")
    with lock.working_on(mine.path), pytest.raises(UserError, match="Run the-first is training on this machine"):
        Actions(watcher, lambda *_: None, str).start("smoke", {})


def test_the_history_is_told_while_another_request_adds_to_what_is_kept(watcher, monkeypatch):
    write(fake_run("one"), step(1))
    watcher.history()
    plain, added = Path.exists, []

    def exists(self):
        if not added:
            added.append(self)
            watcher._rows[self.with_name("two")] = ((0, 0, 0, False), {})
        return plain(self)

    monkeypatch.setattr(Path, "exists", exists)
    assert [row["run"] for row in watcher.history()] == ["one"]
    assert added


def test_an_adapter_of_the_tiny_model_is_not_offered_beside_a_real_one(watcher, tmp_path):
    tried = fake_run("tried")

    def beside(model):
        return Actions(watcher, lambda *_: None, str, base=lambda: model).not_comparable(tried.name)

    assert "does not fit smollm2-135m" in beside("smollm2-135m")
    assert beside(str(tmp_path)) == ""  # a folder may hold the tiny model itself
    assert beside("") == ""  # nothing is loaded yet
