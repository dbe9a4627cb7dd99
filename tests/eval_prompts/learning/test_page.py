"""What the page starts: a run goes on from the adapter that votes and scorings are about, and from no other, in the way
it was asked; and whose votes count afterwards."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from eval_prompts.learning import evidence
from eval_prompts.learning.page import evidence_of, preferred_after, train_on_passing, train_on_votes
from eval_prompts.models.adapters import AdapterCard
from eval_prompts.showing.shown_pairs import ShownPairs
from eval_prompts.tasks.choice import TaskChoice
from eval_prompts.votes.lesson import Lesson
from tests.eval_prompts.scoring.tables import table_of
from tests.eval_prompts.votes.kept_pairs import answered, shown, voted
from tuning.data.cleaning import row_id, twin_id
from tuning.errors import UserError
from tuning.models.weights import Choices, fingerprint
from tuning.presets import configure
from tuning.runs import run


def card(path, fingerprint, **changes):
    return AdapterCard("mine", path, "base", 8, 8.0, ("q_proj",), fingerprint=fingerprint, **changes)


def lens_with(path, fingerprint, choices=None, against=None, **changes):
    """A lens on which an adapter answers."""
    adapter = card(path, fingerprint, **changes)
    status = SimpleNamespace(adapter=adapter, against=against, model="smollm2-135m", fingerprint="f", device="CPU")
    return SimpleNamespace(status=lambda: status, loader=SimpleNamespace(choices=choices))


class Started:
    """Takes what is started."""

    def start(self, preset, settings):
        self.settings = settings
        return SimpleNamespace(name="new-run")


def test_a_scoring_teaches_the_adapter_that_was_scored(tmp_path):
    (tmp_path / "run_record.json").write_text(json.dumps({"config": {"data": "python_qa"}}))
    plan = {
        "tasks": [{"source": {"task": "python"}}],
        "adapter": {"name": "mine"},
        "fingerprints": {"model": "f", "adapter": "a", "against": ""},
    }
    scorings, training = SimpleNamespace(board=lambda name: SimpleNamespace(plan=plan)), Started()
    with pytest.raises(UserError, match="This scoring is of mine, which does not answer now"):
        train_on_passing("s", lens_with(tmp_path, "another"), scorings, training)
    with pytest.raises(UserError, match="put the strength back to 1, and score that"):
        train_on_passing("s", lens_with(tmp_path, "a", strength={"strength": 2}), scorings, training)
    assert train_on_passing("s", lens_with(tmp_path, "a"), scorings, training) == "new-run"
    assert training.settings["from_adapter"] == str(tmp_path)


def test_votes_teach_the_adapter_that_they_are_about(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path))
    row = {"prompt": [{"role": "user", "content": "Q"}], "chosen": [], "rejected": []}
    found, training = Lesson("mine", "f+a", (row,), 1, 1, 1, {}, None, None), Started()
    with pytest.raises(UserError, match="These votes are about mine, which does not answer now"):
        train_on_votes(found, lens_with(tmp_path, "another"), training)
    assert train_on_votes(found, lens_with(tmp_path, "a"), training) == "new-run"
    assert training.settings["from_adapter"] == str(tmp_path)


def test_votes_train_in_the_way_in_which_they_were_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path))
    row = {"prompt": [{"role": "user", "content": "Q"}], "chosen": [], "rejected": []}
    about, training = Lesson("mine", "f+a", (row,), 1, 1, 1, {}, None, None), Started()
    template = tmp_path / "own.jinja"
    template.write_text("x")
    monkeypatch.chdir(tmp_path)
    for choices, asked in (
        (None, {}),
        (Choices("plain", False), {"chat_template": "plain", "thinking": "off"}),
        (Choices("own.jinja", True), {"chat_template": str(template), "thinking": "on"}),
    ):
        train_on_votes(about, lens_with(tmp_path, "a", choices), training)
        told = {name: training.settings[name] for name in ("chat_template", "thinking") if name in training.settings}
        assert told == asked


def test_an_adapter_at_another_strength_is_another_adapter(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path))
    louder = lens_with(tmp_path, "a@2", strength={"strength": 2})
    with pytest.raises(UserError, match="put the strength back to 1"):
        train_on_votes(Lesson("mine", "f+a@2", ({},), 1, 1, 1, {}, None, None), louder, Started())
    measured = evidence.of_table(table_of({"mbpp": [(False, True)]}))
    (tmp_path / "run_record.json").write_text(json.dumps({"evidence": measured}))
    assert evidence_of(louder, TaskChoice())(None) == {}
    assert evidence_of(lens_with(tmp_path, "a"), TaskChoice())(None) != {}


def test_people_are_asked_what_a_run_did_not_learn_from(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path))
    made = run.create("smoke", configure("smoke", {}), run.named_folder("after"))
    learned = [row_id(f"Question {number}?", "") for number in (1, 2)]
    (made.path / "rows.json").write_text(json.dumps({"train": [learned[0], twin_id(learned[1], "f" * 16)]}))
    votes = [
        voted("left", ident=f"p{number}", question=f"Question {number}?", blind=True, left="tuned")
        for number in (1, 2, 3, 4)
    ]
    votes = [
        replace(one, pair=replace(one.pair, settings={"messages": [{"role": "user", "content": one.pair.question}]}))
        for one in votes
    ]

    def words(given):
        return preferred_after(made, SimpleNamespace(votes_on=lambda tuned, base: given))

    assert "after wins 2 of 2 decided blind votes" in words(votes)
    assert "Left out: 2 votes on questions that it learned from." in words(votes)
    assert words(votes[:2]) == "People have voted on nothing but questions that it learned from."
    assert words([]) == ""


def test_what_people_prefer_after_a_run_is_told_by_name_whoever_answers_now(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path))
    adapter = tmp_path / "before"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"r": 4, "target_modules": ["q_proj"]}')
    (adapter / "adapter_model.safetensors").write_bytes(b"before")
    settings = {"objective": "dpo", "data": "votes.jsonl", "from_adapter": str(adapter)}
    made = run.create("quick", configure("quick", settings), run.named_folder("after"))
    made.adapter.mkdir()
    (made.adapter / "adapter_model.safetensors").write_bytes(b"after")
    (made.adapter / "run_record.json").write_text(json.dumps({"base_fingerprint": "b"}))
    pairs = ShownPairs(f"sqlite:///{tmp_path / 'ratings.sqlite'}")
    assert preferred_after(made, pairs) == ""
    sides = {"base": ("before", adapter), "tuned": ("after", made.adapter)}
    told = {side: answered(name, fingerprint=f"b+{fingerprint(path)}") for side, (name, path) in sides.items()}
    pairs.ratings.add_pair(shown("p", blind=True, **told))
    pairs.ratings.vote("p", "somebody", "right")
    assert preferred_after(made, pairs).startswith(
        "Not enough blind votes to tell: after wins 1 of 1 decided blind vote"
    )
    pairs.close()
