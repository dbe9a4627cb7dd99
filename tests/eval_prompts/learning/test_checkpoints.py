"""Checkpoints scored on a task by the real engine: the curve is kept with the run, and asked for once."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from eval_prompts.__main__ import main
from eval_prompts.learning.checkpoints import as_scores
from eval_prompts.scoring import run as scoring_run
from eval_prompts.scoring.statistics import Interval
from tuning.errors import UserError
from tuning.presets import configure
from tuning.runs import run, scores
from tuning.training import worker
from tuning.training.parallel import Ranks
from tuning.views.run_view import Watcher

TASK = """
name: letters
score: [{contains: e}]
settings: {max_new_tokens: 4}
questions:
""" + "".join(f"- Say {number}\n" for number in range(6))


@pytest.fixture
def trained(tmp_path, monkeypatch, tiny_model_path):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path / "home"))
    data = tmp_path / "rows.jsonl"
    rows = [{"question": f"Say {number}", "answer": "e" * (number % 5 + 1)} for number in range(40)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = {
        "model": str(tiny_model_path), "data": str(data), "max_steps": 4, "save_every": 2, "validate_every": 2,
        "sample_every": 0, "threads": 1, "learning_rate": 3e-2,
    }  # fmt: skip
    made = run.create("smoke", configure("smoke", changes), run.named_folder("mine"))
    worker.work(made, Ranks(), quiet=True)
    task = tmp_path / "letters.yaml"
    task.write_text(TASK)
    beside = tmp_path / "other.yaml"
    beside.write_text(TASK.replace("letters", "other").replace("contains: e", "contains: zz"))
    return made, ["score", "--checkpoints", "mine", "--task", str(task), "--also", str(beside), "--precision", "fp32"]


def test_every_checkpoint_is_scored_once_and_the_best_is_named(trained, capsys, monkeypatch):
    made, command = trained
    assert main(command) == 0
    told = capsys.readouterr().out
    found = scores.read(made.path)
    assert [(one.step, one.task, one.beside) for one in found] == [
        (step, task, task == "other") for step in (2, 4) for task in ("letters", "other")
    ]
    assert all(one.questions == 6 and one.base is not None for one in found)
    best = max((one for one in found if not one.beside), key=lambda one: one.score)
    assert f"Step {best.step} scored best" in told
    assert (made.path / f"checkpoints/step-{best.step:06d}/adapter/adapter_config.json").is_file()
    view = Watcher().look("mine", {})
    assert [row["step"] for row in view["scores"]["rows"]] == [2, 4]
    assert set(view["scores"]["lines"]) == {"letters", "forgotten"}

    monkeypatch.setattr(scoring_run.Runner, "run", lambda self: pytest.fail("asked again"))
    assert main(command) == 0
    assert scores.read(made.path)[0].score == found[0].score


def test_a_checkpoint_is_compared_with_the_base_on_as_many_questions_or_not_at_all():
    own, beside = (SimpleNamespace(name=name, title=name) for name in ("own", "beside"))
    told = {"own": Interval(0.5, 0.3, 0.7, 20), "beside": Interval(0.5, 0.3, 0.7, 19)}
    base = {"own": Interval(0.25, 0.1, 0.5, 20), "beside": Interval(0.75, 0.5, 0.9, 20)}
    found = as_scores(2, [own, beside], told, base, {})
    assert [(one.task, one.base) for one in found] == [("own", 0.25), ("beside", None)]
    assert scores.forgotten(found, 2) is None
    nothing = Interval(0.0, 0.0, 1.0, 0)
    assert [one.task for one in as_scores(2, [own, beside], told | {"beside": nothing}, base, {})] == ["own"]
    with pytest.raises(UserError, match="None of the questions of own could be asked at step 2"):
        as_scores(2, [own, beside], told | {"own": nothing}, base, {})


def test_what_does_not_go_together_is_refused(trained, capsys):
    _, command = trained
    for more in (["--fail-if-worse"], ["--out", "x.json"], ["--sides", "base"], ["--forgetting"]):
        assert main([*command, *more]) == 2
    assert main(["score", "--checkpoints", "nothing", "--task", command[4]]) == 2
    errors = capsys.readouterr().err
    assert errors.count("--checkpoints does not go with") == 4
    assert "There is no run 'nothing'" in errors
