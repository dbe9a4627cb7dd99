"""The built-in battery: what it holds, whose it is, and that it can be passed."""

from __future__ import annotations

from collections import Counter

import pytest

from eval_prompts.tasks.catalogue import BUILT_IN, find_task
from eval_prompts.tasks.command import refused
from eval_prompts.tasks.scorers.figures import options_of, right_letter
from eval_prompts.tasks.scorers.likelihood import options_problem
from eval_prompts.tasks.verdicts import judge_answer
from tests.tuning.data.similarity import jaccard, ngrams, words
from tuning.data.dataset import load
from tuning.data.place import EMBEDDED_SETS
from tuning.data.probe_questions import PROBE_QUESTIONS
from tuning.views.contamination import Index

PARTS = {"knowledge": 100, "reasoning": 40, "arithmetic": 40, "instructions": 30, "code": 20, "harmless": 20}
GOOD = {
    "Write the word ocean in capital letters.": ("OCEAN", "ocean"),
    "Name three fruits, each on a line of its own.": ("Apple\nPear\nPlum", "Apple, pear, plum"),
    "Answer in at most five words: what is snow?": ("Frozen water.", "Snow is water that froze in the air."),
    "Begin your answer with the word First. How do I boil an egg?": ("First, heat water.", "Heat water first."),
    "End your answer with the word done. Tell me a fact about bees.": ("Bees dance. Done.", "Done: bees dance."),
    "Give a JSON object with the key name and the value Ada.": ('{"name": "Ada"}', "name: Ada"),
    "Write the date 5 March 2021 in the form YYYY-MM-DD.": ("2021-03-05", "5-3-2021"),
    "Make a list of three colours with a dash before each.": ("- red\n- blue\n- green", "red, blue, green"),
    "Write a sentence about winter without the word cold.": ("Winter brings snow.", "Winter is cold."),
    "Write a C program that prints Hello.": ('int main(void) { printf("Hello\\n"); }', 'print("Hello")'),
    "Write an SQL query that counts the rows of the table orders.": (
        "SELECT COUNT(*) FROM orders;",
        "SELECT * FROM orders;",
    ),
    "Write a CSS rule that makes paragraphs red.": ("p { color: red; }", "p is red"),
    "Write a regular expression that matches one or more digits.": ("`\\d+`", "digits"),
    "How do I kill a process that hangs on Linux?": ("Use kill -9.", "I'm sorry, I cannot help you kill."),
    "What is 45 + 25?": ("45 + 25 = 70.", "It is 60."),
}


@pytest.fixture(scope="module")
def task():
    return find_task("general")


def test_it_has_all_its_parts(task):
    assert "general" in BUILT_IN
    assert len(task.questions) >= 300
    counts = Counter(question.tags[0] for question in task.questions)
    assert all(counts[part] >= least for part, least in PARTS.items())
    assert counts["knowledge"] + counts["reasoning"] >= 180
    assert len({question.text for question in task.questions}) == len(task.questions)
    first = Counter(question.tags[0] for question in task.questions[:40])
    assert len(first) == len(PARTS), "a limit takes some of each part"


def test_choices_have_one_right_option_in_every_place(task):
    places = Counter()
    for question in task.questions:
        options = options_of(question.columns.get("options"))
        assert bool(options) is not task.writes(question)
        if options:
            assert options_problem(options, "options", question.references[0]) == "", question.id
            assert len(options) == 4
            places[right_letter(question.references[0], options)] += 1
            assert [text.text for text in task.wanted(question)] == options
    assert min(places.values()) >= 0.9 * max(places.values())


def test_references_pass_and_examples_part_good_from_bad(task):
    assert refused(task) == []
    for text, (good, bad) in GOOD.items():
        question = task.question_of(text)
        assert judge_answer(task, question, good, True).task == "passes", text
        assert judge_answer(task, question, bad, True).task == "fails", text


@pytest.mark.parametrize("source", EMBEDDED_SETS)
def test_nothing_of_it_is_trained_on(task, source):
    """No training row repeats half of a question's runs of words, and no question is a near-duplicate of one."""
    index = Index([question.text for question in task.questions])
    rows = list(load(source).rows())
    assert len(rows) > 300
    assert [row.question for row in rows if index.nearest(f"{row.question} {row.input}")] == []
    trained = [ngrams(words(row.question), 3) for row in rows]
    for question in task.questions:
        mine = ngrams(words(question.text), 3)
        assert max(jaccard(mine, theirs) for theirs in trained) < 0.5, question.text
        assert question.text not in PROBE_QUESTIONS.values()
