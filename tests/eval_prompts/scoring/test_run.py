"""Scorings at work: killed and resumed, refused, stopped, on a full disk, with samples, and behind visitors."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from eval_prompts.__main__ import main
from eval_prompts.models.adapters import read_card
from eval_prompts.scoring import folder, plans, run
from eval_prompts.scoring.card import card_of
from eval_prompts.scoring.figures import figures_of
from eval_prompts.scoring.folder import State
from eval_prompts.scoring.ledger import key_of, unit_of
from eval_prompts.scoring.result import score_data, table_of
from eval_prompts.scoring.subject import find_subject, of_suite
from eval_prompts.tasks.catalogue import python_task
from eval_prompts.tasks.of_adapter import suite_prompt
from tests.eval_prompts.scoring.runs import TASK, answers_in, outcome, scored, subject_of
from tuning.errors import UserError
from tuning.runs import events


def test_killed_and_resumed_it_comes_to_the_same(home, task_file, lens, tiny_model_path, tiny_adapter_path):
    subjects = [subject_of(task_file)]
    whole, (state, _) = scored(lens, subjects)
    assert state is State.FINISHED
    process = subprocess.Popen(
        [sys.executable, "-m", "eval_prompts", "score", "--task", str(task_file), "--alone", "--precision", "fp32",
         "--device", "cpu", "--model", str(tiny_model_path), "--adapter", str(tiny_adapter_path)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    chance = random.Random()
    enough = chance.randrange(1, 25)
    killed = None
    while killed is None or answers_in(killed) < enough:
        assert process.poll() is None, "it was over before it was killed"
        killed = next((one for one in folder.all_scorings() if one.name != whole.name), None)
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert killed.state()[0] is State.INTERRUPTED
    with killed.events_path.open("ab") as file:
        file.write(b'{"event": "answer", "task": "letters", "numb')  # a line that it was killed in
    again = run.Runner(killed, plans.subjects_of(killed.plan()), lens)
    stop_at = chance.randrange(enough, 40)
    again.on_progress = lambda progress: again.stop() if progress.done >= stop_at else None
    assert again.run()[0] in (State.STOPPED, State.FINISHED)
    last = run.Runner(killed, plans.subjects_of(killed.plan()), lens)
    assert last.run()[0] is State.FINISHED
    assert outcome(killed) == outcome(whole), f"killed after {enough}, stopped after {stop_at}"
    assert answers_in(killed) == 40


def test_what_a_resumed_scoring_does_not_heed_is_said(task_file, lens, capsys):
    scoring, _ = scored(lens, [subject_of(task_file, limit=2)], limit=2)
    asked = ["--forgetting", "--samples", "3", "--model", "elsewhere", "--task", str(task_file)]
    for options, words in ((asked, "is not used: --task, --samples, --forgetting"), ([], "")):
        assert main(["score", "--resume", scoring.name, *options]) == 0
        told = capsys.readouterr().err
        assert words in told
        assert bool(told) == bool(words)


def test_a_task_that_has_changed_is_refused_by_name(task_file, lens):
    scoring, _ = scored(lens, [subject_of(task_file, limit=2)], limit=2)
    plans.subjects_of(scoring.plan())
    for old, new, words in (
        ("Say 1", "Say one", "its questions"),
        ("system: Write.", "system: Speak.", "its prompt"),
        ("contains: e", "contains: a", "its scorers"),
    ):
        task_file.write_text(TASK.replace(old, new))
        with pytest.raises(UserError, match=f"The task letters has changed since this scoring began \\({words}\\)"):
            plans.subjects_of(scoring.plan())
    task_file.unlink()
    with pytest.raises(UserError, match="There is no task"):
        plans.subjects_of(scoring.plan())


def test_other_models_are_refused_by_name(task_file, lens):
    subjects = [subject_of(task_file, limit=2)]
    scoring = plans.new_scoring(subjects, lens.status())
    plan = json.loads((scoring.path / "plan.json").read_text())
    for key, value, words in (
        ("fingerprints", plan["fingerprints"] | {"adapter": "0"}, "another adapter is loaded"),
        ("fingerprints", plan["fingerprints"] | {"model": "0"}, "another one is loaded"),
        ("device", "CUDA bf16", "would not be comparable"),
    ):
        (scoring.path / "plan.json").write_text(json.dumps(plan | {key: value}))
        with pytest.raises(UserError, match=words):
            run.Runner(scoring, subjects, lens).run()


def test_an_adapter_that_is_swapped_while_scoring_ends_it(task_file, lens, tiny_adapter_path, monkeypatch):
    monkeypatch.setattr(run, "ROWS_AHEAD", 2)  # some are still to be asked when the first are told
    subjects = [subject_of(task_file)]
    scoring = plans.new_scoring(subjects, lens.status())
    runner = run.Runner(scoring, subjects, lens)
    swaps = []

    def swap(progress):
        if progress.done >= 2 and not swaps:
            swaps.append(lens.reload(str(tiny_adapter_path)))

    runner.on_progress = swap
    state, message = runner.run()
    assert (state, "were changed while they were scored" in message) == (State.STOPPED, True)
    kept = {key_of(event): event["text"] for event in scoring.follow()[0] if event["event"] == "answer"}
    assert 0 < len(kept) < 40
    whole, _ = scored(lens, subjects)
    every = {key_of(event): event["text"] for event in whole.follow()[0] if event["event"] == "answer"}
    assert kept.items() <= every.items()


def test_a_full_disk_is_one_sentence_and_nothing_is_lost(task_file, lens, monkeypatch):
    subjects = [subject_of(task_file, limit=12)]
    scoring = plans.new_scoring(subjects, lens.status())
    append, full = events.append, []

    def nearly_full(path, event):
        if event["event"] == "answer" and answers_in(scoring) >= 5 and not full:
            full.append(True)
            raise OSError(errno.ENOSPC, "No space left on device")
        append(path, event)

    monkeypatch.setattr(events, "append", nearly_full)
    state, message = run.Runner(scoring, subjects, lens).run()
    assert state is State.FAILED
    assert message.startswith("The disk that holds")
    assert "resume the scoring" in message
    assert scoring.state() == (State.FAILED, message)
    assert answers_in(scoring) == 5
    assert run.Runner(scoring, subjects, lens).run()[0] is State.FINISHED
    assert answers_in(scoring) == 24


def test_a_line_that_the_disk_cuts_off_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "events.jsonl"
    events.Events(path).emit("first")
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[: len(data) // 2]))
        with pytest.raises(OSError, match="No space left"):
            events.append(path, {"event": "second"})
    events.append(path, {"event": "third"})
    assert [event["event"] for event in events.read(path)[0]] == ["first", "third"]


def test_samples_have_seeds_of_their_own_that_both_sides_share(task_file, lens):
    subjects = [subject_of(task_file, limit=3, temperature=0.9, seed=4)]
    first, _ = scored(lens, subjects, samples=3, limit=3)
    second, _ = scored(lens, subjects, samples=3, limit=3)
    answers = [event for event in first.follow()[0] if event["event"] == "answer"]
    assert len(answers) == 18
    seeds = {}
    for answer in answers:
        seeds.setdefault((answer["number"], answer["sample"]), set()).add(answer["seed"])
    assert all(len(own) == 1 for own in seeds.values())
    assert len({own.pop() for own in seeds.values()}) == 9
    assert len({answer["text"] for answer in answers if answer["side"] == "base"}) > 5
    assert outcome(first) == outcome(second)
    assert outcome(first)["settings"]["temperature"] == 0.9
    figures = outcome(first)["statistics"][0]
    assert figures["sides"]["tuned"]["pass_at"].keys() == {"1"}
    assert figures["sides"]["tuned"]["same_text"] is not None
    with pytest.raises(UserError, match="Samples of greedy answers are all the same"):
        plans.new_scoring([subject_of(task_file)], lens.status(), samples=3)


def test_samples_of_a_conversation_are_not_mixed(home, lens, monkeypatch):
    """A portion holds several samples of it: each later turn goes on from its own sample's answer."""
    path = home / "talk.yaml"
    path.write_text(
        "name: talk\nscore: {contains: {text: e}}\nsettings: {max_new_tokens: 4, temperature: 1.0}\nquestions:\n"
        "- {id: a, turns: [one, two]}\n- {id: b, turns: [three, four]}\n"
    )
    asked, ask = [], lens.ask

    def noted(prompts, *rest, **more):
        asked.append(prompts)
        return ask(prompts, *rest, **more)

    monkeypatch.setattr(lens, "ask", noted)
    subjects = [subject_of(path)]
    _, (state, _) = scored(lens, subjects, samples=3)
    assert state is State.FINISHED
    (portion,) = asked
    assert [prompt.after for prompt in portion] == [None, 0, None, 2, None, 4, None, 6, None, 8, None, 10]
    seeds = [unit_of(subjects[0], number, sample).seed for sample in range(3) for number in range(4)]
    assert [prompt.seed for prompt in portion] == seeds


