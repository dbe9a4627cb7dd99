"""How answers behave, whatever they are worth: whether they end, repeat themselves, hold anything, keep to the
language, and how long they are beside the reference or the base's answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from eval_prompts.judging.repetition import THRESHOLD
from eval_prompts.scoring.statistics import holm, mcnemar, wilson
from eval_prompts.tasks.scorers.wording import recognised

FENCED = re.compile(r"```.*?(```|\Z)", re.DOTALL)
LETTERS_FOR_LANGUAGE = 40
FAR = 2.0
"""An answer of more than this many times the reference's words, or of less than the inverse, is far from it."""
FEWEST_WORDS = 3
"""References of fewer words say nothing of how long an answer should be."""
SIGNIFICANT = 0.05
WORDS = {
    "capped": ("never stops", "do not end before the token cap"),
    "repeats": ("repeats itself", "repeat themselves"),
    "empty": ("empty answers", "are empty"),
    "language": ("another language", "are in another language than the question"),
    "long": ("too long", "are over twice as long as the reference"),
    "short": ("too short", "are less than half as long as the reference"),
    "longer": ("longer than the base", "are over twice as long as the base's"),
    "shorter": ("shorter than the base", "are less than half as long as the base's"),
}
"""What each habit is called, and what is said of the answers that have it."""


@dataclass(frozen=True)
class Habit:
    """How many answers of each side have a habit, of those that were looked at on both sides, and whether the tuned
    side has more of it (``worse``) or less (``better``) than chance explains, with all habits together (Holm).

    ``base`` is None where the tuned answers' length is compared with the base's: that is ``changed``, for better or
    worse."""

    name: str
    base: int | None
    tuned: int
    of: int
    p_value: float
    worse: bool = False
    better: bool = False
    changed: bool = False

    @property
    def words(self) -> str:
        """In a few words for people."""
        return WORDS[self.name][0]

    @property
    def sentence(self) -> str:
        """What is found, with its figures."""
        share = f"{self.tuned / self.of:.0%}" if self.of else "none"
        before = "" if self.base is None or not self.of else f", {self.base / self.of:.0%} before"
        return f"{share} of the tuned answers {WORDS[self.name][1]}{before}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        low, high = wilson(self.tuned, self.of)
        return asdict(self) | {"words": self.words, "sentence": self.sentence, "low": low, "high": high}


def language_of(text: str) -> str:
    """The language of a text's prose, code blocks left out; '' where there is too little of it to tell."""
    prose = FENCED.sub(" ", text)
    return recognised(prose) if sum(character.isalpha() for character in prose[:2000]) >= LETTERS_FOR_LANGUAGE else ""


def habits_of(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]]) -> list[Habit]:
    """The habits of both sides over (question, base's answer, tuned answer): paired counts and exact McNemar tests,
    adjusted for their number."""
    found = [habit for habit in (*_flags(pairs), *_lengths(pairs)) if habit is not None]
    adjusted = holm({habit.name: habit.p_value for habit in found})
    told = []
    for habit in found:
        clear = adjusted[habit.name] < SIGNIFICANT
        against = habit.base is not None
        more = habit.base is not None and habit.tuned > habit.base
        worse, better = clear and against and more, clear and against and not more
        changed = clear and not against
        told.append(replace(habit, p_value=adjusted[habit.name], worse=worse, better=better, changed=changed))
    return told


def median_tokens(answers: Sequence[Mapping[str, Any]]) -> float | None:
    """The median length of answers in tokens; None of none."""
    return median(answer["tokens"] for answer in answers) if answers else None


def _flags(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]]) -> list[Habit | None]:
    def capped(_: Mapping[str, Any], answer: Mapping[str, Any]) -> bool | None:
        return bool(answer["state"] == "capped")

    def repeated(_: Mapping[str, Any], answer: Mapping[str, Any]) -> bool | None:
        return bool(answer["repetition"] >= THRESHOLD)

    def empty(_: Mapping[str, Any], answer: Mapping[str, Any]) -> bool | None:
        return not answer["text"].strip()

    def foreign(question: Mapping[str, Any], answer: Mapping[str, Any]) -> bool | None:
        expected = question.get("language", "")
        return answer["language"] != expected if expected and answer["language"] else None

    def long(question: Mapping[str, Any], answer: Mapping[str, Any]) -> bool | None:
        words = question.get("words", 0)
        return len(answer["text"].split()) > FAR * words if words >= FEWEST_WORDS else None

    def short(question: Mapping[str, Any], answer: Mapping[str, Any]) -> bool | None:
        words = question.get("fewest_words", question.get("words", 0))
        return len(answer["text"].split()) < words / FAR if words >= FEWEST_WORDS else None

    looks = {"capped": capped, "repeats": repeated, "empty": empty, "language": foreign, "long": long, "short": short}
    habits: list[Habit | None] = []
    for name, look in looks.items():
        both = [(look(question, base), look(question, tuned)) for question, base, tuned in pairs]
        known = [(one, other) for one, other in both if one is not None and other is not None]
        only_base = sum(one and not other for one, other in known)
        only_tuned = sum(other and not one for one, other in known)
        base, tuned = sum(bool(one) for one, _ in known), sum(bool(other) for _, other in known)
        p_value = mcnemar(only_base, only_tuned)
        habits.append(Habit(name, base, tuned, len(known), p_value) if known else None)
    return habits


def _lengths(pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]]) -> list[Habit | None]:
    """Beside the base, where no reference says how long an answer should be, and both ended by themselves: a base that
    runs into the cap is no measure."""
    measured = [
        (base["tokens"] + 1, tuned["tokens"] + 1)
        for question, base, tuned in pairs
        if question.get("words", 0) < FEWEST_WORDS and base["state"] == tuned["state"] == "ended"
    ]
    longer = sum(tuned > FAR * base for base, tuned in measured)
    shorter = sum(tuned < base / FAR for base, tuned in measured)
    if not measured:
        return []
    name, count = ("longer", longer) if longer >= shorter else ("shorter", shorter)
    return [Habit(name, None, count, len(measured), mcnemar(shorter, longer))]
