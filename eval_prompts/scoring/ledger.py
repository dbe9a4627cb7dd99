"""Which answers of a scoring there are, which are missing, and how one is told in its event stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from eval_prompts.judging.repetition import repetition
from eval_prompts.scoring.habits import language_of
from eval_prompts.scoring.plans import seed_of
from eval_prompts.scoring.subject import Finished, Subject, conversations

if TYPE_CHECKING:
    from eval_prompts.answers import Answer
    from eval_prompts.models.pair import Side
    from eval_prompts.scoring.folder import Log
    from eval_prompts.tasks.verdicts import Judgement

PORTION = 16
"""Questions of one request; each is asked of all sides that are missing."""
Key = tuple[str, int, str, int]
"""Task, number of the question, side, sample."""


@dataclass(frozen=True)
class Unit:
    """One question in one sample."""

    subject: Subject
    number: int
    sample: int
    seed: int

    def key(self, side: Side) -> Key:
        """Which answer one side's is."""
        return self.subject.name, self.number, side, self.sample


def unit_of(subject: Subject, number: int, sample: int) -> Unit:
    """One question in one sample, with its seed."""
    seed = seed_of(int(subject.settings.seed), subject.name, subject.questions[number].id, sample)
    return Unit(subject, number, sample, seed)


class Ledger:
    """The answers of a scoring that are there, by a scoring's plan and events; others come in as they are judged."""

    def __init__(self, plan: Mapping[str, Any], subjects: Sequence[Subject]) -> None:
        self.subjects = list(subjects)
        self.sides: tuple[Side, ...] = tuple(plan["sides"])
        self.done: set[Key] = set()
        self._samples = {task["name"]: int(task.get("samples", plan["samples"])) for task in plan["tasks"]}
        self._log: Log

    def open(self, log_file: Log, events: Iterable[Mapping[str, Any]]) -> int:
        """Take up what an event stream tells already; how many answers that is. What follows is appended to it."""
        self._log = log_file
        self.done = {key_of(event) for event in events if event["event"] in ("answer", "unasked")}
        return len(self.done)

    @property
    def total(self) -> int:
        """Answers that the whole scoring has."""
        answers = sum(len(subject.questions) * self._samples[subject.name] for subject in self.subjects)
        return answers * len(self.sides)

    def units(self) -> Iterator[Unit]:
        """Every question in every sample."""
        for subject in self.subjects:
            for sample in range(self._samples[subject.name]):
                for number in range(len(subject.questions)):
                    yield unit_of(subject, number, sample)

    def missing_sides(self, unit: Unit) -> tuple[Side, ...]:
        """The sides that have not answered yet."""
        return tuple(side for side in self.sides if unit.key(side) not in self.done)

    def portions(self) -> list[tuple[tuple[Side, ...], list[Unit]]]:
        """What is not answered yet, in portions that miss the same sides; the turns of a conversation are asked
        together, where one of them is missing."""
        found: list[tuple[tuple[Side, ...], list[Unit]]] = []
        for subject in self.subjects:
            by_sides: dict[tuple[Side, ...], list[list[Unit]]] = {}
            for sample in range(self._samples[subject.name]):
                for numbers in conversations(subject.questions):
                    units = [unit_of(subject, number, sample) for number in numbers]
                    sides = tuple(
                        side for side in self.sides if any(side in self.missing_sides(unit) for unit in units)
                    )
                    if sides:
                        by_sides.setdefault(sides, []).append(units)
            for sides, together in by_sides.items():
                portion: list[Unit] = []
                for units in together:
                    if portion and len(portion) + len(units) > PORTION:
                        found.append((sides, portion))
                        portion = []
                    portion = [*portion, *units]
                found.append((sides, portion))
        return found

    def take_in(self, unit: Unit, side: Side, told: Mapping[str, Any]) -> bool:
        """Append one answer, as an event tells it; False for one that is there already, which counts once."""
        if unit.key(side) in self.done:
            return False
        self._log.emit("answer", **place(unit, side), seed=unit.seed, **told)
        self.done.add(unit.key(side))
        return True

    def leave_out(self, unit: Unit, sides: Sequence[Side], reason: str) -> None:
        """Append that a question cannot be asked, and why."""
        for side in sides:
            if unit.key(side) not in self.done:
                self._log.emit("unasked", **place(unit, side), reason=reason)
            self.done.add(unit.key(side))


def key_of(event: Mapping[str, Any]) -> Key:
    """Which answer an event tells of."""
    return str(event["task"]), int(event["number"]), str(event["side"]), int(event["sample"])


def place(unit: Unit, side: Side) -> dict[str, Any]:
    """Which answer it is, as an event tells it."""
    question = unit.subject.questions[unit.number]
    return {
        "task": unit.subject.name,
        "number": unit.number,
        "id": question.id,
        "side": side,
        "sample": unit.sample,
    }


def judged(
    subject: Subject, number: int, answer: Answer, jail: bool = False, known: Finished | None = None
) -> Judgement:
    """The judgement on a finished answer, of what was said: a thinking model's draft counts for nothing. ``known`` is
    what was read of its question."""
    given = replace(known or Finished(), text=answer.said, stopped=answer.stopped)
    return subject.judge(subject.questions[number], given, jail)


def told(answer: Answer, judgement: Judgement) -> dict[str, Any]:
    """An answer and its judgement as an event tells them; a thinking model's draft stands apart from what it said."""
    found = judgement.to_dict()
    return {
        "text": answer.said,
        **({"draft": answer.text} if answer.said != answer.text else {}),
        "tokens": answer.tokens,
        "state": answer.state,
        "verdict": judgement.task,
        "score": judgement.score,
        "reason": found["task_reason"],
        "scores": found["scores"],
        "badges": found["badges"],
        "repetition": round(repetition(answer.said), 4),
        "language": language_of(answer.said),
    }