def test_the_time_left_goes_by_written_answers_alone(task_file, facts, lens):
    subjects = [subject_of(facts, 4), subject_of(task_file, 2)]
    scoring = plans.new_scoring(subjects, lens.status())
    runner, told = run.Runner(scoring, subjects, lens), []
    runner.on_progress = told.append
    assert runner.run()[0] is State.FINISHED
    writing = next(at for at, progress in enumerate(told) if progress.seconds_left is not None)
    assert told[writing - 1].done == 6, "three questions of both sides are read, and no pace is told by them"
    assert told[-1].seconds_left == 0


def test_a_question_too_long_for_the_model_is_left_out_and_counted(home, lens):
    path = home / "long.yaml"
    rows = [f'- {{question: "{"word " * (2 if number != 1 else 900)}", answer: e}}\n' for number in range(4)]
    path.write_text("name: long\nscore: contains\nsettings: {max_new_tokens: 4}\nquestions:\n" + "".join(rows))
    scoring, (state, _) = scored(lens, [subject_of(path)])
    assert state is State.FINISHED
    told = outcome(scoring)
    assert told["statistics"][0]["left_out"] == {"could not be asked": 1}
    assert "tokens long" in told["questions"][1]["unasked"]
    assert any("1 question left out" in note for note in told["card"]["notes"])


