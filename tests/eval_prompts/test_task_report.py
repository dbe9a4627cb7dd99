"""The report on a task: its prompts, references and verdicts, and what got worse first."""

from __future__ import annotations

import json
import re

from eval_prompts.answers import Answer
from eval_prompts.comparison import Comparison, judged, turns_of
from eval_prompts.report import write
from eval_prompts.tasks.files import parse_task
from eval_prompts.tasks.scorers.base import Outcome, Score
from eval_prompts.tasks.verdicts import Judgement
from tests.eval_prompts.test_report import status

TASK = parse_task(
    "name: capitals\nsystem: Be <brief>.\nscore: contains\nquestions:\n"
    + "".join(
        f'- {{id: {id}, question: "Capital of {id}?", answer: {answer}}}\n'
        for id, answer in (("mali", "Bamako"), ("peru", "Lima"), ("cuba", "Havana"))
    ),
    "capitals.yaml",
)
TEXTS = [("Bamako.", "Bamako!"), ("Cusco", "Lima"), ("Havana", "Miami")]


def test_what_got_worse_comes_first_with_prompt_reference_and_verdicts(tmp_path):
    answers = [
        Answer(side, index, TASK.questions[index].text, text, 3, 0.5, 0.1, "ended")
        for index, texts in enumerate(TEXTS)
        for side, text in zip(("base", "tuned"), texts, strict=True)
    ]
    comparison = Comparison(
        status(), TASK.settings, answers, judged(answers, TASK), task=TASK, questions=TASK.questions
    )
    assert comparison.changes_line == "per question: 1 better, 1 the same, 1 worse of 3"
    data, markdown, page = (path.read_text() for path in write(comparison, tmp_path))
    content = json.loads(data)
    assert [(one["id"], one["change"]) for one in content["questions"]] == [
        ("cuba", "worse"),
        ("peru", "better"),
        ("mali", "same"),
    ]
    assert content["questions"][0]["prompt"][0] == {"role": "system", "content": "Be <brief>."}
    assert content["questions"][0]["references"] == ["Havana"]
    assert content["answers"][0]["verdicts"] == [{"scorer": "contains", "verdict": "passes", "reason": "", "score": 1}]
    assert content["table"]["tuned"]["passes"] == content["table"]["base"]["passes"] == 2
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", content["created"])
    for text in (markdown, page):
        assert text.index("Capital of cuba?") < text.index("Capital of peru?") < text.index("Capital of mali?")
        assert "no code" not in text
    assert "Be &lt;brief&gt;." in page
    assert "| pass | 2 | 2 |" in markdown


def test_turns_that_could_not_be_tried_are_among_those_of_a_conversation(tmp_path):
    task = parse_task(
        json.dumps(
            {"name": "talk", "score": ["contains"], "questions": [{"turns": ["a", "b", "c"], "answer": ["x"] * 3}]}
        ),
        "talk.yaml",
    )
    answers = [
        Answer(side, index, question.text, "x", 3, 0.5, 0.1, "ended")
        for index, question in enumerate(task.questions)
        for side in ("base", "tuned")
    ]
    found = {
        "base": [Outcome.NOT_RUN, Outcome.PASSES, Outcome.PASSES],
        "tuned": [Outcome.PASSES, Outcome.MEASURED, Outcome.FAILS],
    }
    verdicts = {
        (side, number): Judgement((Score("contains", outcome),))
        for side, outcomes in found.items()
        for number, outcome in enumerate(outcomes)
    }
    turns = turns_of([("1", turn) for turn in (1, 2, 3)])
    comparison = Comparison(
        status(), task.settings, answers, verdicts, task=task, questions=task.questions, turns=turns
    )
    _, markdown, _ = (path.read_text() for path in write(comparison, tmp_path))
    assert "Base does 2 of 3 turns, Tuned does 1 of 2 turns" in markdown
