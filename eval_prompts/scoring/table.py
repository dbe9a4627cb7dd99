"""A scoring's answers as a table: by task, question, side and sample, filled from its events as they come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal

from eval_prompts.scoring.habits import LETTERS_FOR_LANGUAGE, language_of

SIDES = ("base", "tuned")
EQUAL = 1e-9
READ = "read"
"""The state of an answer that was not written: the likelihoods of given texts were read."""
STRUCTURED = {"python", "sql", "json"}
"""Scorers of answers that are code or data."""
Metric = Literal["passes", "score"]
Answer = Mapping[str, Any]


class Outcome(StrEnum):
    """How the sides' answers to one question compare, regressions first."""

    LOST = "lost"
    GAINED = "gained"
    BOTH = "both"
    NEITHER = "neither"
    UNKNOWN = "unknown"


class TaskTable:
    """One task's part: its questions, and the answers to each by side and sample."""

    def __init__(
        self, plan: Mapping[str, Any], questions: Sequence[Mapping[str, Any]], sides: Sequence[str], samples: int = 1
    ) -> None:
        """``samples`` are those of each question where the task's own plan does not say."""
        self.plan, self.sides = plan, list(sides)
        self.samples = int(plan.get("samples", samples))
        self.name, self.title = str(plan["name"]), str(plan["title"])
        self.questions: list[dict[str, Any]] = [dict(question) for question in questions]
        self.answers: dict[tuple[int, str], dict[int, Answer]] = {}
        self.unasked: dict[tuple[int, str, int], str] = {}
        """Why an answer could not be asked for, by number, side and sample."""
        self._reasons: dict[int, dict[tuple[str, int], str]] = {}
        self._verdicts: Counter[str] = Counter()

    def add(self, event: Answer) -> None:
        """Take in one answer, or that one could not be asked; the last word on each counts."""
        number = int(event["number"])
        if not 0 <= number < len(self.questions):
            return
        if event["event"] == "unasked":
            side, sample, reason = str(event["side"]), int(event["sample"]), str(event["reason"])
            self.unasked[number, side, sample] = reason
            self._reasons.setdefault(number, {})[side, sample] = reason
            return
        self._verdicts[str(event["verdict"])] += 1
        self.answers.setdefault((number, str(event["side"])), {})[int(event["sample"])] = event

    def reason_unasked(self, number: int, sides: Sequence[str] = ()) -> str:
        """Why a question could not be asked of a side, or of some of ``sides``; '' where it could."""
        among = sides or self.sides
        return next((why for (side, _), why in self._reasons.get(number, {}).items() if side in among), "")

    @property
    def done(self) -> int:
        """Answers that there are, or that could not be asked for."""
        return sum(map(len, self.answers.values())) + sum(
            sample not in self.answers.get((number, side), {}) for number, side, sample in self.unasked
        )

    @property
    def metric(self) -> Metric:
        """What is compared: passes, or the mean score where nothing can pass or fail."""
        passing = self._verdicts["passes"] + self._verdicts["fails"]
        return "passes" if passing or not self._verdicts["none"] else "score"

    def value(self, answer: Answer) -> float | None:
        """What one answer is worth, 0 to 1; None where nothing can be said. An answer that could not be tried counts as
        not passed: nobody has seen it pass."""
        if self.metric == "score":
            return None if answer["score"] is None else float(answer["score"])
        return None if answer["verdict"] == "none" else float(answer["verdict"] == "passes")

    def values(self, side: str) -> list[list[float]]:
        """The values of one side by question and sample; none where there is none."""
        return [
            [value for answer in self.of(number, side) if (value := self.value(answer)) is not None]
            for number in range(len(self.questions))
        ]

    def of(self, number: int, side: str) -> list[Answer]:
        """The answers of one side to a question, by sample."""
        return [answer for _, answer in sorted(self.answers.get((number, side), {}).items())]

    def all_of(self, side: str) -> list[Answer]:
        """All answers of a side."""
        return [answer for number in range(len(self.questions)) for answer in self.of(number, side)]

    @property
    def clusters(self) -> list[str]:
        """Which questions belong together: their ``cluster``, else each stands alone."""
        return [str(question.get("cluster") or f"\0{number}") for number, question in enumerate(self.questions)]

    @property
    def in_prose(self) -> bool:
        """Whether answers are in a language of people: not where they are judged as code or data."""
        names = {next(iter(spec)) if isinstance(spec, dict) else str(spec) for spec in self.plan["score"]}
        return not names & STRUCTURED

    def outcome(self, number: int) -> Outcome:
        """How the sides' answers to one question compare, by the means of their samples."""
        means = []
        for side in SIDES:
            known = [value for answer in self.of(number, side) if (value := self.value(answer)) is not None]
            if not known:
                return Outcome.UNKNOWN
            means.append(sum(known) / len(known))
        base, tuned = means
        if abs(tuned - base) > EQUAL:
            return Outcome.GAINED if tuned > base else Outcome.LOST
        return Outcome.BOTH if base >= 0.5 else Outcome.NEITHER

    def written(self, side: str) -> list[Answer]:
        """The answers of a side that it wrote, and not those of which likelihoods were read."""
        return [answer for answer in self.all_of(side) if answer["state"] != READ]

    def pairs(self) -> list[tuple[Mapping[str, Any], Answer, Answer]]:
        """(question, base's answer, tuned answer) of each question's first sample that both have written."""
        found: list[tuple[Mapping[str, Any], Answer, Answer]] = []
        for number, question in enumerate(self.questions):
            base, tuned = (self.answers.get((number, side), {}).get(0) for side in SIDES)
            if base is not None and tuned is not None and READ not in (base["state"], tuned["state"]):
                found.append((measured(question, self.in_prose), base, tuned))
        return found


class Table:
    """All tasks of a scoring."""

    def __init__(self, plan: Mapping[str, Any], questions: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        self.plan = plan
        self.tasks = {
            str(task["name"]): TaskTable(
                task, questions.get(str(task["name"]), []), plan["sides"], int(plan["samples"])
            )
            for task in plan["tasks"]
        }
        self.figures: dict[str, Mapping[str, Any]] = {}

    def add(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Take in news of a scoring's event stream; what is none of a table's business is passed over."""
        for event in events:
            if event["event"] in ("answer", "unasked") and event.get("task") in self.tasks:
                self.tasks[event["task"]].add(event)
            elif event["event"] == "figure":
                self.figures[str(event["name"])] = event

    @property
    def total(self) -> int:
        """Answers that there will be in all."""
        answers = sum(len(task.questions) * task.samples for task in self.tasks.values())
        return answers * len(self.plan["sides"])

    @property
    def done(self) -> int:
        """Answers that there are, or that could not be asked for."""
        return sum(task.done for task in self.tasks.values())


def measured(question: Mapping[str, Any], in_prose: bool = True) -> dict[str, Any]:
    """What habits are measured by: the words of the longest reference and of the shortest (an answer that is as long as
    any of them is neither too long nor too short), and the language that is expected, where answers are ``in_prose``.
    """
    references = [str(reference) for reference in question.get("references", ())]
    expected = next((text for text in references if letters(text) >= LETTERS_FOR_LANGUAGE), str(question["question"]))
    lengths = [len(text.split()) for text in references]
    return {
        "words": max(lengths, default=0),
        "fewest_words": min(lengths, default=0),
        "language": language_of(expected) if in_prose else "",
    }


def letters(text: str) -> int:
    """How many letters a text has."""
    return sum(character.isalpha() for character in text)
