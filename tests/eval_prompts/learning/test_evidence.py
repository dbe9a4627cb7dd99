"""The evidence of an adapter: from a scoring into its record, and from its record into one line; else nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from eval_prompts.learning import checkpoints, evidence
from eval_prompts.learning import page as learning
from eval_prompts.learning.blind_round import blind_round
from eval_prompts.learning.passing import passing_settings
from eval_prompts.models.adapter_source import STARTER
from eval_prompts.models.adapters import AdapterCard
from eval_prompts.scoring.card import card_of
from eval_prompts.scoring.figures import figures_of
from eval_prompts.scoring.result import score_data
from eval_prompts.tasks.catalogue import find_task, python_task
from eval_prompts.tasks.choice import TaskChoice
from tests.eval_prompts.scoring.tables import answer, table_of
from tuning.data.chat import PYTHON_FORMAT, PromptFormat, prompt_messages
from tuning.errors import UserError
from tuning.exports.strength import note_strength
from tuning.models.weights import fingerprint
from tuning.presets import configure
from tuning.runs import run, scores

PASSES = [(False, True), (False, True), (True, True), (True, False)]


def kept(tmp_path, found):
    (tmp_path / "run_record.json").write_text(json.dumps({"steps": 3, "evidence": found}))
    return evidence.read(tmp_path)


def test_a_scoring_becomes_one_line_with_its_examples(tmp_path):
    found = evidence.of_table(table_of({"mbpp": PASSES, "general": [(True, True)] * 3 + [(True, False)]}))
    told = kept(tmp_path, found)
    assert told["line"] == (
        "On 4 questions of Mbpp: 2 \u2192 3 solved; answers that end by themselves 100% \u2192 100%; "
        "General -25.0 points."
    )
    assert [one["kind"] for one in told["examples"]] == ["gain", "tie", "loss"]
    assert "number 0" in told["examples"][0]["question"]
    assert "number 3" in told["examples"][2]["question"]
    assert told["how"][0].startswith(
        "Base and adapter were asked the same questions on 2023-11-14 (m, CPU fp32; greedily"
    )
    assert "p = " in told["how"][1]


def test_examples_are_not_taken_from_the_file_of_another_where_there_are_own_ones(tmp_path):
    table = table_of({"mbpp": PASSES, "general": PASSES, "own": PASSES[2:]})
    own = table.plan["tasks"]
    own[0] |= {"source": {"suite": "mbpp.jsonl", "task": "python"}, "system": "Code!"}
    own[1] |= {"source": {"task": "general"}, "system": None}
    own[2] |= {"source": {"task": "own"}, "system": "Code!"}
    told = kept(tmp_path, evidence.of_table(table))
    assert [one["kind"] for one in told["examples"]] == ["tie", "loss"]
    assert told["how"][-1].startswith("The examples are the first of the questions of Own, asked in the same way, that")
    own[2]["show"] = False
    assert evidence.of_table(table)["examples_of"] == "Mbpp"


def test_examples_are_shown_where_questions_go_out_in_the_prompt_they_were_measured_in(tmp_path):
    table = table_of({"mbpp": PASSES})
    table.plan["tasks"][0]["system"] = "Code!"
    found = evidence.of_table(table)
    kept(tmp_path, found)
    assert len(evidence.read(tmp_path, asked=PromptFormat("Code!"))["examples"]) == 3
    other = evidence.read(tmp_path, asked=PromptFormat("Translate!"))
    assert other["examples"] == []
    assert other["how"][-1].endswith("so none is shown: the task that they are of (Mbpp) shows them.")
    del found["prompt"]  # a record of before: the Python task's, as no task has that title
    kept(tmp_path, found | {"hidden": False})
    assert len(evidence.read(tmp_path, asked=PYTHON_FORMAT)["examples"]) == 3
    assert evidence.read(tmp_path, asked=PromptFormat("Code!"))["examples"] == []


def test_the_prompt_asked_in_is_the_tasks_or_where_none_was_chosen_the_adapters(tmp_path):
    own = card(tmp_path, recorded=True, prompt_format=PromptFormat("Own.").to_dict())
    assert learning.asked_in(TaskChoice(), "", own) == PromptFormat("Own.")
    assert learning.asked_in(TaskChoice(), "json", own) == find_task("json").format
    assert learning.asked_in(TaskChoice(find_task("json")), "", own) == find_task("json").format
    assert learning.asked_in(TaskChoice(), "gone", own) == PYTHON_FORMAT


def test_scores_without_passing_are_told_as_scores(tmp_path):
    told = kept(tmp_path, evidence.of_table(table_of({"chrf": [(0.25, 0.5), (0.25, 0.5)]})))
    assert told["line"].startswith("On 2 questions of Chrf: score 25.0 \u2192 50.0;")
    assert [one["kind"] for one in told["examples"]] == ["gain"]


def test_questions_of_a_hidden_task_stay_out_of_the_record(tmp_path):
    table = table_of({"mbpp": PASSES})
    table.plan["tasks"][0]["show"] = False
    found = evidence.of_table(table)
    assert "number" not in json.dumps(found)
    told = kept(tmp_path, found)
    assert told["examples"] == []
    assert told["how"][-1] == "Its questions are not open to visitors, so none is shown."


def test_a_record_that_does_not_say_shows_examples_of_tasks_that_are_open(tmp_path, monkeypatch):
    table = table_of({"mbpp": PASSES})
    found = evidence.of_table(table)
    assert found.pop("hidden") is False
    hidden, unknown = (
        f"Its questions are not {why} to visitors, so none is shown." for why in ("open", "known to be open")
    )
    for tasks, said in (([True], ""), ([False], hidden), ([True, False], hidden), ([], unknown)):
        listed = [replace(python_task(), title="Mbpp", show=show) for show in tasks]
        monkeypatch.setattr(evidence, "all_tasks", lambda listed=listed: (listed, []))
        told = kept(tmp_path, found)
        assert len(told["examples"]) == (0 if said else 3)
        assert said in told["how"] if said else "none is shown" not in told["how"][-1]


@pytest.mark.parametrize("questions", [3, 15_000, 600_000])
def test_whole_counts_stay_whole_however_many_questions(questions):
    assert evidence.solved_words(round(2 / 3, 6), questions) == f"{questions * 2 // 3:,}"
    assert evidence.solved_words(round(0.5 / 3, 6), 3) == "0.5"


def test_each_side_ends_of_what_it_wrote_and_solves_of_what_is_compared(tmp_path):
    """One question goes by likelihood and one has an answer of the base alone: neither is counted among the others."""
    table = table_of({"mbpp": PASSES})
    table.add([answer("mbpp", 2, side, True, state="read") for side in ("base", "tuned")])
    table.add([answer("mbpp", 3, "tuned", False, state="capped")])
    del table.tasks["mbpp"].answers[0, "tuned"]
    found = evidence.of_table(table)
    assert (found["base_written"], found["tuned_written"]) == (3, 2)
    assert kept(tmp_path, found)["line"] == (
        "On 3 questions of Mbpp: 2 \u2192 2 solved; answers that end by themselves 100% \u2192 50%."
    )
    table.add([answer("mbpp", number, "base", True, state="read") for number in range(4)])
    assert kept(tmp_path, evidence.of_table(table))["line"] == "On 3 questions of Mbpp: 3 \u2192 2 solved."
    counts = score_data(table, figures_of(table), card_of(figures_of(table)))["table"]
    assert [(counts[side]["answers"], counts[side]["written"]) for side in ("base", "tuned")] == [(4, 0), (3, 2)]


def test_an_older_record_is_still_read(tmp_path):
    found = evidence.of_table(table_of({"mbpp": PASSES}))
    older = {name: value for name, value in found.items() if not name.endswith("_written")} | {"answers": 4}
    assert kept(tmp_path, older)["line"] == kept(tmp_path, found)["line"]


def test_one_side_alone_is_no_evidence():
    assert evidence.of_table(table_of({"mbpp": PASSES}, sides=("tuned",))) is None


@pytest.mark.parametrize("record", ["{}", "[]", "torn", '{"evidence": 3}', '{"evidence": {"task": "x"}}'])
def test_where_no_evidence_is_nothing_is_said(tmp_path, record):
    (tmp_path / "run_record.json").write_text(record)
    assert evidence.read(tmp_path) == {}
    assert evidence.read(tmp_path / "nowhere") == {}
    assert evidence.read(None) == {}


def described(folder, alpha=8.0, weights=b"factors"):
    """An adapter of which the digests alone are looked at."""
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps({"r": 8, "lora_alpha": alpha}))
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return folder


class Scored:
    """A finished scoring of the adapter that lies in a folder, perhaps at another strength."""

    name = "scored"

    def __init__(self, folder, strength=""):
        self.table = table_of({"mbpp": PASSES})
        prints = {"model": "m1", "adapter": fingerprint(folder) + strength, "against": ""}
        self.table.plan |= {"fingerprints": prints, "against": None}

    def plan(self):
        return self.table.plan


def test_evidence_is_told_of_the_weights_and_base_it_was_measured_on_alone(tmp_path, monkeypatch):
    adapter = described(tmp_path / "adapter")
    (adapter / "run_record.json").write_text('{"steps": 3, "base_fingerprint": "m1"}')
    monkeypatch.setattr(evidence, "table_of", lambda scoring: scoring.table)
    evidence.keep(Scored(adapter), adapter)
    line = "On 4 questions of Mbpp"
    assert evidence.read(adapter, "m1", "CPU fp32")["line"].startswith(line)
    assert "Here it answers on CPU int8, where an answer may differ." in evidence.read(adapter, "m1", "CPU int8")["how"]
    assert evidence.read(adapter, "m2")["line"] == evidence.OTHER_BASE
    for altered in ({"alpha": 4.0}, {"weights": b"trained on"}):
        described(adapter, **altered)
        assert evidence.read(adapter, "m1") == {"line": evidence.ALTERED, "how": [], "examples": []}
    described(adapter)
    record = json.loads((adapter / "run_record.json").read_text())
    del record["evidence"]["of"]  # of an earlier version
    (adapter / "run_record.json").write_text(json.dumps(record))
    assert evidence.read(adapter, "m1")["line"].startswith(line)
    assert evidence.read(adapter, "m2")["line"] == evidence.OTHER_BASE
    note_strength(adapter, 0.5)  # an export that is half as strong
    assert evidence.read(adapter, "m1") == {}


def test_a_scoring_is_kept_with_the_adapter_that_was_scored_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path))
    made = run.create("smoke", configure("smoke", {}), run.named_folder("mine"))
    described(made.adapter)
    (made.adapter / "run_record.json").write_text('{"steps": 3}')
    for module in (evidence, checkpoints):
        monkeypatch.setattr(module, "table_of", lambda scoring: scoring.table)
    checkpoints.keep_with_run(Scored(made.adapter, "@0.5"), made.adapter)
    earlier = Scored(made.adapter)
    described(made.adapter, weights=b"trained on meanwhile")
    checkpoints.keep_with_run(earlier, made.adapter)
    assert (scores.read(made.path), evidence.read(made.adapter)) == ([], {})
    checkpoints.keep_with_run(Scored(made.adapter), made.adapter)
    assert [one.step for one in scores.read(made.path)] == [3]
    assert evidence.read(made.adapter)["line"]


def test_an_adapters_own_template_is_found_with_it_and_not_where_it_was_trained(tmp_path):
    config = {"data": "python_qa", "chat_template": "/gone/own.jinja"}
    (tmp_path / "run_record.json").write_text(json.dumps({"config": config}))
    assert passing_settings(python_task(), card(tmp_path), "m")["chat_template"] == "/gone/own.jinja"
    (tmp_path / "chat_template.jinja").write_text("x")
    assert "chat_template" not in passing_settings(python_task(), card(tmp_path), "m")


def card(path, **changes):
    return AdapterCard("mine", path, "base", 8, 8.0, ("q_proj",), **changes)


def test_what_passes_is_trained_on_the_adapters_own_questions(tmp_path):
    config = {"data": "python_qa", "limit": 40, "rank": 64, "gone_setting": 1}
    (tmp_path / "run_record.json").write_text(json.dumps({"config": config}))
    settings = passing_settings(python_task(), card(tmp_path), "smollm2-135m")
    assert (settings["data"], settings["limit"], settings["checked_by"]) == ("python_qa", 40, None)
    assert "rank" not in settings
    assert configure("quick", settings).objective == "verified"
    task = tmp_path / "own.yaml"
    task.write_text("name: own\nscore: [{contains: e}]\nquestions: [x]\n")
    assert passing_settings(find_task(str(task)), card(tmp_path), "m")["checked_by"] == str(task)


def test_what_cannot_teach_is_refused(tmp_path):
    with pytest.raises(UserError, match="put one on the tuned side first"):
        passing_settings(python_task(), None, "m")
    with pytest.raises(UserError, match="does not say what it was trained on"):
        passing_settings(python_task(), card(tmp_path), "m")


def test_a_blind_round_asks_what_was_held_out(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path / "home"))
    pairs = tmp_path / "votes.jsonl"
    said = [
        {
            "prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": f"Question {number}?"}],
            "chosen": [{"role": "assistant", "content": "yes"}],
            "rejected": [{"role": "assistant", "content": "no"}],
        }
        for number in range(40)
    ]
    more = [one | {"chosen": [{"role": "assistant", "content": "indeed"}]} for one in said]
    pairs.write_text("".join(json.dumps(one) + "\n" for one in (*said, *more)))
    made = run.create("quick", configure("quick", {"data": str(pairs), "objective": "dpo"}), run.named_folder("My.Run"))
    told = blind_round(made)
    task = find_task(told["task"])
    assert 1 <= len(task.questions) == told["questions"] < 20
    assert len({question.text for question in task.questions}) == told["questions"]
    assert f"({told['questions']} held-out rows ask one of them again.)" in task.description
    first = task.prompt(task.questions[0]).messages
    assert first[0]["content"] == "Be kind."
    assert first[1]["content"].startswith("Question ")
    for one in said:  # as the Python task asks: the prompt stays the same, and the question is what was typed
        one["prompt"] = prompt_messages(one["prompt"][1]["content"])
    pairs.write_text("".join(json.dumps(one) + "\n" for one in said))
    task = find_task(blind_round(made)["task"])
    assert task.questions[0].text.startswith("Question ")
    assert list(task.prompt(task.questions[0]).messages) == prompt_messages(task.questions[0].text)
    pairs.write_text(json.dumps(said[0]) + "\n" + json.dumps(said[1]) + "\n")
    held = {prompt_messages(one.text)[1]["content"] for one in task.questions}
    train_alone = next(one for one in said if one["prompt"][1]["content"] not in held)
    pairs.write_text(json.dumps(train_alone) + "\n")
    with pytest.raises(UserError, match=r"My\.Run held out no question for a blind round"):
        blind_round(made)


def test_the_starters_evidence_is_of_the_weights_that_are_shipped():
    record = json.loads((STARTER / "run_record.json").read_text(encoding="utf-8"))
    assert record["evidence"]["of"]["adapter"] == evidence.mark(STARTER)
    told = evidence.read(STARTER, record["base_fingerprint"])
    assert told["line"].startswith(f"On {record['evidence']['questions']} questions of ")
