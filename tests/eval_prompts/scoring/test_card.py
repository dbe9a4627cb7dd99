"""The card, the habits, the gate and the written files, over answers made by hand."""

from __future__ import annotations

import csv
import io
import json
from xml.etree import ElementTree

import pytest

from eval_prompts.scoring.card import card_of
from eval_prompts.scoring.figures import Standing, figures_of
from eval_prompts.scoring.folder import kept_question
from eval_prompts.scoring.gate import Exit, checks, exit_code, junit
from eval_prompts.scoring.habits import language_of
from eval_prompts.scoring.pages import markdown, page
from eval_prompts.scoring.result import as_csv, score_data
from eval_prompts.scoring.table import Outcome
from eval_prompts.tasks.task import Question
from tests.eval_prompts.scoring.tables import answer, table_of

GAINED = [(False, True)] * 30 + [(True, False)] * 5 + [(True, True)] * 30 + [(False, False)] * 35
LOST = [(b, a) for a, b in GAINED]
EVEN = [(True, True)] * 50 + [(False, False)] * 50


def verdict(results, **options):
    figures = figures_of(table_of(results, **options))
    return figures, card_of(figures)


def test_a_gain_with_a_loss_elsewhere_says_both():
    figures, card = verdict({"mine": GAINED, "general": LOST, "even": EVEN})
    assert [task.standing for task in figures.tasks] == [Standing.BETTER, Standing.WORSE, Standing.NOT_BETTER]
    assert card.head == "Better, at a cost"
    assert card.sentence == "Gained 25 points on your task (±11), lost 25 points on General (±11)."
    assert card.worse == ["lost 25 points on General (±11), 60.0% before and 35.0% now: worse"]
    assert "Even" in card.kept[0]
    assert "ruled out" in card.kept[0]


def test_a_loss_elsewhere_stands_in_the_head_whatever_one_s_own_task_shows():
    _, card = verdict({"mine": EVEN, "general": LOST})
    assert (card.standing, card.head) == (Standing.NOT_BETTER, "Not better, at a cost")
    _, card = verdict({"mine": EVEN[45:55], "general": LOST})
    assert (card.standing, card.head) == (Standing.CANNOT_TELL, "Cannot tell yet, at a cost")
    _, card = verdict({"mine": LOST, "general": LOST})
    assert card.head == "Worse"


def test_little_evidence_is_no_verdict_and_says_how_much_is_missing():
    figures, card = verdict({"mine": [(False, True), (True, True), (False, False), (True, False), (False, True)]})
    assert card.standing is Standing.CANNOT_TELL
    assert "more questions for one of 5 points" in card.missing[0] or "thousands" in card.missing[0]
    assert any("nothing but this task was scored" in line for line in card.missing)
    assert figures.tasks[0].more > 100


def test_nothing_that_differs_over_many_questions_is_not_better():
    _, card = verdict({"mine": EVEN})
    assert card.head == "Not better"
    assert card.sentence.startswith("No difference on your task")


def test_several_suites_are_adjusted_together():
    lucky = [(False, True)] * 8 + [(True, False)] + [(True, True)] * 30
    alone, _ = verdict({"mine": lucky})
    assert alone.tasks[0].standing is Standing.BETTER
    many, _ = verdict({"mine": lucky} | {f"other{number}": EVEN for number in range(4)})
    assert many.tasks[0].standing is not Standing.BETTER
    assert many.tasks[0].p_value == pytest.approx(5 * many.tasks[0].difference.p_value)


def test_what_could_not_be_tried_counts_as_not_passed_and_is_said():
    figures, card = verdict({"mine": [(True, None), (True, True), (False, False)]})
    assert figures.tasks[0].outcomes[Outcome.LOST] == ["q0"]
    assert any("could not be tried count as not passed (1 of tuned)" in note for note in card.notes)


def test_graded_scores_are_compared_by_their_means():
    graded = [(0.1 * (number % 5), 0.1 * (number % 5) + 0.2) for number in range(40)]
    figures, card = verdict({"mine": graded})
    assert figures.tasks[0].metric == "score"
    assert figures.tasks[0].difference.value == pytest.approx(0.2)
    assert card.standing is Standing.BETTER


