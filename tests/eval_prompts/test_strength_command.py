"""The curve of strengths: its points are the scores of those answers, 0 forgets nothing, the best one is kept."""

import json

import pytest

from eval_prompts.__main__ import main
from eval_prompts.surveys.curve import best_of, point, strengths_of
from tuning.errors import UserError


def test_the_curve_is_scored_told_and_its_best_point_kept(tiny_model_path, tiny_adapter_path, tmp_path, capsys):
    task = tmp_path / "task.yaml"
    questions = "".join(f"  - {{id: q{number}, question: Why {number}?, answer: so}}\n" for number in range(3))
    task.write_text(f"name: t\nscore: [ends]\nquestions:\n{questions}")
    pair = ["--model", str(tiny_model_path), "--adapter", str(tiny_adapter_path), "--max-new-tokens", "4"]
    out = tmp_path / "curve.json"
    kept = tmp_path / "kept"
    asked = ["strength", "--task", str(task), "--strengths", "0,0.5,1", *pair, "--json", str(out), "--keep", str(kept)]
    assert main(asked) == 0
    curve = json.loads(out.read_text())
    assert [point["strength"] for point in curve["points"]] == [0, 0.5, 1]
    forgotten = [point["forgetting"]["value"] for point in curve["points"]]
    assert forgotten[0] == 0
    assert 0 < forgotten[1] < forgotten[2]
    told = capsys.readouterr().out
    assert "<- best" in told
    assert "overlaps others" in told
    alpha = json.loads((kept / "adapter_config.json").read_text())["lora_alpha"]
    assert alpha == 8 * curve["best"]


def test_the_best_point_is_the_highest_and_of_equals_the_one_that_forgets_least():
    def point(strength, score, kl):
        return {"strength": strength, "score": {"value": score, "interval": None}, "forgetting": {"value": kl}}

    points = [point(0, 0.9, 0), point(0.5, 0.6, 0.1), point(1, 0.6, 0.2), point(1.5, 0.5, 0.3)]
    assert best_of(points)["strength"] == 0.5
    assert best_of(points[:1]) is None


def test_a_scores_interval_ends_where_scores_do():
    low, high = point(1, [1.0, 1.0, 0.0], 3, None)["score"]["interval"]
    assert 0 < low < 2 / 3 < high < 1
    assert point(1, [1.0] * 6, 6, None)["score"]["interval"][0] < 0.7  # six right answers prove no perfect score
    assert point(1, [], 3, None)["score"] is None


@pytest.mark.parametrize("wrong", ["", "a", "0.5,x", "3", "-1", "nan", ",".join(f"{n / 50}" for n in range(30))])
def test_strengths_that_are_none_are_refused(wrong):
    with pytest.raises(UserError):
        strengths_of(wrong)
