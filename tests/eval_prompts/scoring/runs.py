"""Small tasks, and scorings of them that are worked to their end."""

from __future__ import annotations

import json
from dataclasses import replace

from eval_prompts.scoring import plans, run
from eval_prompts.scoring.folder import Scoring
from eval_prompts.scoring.subject import named_subject

TASK = """
name: letters
system: Write.
score: [{contains: e}, no_repeats]
settings: {max_new_tokens: 10}
questions:
""" + "".join(f'- {{question: "Say {number}", answer: x, tags: [t{number % 2}]}}\n' for number in range(20))
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


def read_events(scoring):
    return [event for event in scoring.follow()[0] if event["event"] == "answer" and event["state"] == "read"]


class Elsewhere:
    """A pair on other machines, as far as reading goes: there is none in this process."""

    pair = None

    def __init__(self, lens):
        self._lens = lens

    def __getattr__(self, name):
        return getattr(self._lens, name)