HABITS = {
    "capped": {"state": "capped"},
    "repeats": {"repetition": 0.6},
    "empty": {"text": " ", "language": ""},
    "language": {"language": "de"},
}


@pytest.mark.parametrize("name", HABITS)
def test_a_habit_that_got_worse_is_flagged_unasked(name):
    figures, card = verdict({"mine": [(True, True)] * 20}, changes=HABITS[name])
    habit = next(habit for habit in figures.habits if habit.name == name)
    assert (habit.base, habit.tuned, habit.of) == (0, 20, 20)
    assert habit.worse
    assert any(habit.sentence == line for line in card.worse)
    found = checks(figures, card, 0.0, False)
    assert exit_code(found) is Exit.WORSE


def test_lengths_are_measured_by_the_reference_else_by_the_base():
    long = {"text": "word " * 50, "tokens": 60}
    figures, card = verdict(
        {"mine": [(True, True)] * 20}, changes=long, references=["Ten words are quite enough for what was asked here."]
    )
    assert next(habit for habit in figures.habits if habit.name == "long").worse
    assert "over twice as long as the reference" in "".join(card.worse)
    figures, card = verdict({"mine": [(True, True)] * 20}, changes=long)
    assert next(habit for habit in figures.habits if habit.name == "longer").changed
    assert "over twice as long as the base's" in "".join(card.kept)
    figures, _ = verdict({"mine": [(True, True)] * 20}, changes=long | {"state": "capped"})
    assert not [habit for habit in figures.habits if habit.name in ("longer", "shorter")]


def test_the_language_is_that_of_the_prose():
    assert language_of("```python\nprint('Guten Tag, wie geht es Ihnen heute?')\n```") == ""
    assert language_of("Das ist eine ganz gewöhnliche Antwort auf eine einfache Frage.") == "de"


def test_code_is_in_no_language():
    table = table_of({"mine": [(True, True)] * 20}, changes={"language": "la"})
    table.tasks["mine"].plan["score"].append({"sql": {"column": "schema"}})
    assert "language" not in [habit.name for habit in figures_of(table).habits]


def test_what_could_not_be_asked_is_counted_by_answer_and_left_out_by_question():
    """A question that a side's other samples answer is compared, and says that samples are missing."""
    table = table_of({"mine": [(True, True)] * 4}, samples=2)

    def unasked(number, side, sample):
        why = {"event": "unasked", "task": "mine", "reason": "too long"}
        table.add([why | {"number": number, "side": side, "sample": sample}])
        table.tasks["mine"].answers.get((number, side), {}).pop(sample, None)

    unasked(0, "base", 1)
    unasked(1, "tuned", 0)
    assert (table.done, table.total) == (8 - 1 + 2, 16)
    task = figures_of(table).tasks[0]
    assert (task.left_out, task.samples_left_out, task.difference.of) == ({"could not be asked": 1}, 1, 3)
    table.add([answer("mine", number, side, True, 1) for number in range(4) for side in ("base", "tuned") if number])
    figures = figures_of(table)
    task = figures.tasks[0]
    assert (task.left_out, task.samples_left_out, task.difference.of) == ({}, 2, 4)
    assert "Mine: 2 samples could not be asked, of questions that their other samples answer" in card_of(figures).notes
    assert table.done == 15, "the tuned side's second sample of the first question is still to come"
    assert table.tasks["mine"].reason_unasked(1) == "too long"
    assert table.tasks["mine"].reason_unasked(1, ["base"]) == ""


def test_samples_are_means_with_pass_at_k():
    table = table_of({"mine": [(True, True)] * 4}, samples=3)
    for number in range(4):
        for sample in (1, 2):
            table.add([answer("mine", number, side, sample == 1, sample) for side in ("base", "tuned")])
    figures = figures_of(table)
    side = figures.tasks[0].sides["tuned"]
    assert side.score.value == pytest.approx(2 / 3)
    assert side.pass_at == {1: pytest.approx(2 / 3)}
    assert side.same_verdict == pytest.approx(1 / 3)
    assert figures.tasks[0].difference.test == "permutation"


