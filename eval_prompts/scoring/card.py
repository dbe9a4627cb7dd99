"""The card: what a scoring comes to in words that everybody understands, with the figures behind them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from eval_prompts.scoring.figures import EFFECT, Figures, Standing, TaskFigures
from eval_prompts.scoring.statistics import Difference

HEADS = {
    Standing.BETTER: "Better",
    Standing.WORSE: "Worse",
    Standing.NOT_BETTER: "Not better",
    Standing.CANNOT_TELL: "Cannot tell yet",
    Standing.ONE_SIDE: "One side alone",
}
FEW = 2000
"""Beyond so many further questions their number is no advice any more."""
CHANCE = ", which may be chance"


@dataclass(frozen=True)
class Card:
    """One verdict. ``head`` is it in a word or two, ``sentence`` with its figures; ``worse`` says what got worse, line
    by line, ``kept`` what was looked at and did not, ``missing`` how much evidence is missing, and ``notes`` what was
    left out or counted as not passed."""

    standing: Standing
    head: str
    sentence: str
    worse: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self) | {"standing": str(self.standing)}

    @property
    def lines(self) -> list[str]:
        """The whole card for a terminal."""
        worse = [f"  got worse: {line}" for line in self.worse] or ["  nothing was found to have got worse"]
        return [
            f"{self.head}: {self.sentence}",
            *(worse if self.standing is not Standing.ONE_SIDE else []),
            *(f"  {line}" for line in (*self.kept, *self.missing, *self.notes)),
        ]


def card_of(figures: Figures) -> Card:
    """The card of a scoring, whose first task is one's own."""
    own, *others = figures.tasks
    told = [gain(own, "your task"), *(gain(task, task.title) for task in others if clear(task))]
    sentence = ", ".join(told)
    worse = [describe(task) for task in figures.tasks if task.standing is Standing.WORSE]
    worse += [habit.sentence for habit in figures.habits if habit.worse]
    worse += [str(figure["sentence"]) for figure in figures.other if figure.get("worse")]
    kept = [describe(task) for task in others if task.standing is not Standing.WORSE]
    kept += [f"{habit.sentence}: less than before" for habit in figures.habits if habit.better]
    kept += [habit.sentence for habit in figures.habits if habit.changed]
    kept += [str(figure["sentence"]) for figure in figures.other if not figure.get("worse")]
    missing = [line for task in figures.tasks if (line := evidence(task))]
    head = HEADS[own.standing]
    if own.standing in (Standing.BETTER, Standing.NOT_BETTER, Standing.CANNOT_TELL) and worse:
        head += ", at a cost"
    if own.standing is not Standing.ONE_SIDE and not others and not figures.other:
        missing.append("nothing but this task was scored: what got worse elsewhere is not known")
    return Card(own.standing, head, f"{sentence[:1].upper()}{sentence[1:]}.", worse, kept, missing, notes_of(figures))


def clear(task: TaskFigures) -> bool:
    """Whether a task's difference is shown, for better or worse."""
    return task.standing in (Standing.BETTER, Standing.WORSE)


def points(value: float) -> str:
    """A share in points, whole from one on."""
    figure = abs(value) * 100
    text = f"{figure:.0f}" if figure >= 0.95 or figure < 0.05 else f"{figure:.1f}"
    return f"{text} point{'' if text == '1' else 's'}"


def reach(difference: Difference) -> str:
    """Half the width of a difference's interval in points."""
    half = max(difference.high - difference.value, difference.value - difference.low) * 100
    return f"±{half:.0f}" if half >= 0.95 else f"±{half:.1f}"


def gain(task: TaskFigures, where: str) -> str:
    """What was gained or lost on a task: gained 8 points on your task (±3)."""
    difference = task.difference
    if difference is None:
        told = []
        for side, figures in task.sides.items():
            score = figures.score
            told.append(f"{side} {score.value:.1%} on {where} ({score.low:.1%} to {score.high:.1%})")
        return ", ".join(told)
    if not difference.of:
        return f"no answers that can be compared on {where}"
    if round(abs(difference.value) * 100, 1) < 0.05:
        return f"no difference on {where} ({reach(difference)})"
    word = "gained" if difference.value > 0 else "lost"
    return f"{word} {points(difference.value)} on {where} ({reach(difference)}){'' if clear(task) else CHANCE}"


def describe(task: TaskFigures) -> str:
    """A task in one line, with both sides' scores."""
    if task.difference is None or not task.difference.of:
        return f"{task.title}: nothing to compare yet"
    base, tuned = (task.sides[side].score.value for side in ("base", "tuned"))
    words = {
        Standing.WORSE: "worse",
        Standing.BETTER: "better",
        Standing.NOT_BETTER: "no difference is shown",
        Standing.CANNOT_TELL: "no difference is shown",
    }[task.standing]
    if not clear(task) and task.difference.low > -EFFECT:
        words = f"a loss of {EFFECT * 100:.0f} points is ruled out"
    told = gain(task, task.title).removesuffix(CHANCE)
    return f"{told}, {base:.1%} before and {tuned:.1%} now: {words}"


def evidence(task: TaskFigures) -> str:
    """How much evidence is missing on a task; '' where something is shown."""
    difference = task.difference
    if difference is None or not difference.of or task.standing in (Standing.BETTER, Standing.WORSE):
        return ""
    seen = f"{task.title}: {difference.of:,} questions show a difference of {points(difference.detectable)} or more"
    more = task.more or 0
    if not more:
        return f"{seen}, four times of five"
    if more > FEW:
        return f"{seen}; thousands more would be needed for one of {EFFECT * 100:.0f} points"
    return f"{seen}; about {more:,} more questions for one of {EFFECT * 100:.0f} points"


def notes_of(figures: Figures) -> list[str]:
    """What was left out, or counts otherwise than one would think."""
    notes = []
    for task in figures.tasks:
        if task.questions < task.whole:
            notes.append(f"{task.title}: the first {task.questions:,} of {task.whole:,} questions alone")
        for reason, count in task.left_out.items():
            notes.append(f"{task.title}: {count:,} question{'s' * (count != 1)} left out ({reason})")
        if task.samples_left_out:
            count = task.samples_left_out
            told = f"{count:,} sample{'s' * (count != 1)} could not be asked"
            notes.append(f"{task.title}: {told}, of questions that their other samples answer")
        not_run = {side: sides.not_run for side, sides in task.sides.items() if sides.not_run}
        if not_run:
            told = ", ".join(f"{count:,} of {side}" for side, count in not_run.items())
            notes.append(f"{task.title}: answers that could not be tried count as not passed ({told})")
    return notes
