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

from eval_prompts.asking import ask_task
from eval_prompts.lens.likelihood import likelihoods
from eval_prompts.lens.token_tree import Choices
from eval_prompts.models.adapters import read_card
from eval_prompts.scoring import folder, forgetting, plans, reading, run
from eval_prompts.scoring.card import card_of
from eval_prompts.scoring.figures import figures_of
from eval_prompts.scoring.folder import Scoring, State
from eval_prompts.scoring.result import score_data, table_of
from eval_prompts.scoring.subject import find_subject, named_subject, of_suite
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.local import LocalLoader
from eval_prompts.tasks.catalogue import python_task
from eval_prompts.tasks.of_adapter import suite_prompt
from tuning.errors import UserError
from tuning.runs import events

TASK = """
name: letters
system: Write.
score: [{contains: e}, no_repeats]
settings: {max_new_tokens: 10}
questions:
""" + "".join(f'- {{question: "Say {number}", answer: x, tags: [t{number % 2}]}}\n' for number in range(20))


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LORA_LENS_DATA", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def task_file(home):
    path = home / "letters.yaml"
    path.write_text(TASK)
    return path


@pytest.fixture(scope="module")
def lens(tiny_model_path, tiny_adapter_path):
    with Lens(LocalLoader(str(tiny_model_path), str(tiny_adapter_path), precision="fp32", device="cpu")) as loaded:
        loaded.start()
        loaded.wait_ready()
        yield loaded


def subject_of(path, limit=None, **settings):
    return named_subject(str(path), lambda task: replace(task.settings, **settings), limit)


def scored(lens, subjects, **options):
    """A new scoring, worked to its end."""
    scoring = plans.new_scoring(subjects, lens.status(), **options)
    return scoring, run.Runner(scoring, subjects, lens).run()


def outcome(scoring: Scoring):
    """What a scoring came to, but for when it was made."""
    return json.loads((scoring.path / "score.json").read_text()) | {"created": None}


def answers_in(scoring: Scoring) -> int:
    return sum(event["event"] == "answer" for event in scoring.follow()[0])


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


def test_an_adapter_that_is_swapped_while_scoring_ends_it(task_file, lens, tiny_adapter_path):
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
    kept = {run.key_of(event): event["text"] for event in scoring.follow()[0] if event["event"] == "answer"}
    assert 0 < len(kept) < 40
    whole, _ = scored(lens, subjects)
    every = {run.key_of(event): event["text"] for event in whole.follow()[0] if event["event"] == "answer"}
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


CHOICES = """
name: facts
settings: {max_new_tokens: 6}
questions:
""" + "".join(
    f'- {{id: q{number}, question: "Which of the {number}?", options: [red, green, "a blue one"], answer: green, '
    f"tags: [t{number % 2}], checks: [{check}]}}\n"
    for number in range(12)
    for check in ["{choice: {by: likelihood}}" + (", ends" if number % 4 == 0 else "")]
)


@pytest.fixture
def facts(home):
    path = home / "facts.yaml"
    path.write_text(CHOICES)
    return path


def read_events(scoring):
    return [event for event in scoring.follow()[0] if event["event"] == "answer" and event["state"] == "read"]


def test_what_goes_by_likelihood_is_read_and_not_written(facts, lens, tiny_pair):
    subjects = [subject_of(facts)]
    scoring, (state, _) = scored(lens, subjects)
    assert state is State.FINISHED
    events_ = read_events(scoring)
    assert len(events_) == 18  # nine questions by two sides; three are written as well
    question = subjects[0].questions[1]
    prompt = subjects[0].task.prompt(question)
    for event in (event for event in events_ if event["number"] == 1):
        known = dict(
            likelihoods(tiny_pair, event["side"], [Choices(prompt.messages, subjects[0].task.wanted(question))])
        )
        assert {one["text"]: one["logprob"] for one in event["likelihoods"]} == pytest.approx(
            {text.text: one.logprob for text, one in known[0].items()}, abs=1e-3
        )
        best = max(event["likelihoods"], key=lambda one: one["logprob"])["text"]
        assert event["verdict"] == ("passes" if best == "green" else "fails")
    figures = figures_of(table_of(scoring))
    side = figures.tasks[0].sides["tuned"]
    assert (side.answers, side.written) == (12, 3)
    assert [habit.of for habit in figures.habits if habit.name == "empty"] == [3]
    assert {part.tag: part.questions for part in figures.tasks[0].parts} == {"t0": 6, "t1": 6}
    both = next(event for event in scoring.follow()[0] if event["event"] == "answer" and event["number"] == 0)
    assert [score["scorer"] for score in both["scores"]] == ["choice", "ends"]
    assert both["scores"][0]["verdict"] in ("passes", "fails")
    assert "nothing written" in (scoring.path / "summary.md").read_text()


