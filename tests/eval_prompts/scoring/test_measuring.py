"""What a scoring reads before anything is written: likelihoods, and what is forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest

from eval_prompts.asking import ask_task
from eval_prompts.lens.likelihood import likelihoods
from eval_prompts.lens.token_tree import Choices
from eval_prompts.scoring import forgetting, plans, reading, run
from eval_prompts.scoring.card import card_of
from eval_prompts.scoring.figures import figures_of
from eval_prompts.scoring.folder import State
from eval_prompts.scoring.pages import forgetting_rows, side_titles
from eval_prompts.scoring.result import table_of
from eval_prompts.tasks.catalogue import find_task
from eval_prompts.tasks.editing import form_of
from tests.eval_prompts.scoring.runs import Elsewhere, outcome, read_events, scored, subject_of


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
    assert list(table.tasks["long"].unasked) == [(0, "base", 0), (0, "tuned", 0)]
    assert "the context has room for 0" in table.tasks["long"].reason_unasked(0)
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
    from eval_prompts.tabs.task_tab import read_scores

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


def test_a_tuned_side_without_numbers_is_told_to_be_damaged(home, task_file, facts, damaged, monkeypatch):
    monkeypatch.setattr(forgetting, "passages", lambda name: ["A passage.", "Another one.", "A third."])
    told = home / "told.yaml"
    told.write_text("name: told\nscore: reference\nquestions: [{question: Say it, answer: word}]\n")
    subjects = [subject_of(facts, 2), subject_of(told), subject_of(task_file, 1)]
    scoring, (state, message) = scored(damaged, subjects, figures=["forgetting"])
    assert state is State.FINISHED, message
    table = table_of(scoring)
    for name in ("facts", "told"):
        for answer in table.tasks[name].all_of("tuned"):
            assert answer["verdict"] != "passes"
            assert answer["scores"][0]["reason"] == "the model's figures are no numbers"
    for event in read_events(scoring):
        assert (event["likelihoods"][0]["logprob"] is None) is (event["side"] == "tuned")
    card = card_of(figures_of(table))
    assert [line for line in card.worse if "its weights are damaged" in line]
    assert ("prose", "–") in [(row[0], row[2]) for row in forgetting_rows(figures_of(table), side_titles(table.plan))]


def test_a_try_out_passes_where_what_goes_by_the_answer_passes(home, lens):
    """What goes by likelihoods says nothing of an answer that somebody typed: it stands apart, side by side."""
    from eval_prompts.tabs.task_tab import writing

    path = home / "data" / "tasks" / "both.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(
        "name: both\nscore: [{choice: {by: likelihood}}, contains]\n"
        "questions: [{question: Which?, options: [red, green], answer: green}]\n"
    )
    score = next(work for work in writing(lens) if work.__name__ == "score")
    told = score({"draft": form_of(find_task("both")), "answer": "green", "number": 0}, None)
    assert (told["verdict"], told["score"]) == ("passes", 1.0)
    assert [(one["scorer"], one.get("side")) for one in told["scores"]] == [
        ("contains", None), ("choice", "base"), ("choice", "tuned"),
    ]  # fmt: skip
