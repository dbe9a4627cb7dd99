"""Runs beside each other: which losses and scores may be compared, and which points are of one line."""

from __future__ import annotations

from dataclasses import replace

from tuning.data.chat import PYTHON_FORMAT
from tuning.presets import configure
from tuning.runs.scores import TaskScore
from tuning.views import run_table


def test_losses_of_other_tokens_are_not_compared(settings):
    config = configure("smoke", settings)
    record = {"prompt_format": {"system": "a"}}
    alike = run_table.kind_of(config, record)
    assert run_table.kind_of(replace(config, rank=2), dict(record)) == alike
    assert run_table.kind_of(replace(config, validation_rows=64), record) != alike
    assert run_table.kind_of(config, {"prompt_format": {"system": "b"}}) != alike
    former = run_table.kind_of(config, {})  # a version without prompt formats
    assert former == run_table.kind_of(config, {"prompt_format": PYTHON_FORMAT.to_dict()})


def outcome_with(name, **changes):
    usual = {"loss": None, "score": None, "asked": "", "kind": ("k",), "preset": ""}
    told = usual | changes
    return run_table.Outcome(
        name, told["loss"], None, told["score"], None, "Mine", 20, None, "", told["kind"], told["asked"], told["preset"]
    )


def test_only_scores_on_the_same_questions_choose_the_best():
    told = [
        outcome_with("a", score=0.3, asked="1"),
        outcome_with("b", score=0.2, asked="1"),
        outcome_with("c", score=0.9, asked="2"),
        outcome_with("d", score=0.8),
    ]
    assert run_table.best_of(told) == ("a", "the score on Mine of 2 runs")
    assert run_table.best_of(told[1:]) == ("", "")


def test_a_gain_on_another_adapter_is_another_loss(settings):
    config = configure("smoke", settings | {"objective": "dpo"})
    other = replace(config, from_adapter="/x")
    assert run_table.kind_of(config, {}) != run_table.kind_of(other, {})
    orpo = replace(config, objective="orpo")
    assert run_table.kind_of(orpo, {}) == run_table.kind_of(replace(orpo, from_adapter="/x"), {})


def test_a_template_is_the_same_wherever_its_file_lies(settings, tmp_path):
    config = configure("smoke", settings)
    kinds = []
    for name, text in (("a", "{{ x }}"), ("b", "{{ x }}"), ("c", "{{ y }}")):
        (tmp_path / name).write_text(text)
        kinds.append(run_table.kind_of(replace(config, chat_template=str(tmp_path / name)), {}))
    assert kinds[0] == kinds[1] != kinds[2]


def test_points_of_a_line_were_asked_the_same():
    def score(step, value, questions=5, asked=""):
        return TaskScore(step, "m", "Mine", value, 0, 1, questions, asked=asked)

    found = [score(0, 0.1, 50, "a"), score(2, 0.2, 50, "a"), score(4, 1.0, asked="b"), score(6, 0.5, asked="c")]
    assert run_table.curve(found) == {
        "Mine, 50 questions": [(0, 10.0), (2, 20.0)],
        "Mine, 5 questions": [(4, 100.0)],
        "Mine, 5 questions, asked otherwise": [(6, 50.0)],
    }
    beside = [
        TaskScore(step, name, name, 0.5, 0, 1, 9, 0.6, beside=True)
        for step, names in ((0, "g"), (2, "g"), (4, "gn"))
        for name in names
    ]
    assert run_table.curve(beside) == {"forgotten (g)": [(0, 10.0), (2, 10.0)], "forgotten (g, n)": [(4, 10.0)]}


def test_what_a_preset_says_anyway_is_not_repeated_and_no_order_is_a_difference():
    smoke, dpo = configure("smoke"), configure("quick", {"objective": "dpo", "epochs": 3.0, "max_steps": 9})
    wide = replace(smoke, rank=32, sample_every=1, target_modules=tuple(reversed(smoke.target_modules)))

    def differs(*configs):
        told = [(config, outcome_with(f"r{at}", preset=preset)) for at, (preset, config) in enumerate(configs)]
        return [run_table.words(each) for each in run_table.differing(told)]

    assert differs(("smoke", smoke), ("smoke", wide)) == ["preset smoke", "rank 32"]
    assert differs(("smoke", smoke), ("smoke", wide), ("quick", dpo)) == [
        "preset smoke", "preset smoke, rank 32", "preset quick, objective dpo, epochs 3",
    ]  # fmt: skip
    assert differs(("smoke", smoke), ("smoke", smoke)) == ["", ""]
    gone = differs(("gone", replace(smoke, rank=2)), ("smoke", wide))
    assert gone == ["preset gone, rank 2", "preset smoke, rank 32"]
