"""What a scorer is given and what it says."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePath
from typing import Any

from eval_prompts.lens.likelihood import Known
from eval_prompts.lens.token_tree import Continuation
from tuning.errors import UserError

Options = Mapping[str, Any]


class Outcome(StrEnum):
    """What became of one scorer on one answer."""

    PASSES = "passes"
    FAILS = "fails"
    MEASURED = "measured"
    """A figure with no line between good and bad."""
    NOT_RUN = "not run"
    """Nothing can be said of the answer: neither for nor against it."""


@dataclass(frozen=True)
class Score:
    """What one scorer says of one answer. ``score`` lies between 0 and 1, more is better; None where nothing is
    known. ``reason`` is for people; ``short`` is the figure or words on its badge."""

    scorer: str
    outcome: Outcome
    reason: str = ""
    score: float | None = None
    short: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        score = None if self.score is None else round(self.score, 6)
        return {"scorer": self.scorer, "verdict": str(self.outcome), "reason": self.reason, "score": score}


@dataclass(frozen=True)
class Given:
    """An answer and its question, as a scorer sees them. ``references`` are the good answers, any of which will do;
    ``columns`` are all the question's columns; ``stopped`` is whether the model ended the answer itself. ``read`` are
    the likelihoods of texts that its scorers want read; where there are none, ``unread`` says why."""

    text: str
    references: tuple[str, ...] = ()
    columns: Mapping[str, Any] = field(default_factory=dict)
    stopped: bool | None = None
    read: Known | None = None
    unread: str = ""


Judge = Callable[[Given], Score | None]
"""None where the scorer does not apply, such as where there is no reference."""


@dataclass(frozen=True)
class Scorer:
    """A scorer with its options, ready to judge. ``columns`` are columns of the question without which it says
    nothing; ``needs_reference`` whether it needs a reference too. ``reads`` names the texts whose likelihoods it goes
    by; it is None where it goes by what the model writes."""

    name: str
    judge: Judge
    options: Options = field(default_factory=dict)
    needs_reference: bool = False
    columns: tuple[str, ...] = ()
    reads: Callable[[Given], tuple[Continuation, ...]] | None = None

    def __call__(self, given: Given) -> Score | None:
        """What it says of an answer; None where it does not apply."""
        return self.judge(given) if self.applies(given) else None

    def applies(self, given: Given) -> bool:
        """Whether the question has what it needs."""
        if self.needs_reference and not given.references:
            return False
        return all(given.columns.get(column) for column in self.columns)

    def wanted(self, given: Given) -> tuple[Continuation, ...]:
        """The texts whose likelihoods it needs."""
        return self.reads(given) if self.reads is not None and self.applies(given) else ()

    @property
    def spec(self) -> str | dict[str, Any]:
        """As it stands in a task file."""
        return {self.name: dict(self.options)} if self.options else self.name

    @property
    def public(self) -> str | dict[str, Any]:
        """As it is told to others: a file by its name, and not by where it lies on this machine."""
        told = {name: PurePath(str(value)).name if name == "file" else value for name, value in self.options.items()}
        return {self.name: told} if told else self.name


def said(name: str, passed: bool, reason: str = "", score: float | None = None, short: str = "") -> Score:
    """A verdict of yes or no."""
    outcome = Outcome.PASSES if passed else Outcome.FAILS
    return Score(name, outcome, reason, float(passed) if score is None else score, short)


def measured(name: str, score: float, at_least: float | None, reason: str, short: str) -> Score:
    """A figure between 0 and 1, which passes or fails only where a line was drawn."""
    if at_least is None:
        return Score(name, Outcome.MEASURED, reason, score, short)
    return said(name, score >= at_least, f"{reason}; {at_least:g} is asked for", score, short)


def unknown(name: str, reason: str) -> Score:
    """Nothing can be said."""
    return Score(name, Outcome.NOT_RUN, reason)


def quoted(text: str, most: int = 80) -> str:
    """A text in quotation marks on one line, shortened."""
    line = " ".join(text.split())
    return f"“{line[: most - 1]}…”" if len(line) > most else f"“{line}”"


def texts(value: Any, option: str) -> tuple[str, ...]:
    """One text or a list of them. Raises UserError for anything else, and for empty ones."""
    values = value if isinstance(value, list | tuple) else [value]
    if not values or not all(isinstance(item, str | int | float) and str(item).strip() for item in values):
        raise UserError(f"{option} must be a text or a list of texts")
    return tuple(str(item) for item in values)


def number(value: Any, option: str, least: float = -math.inf, most: float = math.inf) -> float:
    """A finite number. Raises UserError for anything else."""
    try:
        figure = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        figure = math.nan
    if not math.isfinite(figure) or not least <= figure <= most:
        bounds = (
            f" from {least:g} to {most:g}" if math.isfinite(most) else f" of at least {least:g}" * (least > -math.inf)
        )
        raise UserError(f"{option} must be a number{bounds}")
    return figure


def maybe_number(value: Any, option: str, least: float = -math.inf, most: float = math.inf) -> float | None:
    """As :func:`number`, or None."""
    return None if value is None else number(value, option, least, most)


def flag(value: Any, option: str) -> bool:
    """True or false. Raises UserError for anything else."""
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    raise UserError(f"{option} must be true or false")


def one_of(value: Any, option: str, choices: tuple[str, ...]) -> str:
    """One of some words. Raises UserError naming them for anything else."""
    if value not in choices:
        raise UserError(f"{option} must be one of {', '.join(choices)}")
    return str(value)
