"""Whether votes prefer a side, however often one looks, and for whom and what that holds.

Votes are not independent: a person's votes resemble one another, and so do votes on one question. So each claim is
made from votes of which each brings what the claim is about anew, the first of each kind as they come:

- *everyone*: each by another person and on another question; holds for people and questions alike;
- *people*: each by another person; holds for people in general, on the questions that were asked;
- *questions*: each on another question; holds for the raters so far, on questions in general.

Under "no preference" each of these is a sequence of fair coins, whatever the others in between were. It is tested by
the beta-binomial mixture e-value (H. Robbins, "Statistical methods related to the law of the iterated logarithm",
1970) with a uniform prior: its expectation is at most 1 at every moment, so a claim at 20 is false in at most 5% of
fair contests, looked at after every vote (Ville's inequality). The confidence sequence holds what the same test does
not reject.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

REJECT = 20.0
MOST_MORE = 10_000
STEP = 0.02
"""Votes needed further are counted in steps of this share of those there are."""


class Scope(StrEnum):
    """For whom and what a claim holds; the widest first."""

    EVERYONE = "everyone"
    PEOPLE = "people"
    QUESTIONS = "questions"


def log_e_value(wins: float, losses: float, rate: float = 0.5) -> float:
    """The natural logarithm of the e-value of ``wins`` and ``losses`` against that win rate, 0 < ``rate`` < 1."""
    mixture = math.lgamma(wins + 1) + math.lgamma(losses + 1) - math.lgamma(wins + losses + 2)
    return mixture - wins * math.log(rate) - losses * math.log1p(-rate)


def confidence_sequence(wins: int, losses: int) -> tuple[float, float]:
    """The win rates that are not rejected at 5%: an interval that covers the true one at all times together."""
    from scipy.optimize import brentq

    if wins + losses == 0:
        return 0.0, 1.0

    def excess(rate: float) -> float:
        return log_e_value(wins, losses, rate) - math.log(REJECT)

    edge = 1e-12
    rate = min(max(wins / (wins + losses), edge), 1 - edge)
    low = float(brentq(excess, edge, rate)) if wins and excess(edge) > 0 else 0.0
    high = float(brentq(excess, rate, 1 - edge)) if losses and excess(1 - edge) > 0 else 1.0
    return low, high


def more_needed(wins: int, losses: int) -> int | None:
    """About how many more votes, going on as they went so far, would settle it; 0 where it is settled, None where no
    number can be told: without votes, with as many for as against, or beyond 10,000."""
    votes = wins + losses
    if not votes or wins == losses:
        return None if log_e_value(wins, losses) < math.log(REJECT) else 0
    share, more = wins / votes, 0.0
    while log_e_value(wins + more * share, losses + more * (1 - share)) < math.log(REJECT):
        more += max(1.0, STEP * (votes + more))
        if more > MOST_MORE:
            return None
    return round(more)


@dataclass
class Sequence:
    """Votes that count for one claim: which were for the tuned side, and which against."""

    wins: int = 0
    losses: int = 0

    def add(self, tuned_won: bool) -> None:
        """Count one vote more."""
        self.wins += tuned_won
        self.losses += not tuned_won

    @property
    def votes(self) -> int:
        """How many votes count."""
        return self.wins + self.losses

    @property
    def better(self) -> str | None:
        """The side that is preferred, 'base' or 'tuned'; None where that is not shown."""
        if log_e_value(self.wins, self.losses) < math.log(REJECT):
            return None
        return "tuned" if self.wins > self.losses else "base"


@dataclass
class Evidence:
    """What decided votes show, one after the other in the order in which they were given."""

    sequences: dict[Scope, Sequence] = field(default_factory=lambda: {scope: Sequence() for scope in Scope})
    _people: set[str] = field(default_factory=set)
    _questions: set[str] = field(default_factory=set)
    _used_people: set[str] = field(default_factory=set)
    _used_questions: set[str] = field(default_factory=set)

    def add(self, person: str, question: str, tuned_won: bool) -> None:
        """Take in one decided vote."""
        new_person, new_question = person not in self._people, question not in self._questions
        if new_person:
            self.sequences[Scope.PEOPLE].add(tuned_won)
            self._people.add(person)
        if new_question:
            self.sequences[Scope.QUESTIONS].add(tuned_won)
            self._questions.add(question)
        if person not in self._used_people and question not in self._used_questions:
            self.sequences[Scope.EVERYONE].add(tuned_won)
            self._used_people.add(person)
            self._used_questions.add(question)

    @property
    def claim(self) -> tuple[Scope, str] | None:
        """The widest claim that holds, and the side that is better; None where nothing can be told yet."""
        return next(((scope, side) for scope, one in self.sequences.items() if (side := one.better)), None)

    @property
    def main(self) -> Scope:
        """The claim that these votes are about: the one with most votes that count, the widest of equal ones. It does
        not depend on how they were cast."""
        return max(Scope, key=lambda scope: self.sequences[scope].votes)