@pytest.mark.parametrize(
    ("results", "worse_by", "better", "code"),
    [
        ({"mine": GAINED}, 0.0, True, Exit.PASSED),
        ({"mine": LOST}, 0.0, False, Exit.WORSE),
        ({"mine": LOST}, 30.0, False, Exit.PASSED),
        ({"mine": LOST}, 20.0, True, Exit.WORSE),
        ({"mine": EVEN}, 0.0, False, Exit.PASSED),
        ({"mine": EVEN}, None, True, Exit.NOT_BETTER),
        ({"mine": GAINED, "general": LOST}, 0.0, True, Exit.WORSE),
        ({"mine": LOST}, None, False, Exit.PASSED),
    ],
)
def test_the_gate_ends_with_its_code(results, worse_by, better, code):
    figures, card = verdict(results)
    found = checks(figures, card, worse_by, better)
    assert exit_code(found) is code
    tree = ElementTree.fromstring(junit(found, figures, card))
    assert int(tree.get("failures")) == sum(bool(check.problem) for check in found)
    assert (tree.find(".//failure") is not None) is (code is not Exit.PASSED)


def test_what_is_written_is_safe_and_whole():
    table = table_of({"mine": [(True, False), (False, True)]}, changes={"text": "=1+1 <script>alert(1)</script> \x01"})
    figures = figures_of(table)
    card = card_of(figures)
    data = score_data(table, figures, card)
    assert json.loads(json.dumps(data)) == data
    assert data["changes"] == {"worse": 1, "better": 1}
    rows = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert len(rows) == 4
    assert rows[1]["text"].startswith("'=1+1")
    html = page(table, figures, card, [("judge", "<b>bold</b>")])
    assert "<script>alert" not in html
    assert "<b>bold" not in html
    assert html.index("Lost: only the base passes") < html.index("Gained: only the tuned side passes")
    for words in ("2023-11-14", "base model m (f)", "adapter mine (a)", "task Mine", "@media print"):
        assert words in html
    assert "Lost: q0" in markdown(table, figures, card)
    ElementTree.fromstring(junit(checks(figures, card, 0.0, True), figures, card))


def test_a_line_of_another_file_does_not_matter():
    table = table_of({"mine": [(True, True)]})
    table.add([{"event": "answer", "task": "gone"}, {"event": "start"}, answer("mine", 99, "base", True)])
    assert figures_of(table).tasks[0].questions == 1


def test_scores_are_of_the_questions_that_both_sides_are_compared_on():
    """Ten questions that the tuned side cannot be asked would make its score look better than the base's."""
    table = table_of({"mine": [(True, False)] * 10 + [(False, True)] * 10})
    for number in range(10):
        table.tasks["mine"].answers.pop((number, "tuned"))
        table.add([{"event": "unasked", "task": "mine", "number": number, "side": "tuned", "sample": 0, "reason": "x"}])
    task = figures_of(table).tasks[0]
    scores = {side: figures.score for side, figures in task.sides.items()}
    assert (scores["base"].value, scores["base"].of) == (0.0, 10)
    assert scores["tuned"].value - scores["base"].value == task.difference.value == 1.0
    assert task.left_out == {"could not be asked": 10}


def test_an_answer_as_short_as_one_of_its_references_is_not_too_short():
    references = [
        "It is Paris, the town.",
        "The capital of all of France is Paris, a town on the river Seine, as ever.",
    ]
    figures, card = verdict({"mine": [(True, True)] * 20}, changes={"text": "Paris is it then."}, references=references)
    assert next(habit for habit in figures.habits if habit.name == "short").tuned == 0
    assert not card.worse


def test_the_gate_counts_a_loss_of_exactly_as_many_points():
    figures, card = verdict({"mine": [(True, False)] * 29 + [(True, True)] * 71})
    assert exit_code(checks(figures, card, 29.0, False)) is Exit.WORSE
    assert exit_code(checks(figures, card, 29.1, False)) is Exit.PASSED


def test_a_cluster_may_be_called_0():
    kept = [kept_question(Question("a", "Why?", columns={"cluster": name})) for name in (0, "0", "", None)]
    assert [one["cluster"] for one in kept] == ["0", "0", "", ""]