def test_a_suite_file_is_asked_in_a_prompt_and_told_as_ever(home, lens):
    rows = [{"task_id": n // 2, "text": f"Add {n}.", "test_list": [f"assert add({n}) == {n}"]} for n in range(4)]
    path = home / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    python = python_task()
    subject = of_suite(path, python, replace(python.settings, max_new_tokens=4))
    assert [question.id for question in subject.questions] == ["0", "0#2", "1", "1#2"]
    assert "assert add(0) == 0" in subject.prompts(subject.questions[:1], [None])[0].messages[-1]["content"]
    scoring, (state, _) = scored(lens, [subject])
    told = outcome(scoring)
    assert state is State.FINISHED
    assert (told["n"], told["base"]["passed"], told["p_value"], told["only_tuned"]) == (4, 0, 1.0, [])
    path.write_text(path.read_text().replace("== 2", "== 3"))
    with pytest.raises(UserError, match="has changed since"):
        plans.subjects_of(scoring.plan())


@pytest.mark.parametrize("adapter", ["starter", "starter-json", None])
def test_a_suite_is_asked_in_the_prompt_that_the_adapter_records(home, adapter):
    path = home / "own.jsonl"
    path.write_text(json.dumps({"task_id": 1, "text": "Add.", "test_list": ["assert add(1) == 1"]}) + "\n")
    prompt, said = suite_prompt(read_card(adapter) if adapter else None)
    subject = of_suite(path, prompt, prompt.settings)
    (question,) = subject.questions
    system = subject.prompts([question], [None])[0].messages[0]["content"]
    if adapter == "starter-json":
        assert system.startswith("Read the message")
        assert "the adapter bookings-json was trained in" in said
    else:
        assert system == python_task().format.system
        assert "the Python task's prompt" in said
    again = find_subject(subject.source, prompt.settings, None)
    assert again.fingerprints() == subject.fingerprints()


def test_one_works_on_it_at_a_time_and_what_runs_is_not_deleted(task_file, lens):
    subjects = [subject_of(task_file, limit=1)]
    scoring = plans.new_scoring(subjects, lens.status(), limit=1)
    with scoring.work():
        assert scoring.state()[0] is State.RUNNING
        with pytest.raises(UserError, match="is running already"):
            run.Runner(scoring, subjects, lens).run()
        with pytest.raises(UserError, match="stop it first"):
            scoring.delete()
    scoring.delete()
    with pytest.raises(UserError, match="There is no scoring"):
        folder.find(scoring.name)


def test_one_side_alone_has_scores_and_no_verdict(task_file, lens):
    scoring, _ = scored(lens, [subject_of(task_file, limit=4)], sides=("base",), limit=4)
    told = outcome(scoring)
    assert told["card"]["standing"] == "one side alone"
    assert told["statistics"][0]["difference"] is None
    assert {answer["side"] for answer in told["answers"]} == {"base"}


def test_what_is_kept_is_what_was_computed(task_file, lens):
    scoring, _ = scored(lens, [subject_of(task_file, limit=6)], limit=6)
    table = table_of(scoring)
    figures = figures_of(table)
    assert score_data(table, figures, card_of(figures)) == json.loads((scoring.path / "score.json").read_text())
    assert (scoring.path / "score.csv").read_text().count("letters,") >= 12
    page = (scoring.path / "report.html").read_text()
    assert "system prompt “Write.”" in page
    assert lens.status().fingerprint in page