@pytest.mark.parametrize("after", [1, 2])
def test_stopped_while_reading_it_comes_to_the_same(facts, lens, monkeypatch, after):
    monkeypatch.setattr(reading, "AT_ONCE", 4)
    subjects = [subject_of(facts)]
    whole, _ = scored(lens, subjects)
    scoring = plans.new_scoring(subjects, lens.status())
    runner = run.Runner(scoring, subjects, lens)
    seen = []
    runner.on_progress = lambda progress: seen.append(1) or (len(seen) > after and runner.stop())
    assert runner.run()[0] is State.STOPPED
    assert 0 < len(read_events(scoring)) < 18
    again = run.Runner(scoring, plans.subjects_of(scoring.plan()), lens)
    assert again.run()[0] is State.FINISHED
    assert len(read_events(scoring)) == 18
    assert outcome(scoring) == outcome(whole)


class Elsewhere:
    """A pair on other machines, as far as reading goes: there is none in this process."""

    pair = None

    def __init__(self, lens):
        self._lens = lens

    def __getattr__(self, name):
        return getattr(self._lens, name)


def test_models_on_other_machines_are_not_read_and_that_is_said(facts, lens):
    subjects = [subject_of(facts)]
    scoring = plans.new_scoring(subjects, lens.status(), figures=["forgetting"])
    assert run.Runner(scoring, subjects, Elsewhere(lens)).run()[0] is State.FINISHED
    card = card_of(figures_of(table_of(scoring)))
    assert any("9 questions left out (likelihoods are read of models in this process" in note for note in card.notes)
    assert any("neutral prose: whether it is forgotten is not known" in line for line in card.kept)
    only = replace(subjects[0], questions=subjects[0].questions[1:4])
    alone = plans.new_scoring([only], lens.status())
    assert run.Runner(alone, [only], Elsewhere(lens)).run() == (
        State.FAILED,
        "Nothing of this can be scored: likelihoods are read of models in this process alone: endpoints on other "
        "machines give none.",
    )


def test_a_question_that_does_not_fit_is_left_out_while_reading(home, lens):
    path = home / "long.yaml"
    asked = "".join(f'- {{question: "{text}", options: [a, b], answer: a}}\n' for text in ("x" * 600, "Short"))
    path.write_text(f"name: long\nscore: {{choice: {{by: likelihood}}}}\nquestions:\n{asked}")
    scoring, (state, _) = scored(lens, [subject_of(path)])
    assert state is State.FINISHED
    table = table_of(scoring)
    assert list(table.tasks["long"].unasked) == [0]
    assert "the context has room for 0" in table.tasks["long"].unasked[0]
    assert any("1 question left out (could not be asked)" in note for note in card_of(figures_of(table)).notes)


def test_the_reference_is_measured_in_nats(home, lens):
    path = home / "told.yaml"
    path.write_text(
        "name: told\nscore: reference\nquestions:\n"
        + "".join(f"- {{question: Say {at}, answer: w{at}}}\n" for at in range(6))
    )
    scoring, (state, _) = scored(lens, [subject_of(path)])
    assert state is State.FINISHED
    task = figures_of(table_of(scoring)).tasks[0]
    assert task.metric == "score"
    event = read_events(scoring)[0]
    nats = -event["likelihoods"][0]["logprob"] / event["likelihoods"][0]["tokens"]
    assert event["score"] == pytest.approx(2.718281828**-nats)
    assert f"{nats:.2f} nats a token" in event["scores"][0]["reason"]


def test_what_else_is_greedy_is_asked_once(task_file, facts, lens):
    subjects = [subject_of(task_file, 3, temperature=0.7), subject_of(facts, 2)]
    scoring, (state, _) = scored(lens, subjects, samples=3)
    assert state is State.FINISHED
    table = table_of(scoring)
    assert (table.done, table.total) == (22, 22)
    assert len(table.tasks["letters"].of(0, "base")) == 3
    assert len(table.tasks["facts"].of(1, "base")) == 1


def test_what_is_forgotten_is_measured_once_and_stands_on_the_card(task_file, lens, monkeypatch):
    monkeypatch.setattr(forgetting, "passages", lambda name: ["A passage.", "Another one.", "A third."])
    subjects = [subject_of(task_file, 2)]
    scoring, _ = scored(lens, subjects, figures=["forgetting"])
    measured = [event for event in scoring.follow()[0] if event["event"] == "figure"]
    assert [event["name"] for event in measured] == ["prose", "code"]
    card = card_of(figures_of(table_of(scoring)))
    assert sum("neutral" in line for line in (*card.worse, *card.kept)) == 2
    assert "nats a token of neutral texts" in (scoring.path / "report.html").read_text()


def test_compare_and_a_try_out_read_as_a_scoring_does(facts, lens):
    from eval_prompts.task_tab import read_scores

    subjects = [subject_of(facts)]
    scoring, _ = scored(lens, subjects)
    task, question = subjects[0].task, subjects[0].questions[1]
    expected = {event["side"]: event["scores"] for event in read_events(scoring) if event["number"] == 1}
    _, verdicts, _ = ask_task(lens, task, task.questions[:2], task.settings, ("base", "tuned"))
    for side, scores in expected.items():
        assert [score.to_dict() for score in verdicts[side, 1].scores] == scores
    tried = read_scores(lens, task, question)
    assert {each.pop("side"): [each] for each in tried} == expected
    assert all("in this process alone" in each["reason"] for each in read_scores(Elsewhere(lens), task, question))
