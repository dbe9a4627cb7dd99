"""What tuning changed over many texts: means, percentiles and shares with intervals by question, and what changed most.

Tokens of one question go together, so intervals take questions as the unit: means per token are ratios of two sums over
questions, whose variance is that of the linearised ratio (W. G. Cochran, "Sampling Techniques", 1977, chapter 6), with
Student's t; percentiles are bootstrapped by drawing questions (B. Efron, 1979), from five questions on: fewer draw the
same few values again and again, and their interval would lie beside the figure.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy

    from eval_prompts.lens.token_lens import Reading

DRAWS = 1000
LEAST_DRAWN = 5
"""Questions that it takes to draw from them."""
RANKED = 20
CONTEXT = 40
PERCENTILES = (50, 90, 95, 99)
LEAST_RISE = 0.005
"""By how much the probability of the end has to rise for a place to be listed: half a point, seen in whole ones."""


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95% interval, which is None where too few questions give one."""

    value: float
    interval: tuple[float, float] | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"value": self.value, "interval": list(self.interval) if self.interval else None}


@dataclass
class TextSet:
    """Readings of many texts, of which only what the figures need is kept: a few numbers for each token."""

    questions: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    """Texts that could not be read, with the reason."""
    notes: dict[str, int] = field(default_factory=dict)
    """What was said of readings, with how many it was said of."""
    _places: dict[str, int] = field(default_factory=dict)
    _rows: list[tuple[int, float, float, float, bool]] = field(default_factory=list)
    _pieces: list[str] = field(default_factory=list)
    _ends: list[tuple[float, int, float, float, str, str]] = field(default_factory=list)
    _owners: list[int] = field(default_factory=list)

    def add(self, question: str, reading: Reading) -> None:
        """Take a text in; several of one question count as one cluster."""
        number = self._places.setdefault(question, len(self.questions))
        if number == len(self.questions):
            self.questions.append(question)
        before = ""
        for piece, entry in zip(reading.pieces, reading.scores, strict=True):
            kl = math.nan if entry.kl_base_tuned is None else entry.kl_base_tuned
            self._rows.append((number, kl, entry.base.logprob, entry.tuned.logprob, entry.same_top))
            self._pieces.append(piece)
            if entry.base.end is not None and entry.tuned.end is not None:
                self._ends.append(
                    (entry.tuned.end - entry.base.end, number, entry.base.end, entry.tuned.end, before, piece)
                )
            before = (before + piece)[-CONTEXT:]
        self._ends = sorted(self._ends, key=lambda end: -end[0])[:RANKED]
        self._owners.append(number)
        for note in reading.notes:
            self.notes[note] = self.notes.get(note, 0) + 1

    @property
    def texts(self) -> int:
        """How many were read."""
        return len(self._owners)

    def figures(self) -> dict[str, Any]:
        """All figures for JSON; there must be at least one text."""
        import numpy

        rows = numpy.array(self._rows, dtype=float)
        question = rows[:, 0].astype(int)
        kl, base, tuned, same = rows[:, 1], rows[:, 2], rows[:, 3], rows[:, 4]
        known = ~numpy.isnan(kl)
        tokens = numpy.ones(len(rows))
        texts = numpy.bincount(self._owners, minlength=len(self.questions))
        found: dict[str, Any] = {"texts": self.texts, "questions": len(self.questions), "tokens": len(rows)}

        def per_token(values: numpy.ndarray[Any, Any], at: numpy.ndarray[Any, Any] | None = None) -> Estimate:
            at = tokens.astype(bool) if at is None else at
            return ratio(sums(values[at], question[at]), sums(tokens[at], question[at]))

        def per_answer(values: numpy.ndarray[Any, Any]) -> Estimate:
            return ratio(sums(values, question), texts.astype(float))

        estimates = {
            "change_per_token": per_token(tuned - base),
            "change_per_answer": per_answer(tuned - base),
            "logprob_per_answer_base": per_answer(base),
            "logprob_per_answer_tuned": per_answer(tuned),
            "same_top": within(per_token(same), 0, 1),
            "perplexity_base": exponential(within(per_token(-base), 0)),
            "perplexity_tuned": exponential(within(per_token(-tuned), 0)),
        }
        if known.any():
            estimates["kl"] = within(per_token(kl, known), 0)
            for share, estimate in percentiles(kl[known], question[known]).items():
                estimates[f"kl_percentile_{share}"] = estimate
        found["estimates"] = {name: estimate.to_dict() for name, estimate in estimates.items()}
        found["most_changed_questions"] = self._changed_questions(question, kl, tuned - base)
        found["most_changed_tokens"] = self._changed_tokens(tuned - base)
        found["ends_that_rose"] = [
            {"question": self.questions[number], "before": before, "in_place_of": piece, "base": ours, "tuned": theirs}
            for rise, number, ours, theirs, before, piece in self._ends
            if rise >= LEAST_RISE
        ]
        return found | {"notes": self.notes, "skipped": self.skipped}

    def _changed_questions(
        self, question: numpy.ndarray[Any, Any], kl: numpy.ndarray[Any, Any], change: numpy.ndarray[Any, Any]
    ) -> list[dict[str, Any]]:
        """Questions by the mean size of the change of their tokens."""
        import numpy

        count = sums(numpy.ones(len(question)), question)
        size = sums(numpy.abs(change), question) / count
        mean, divergence = sums(change, question) / count, sums(numpy.nan_to_num(kl), question) / count
        order = numpy.argsort(-size)[:RANKED]
        return [
            {
                "question": self.questions[number],
                "tokens": int(count[number]),
                "mean_size": float(size[number]),
                "change_per_token": float(mean[number]),
                "kl": None if numpy.isnan(kl[question == number]).any() else float(divergence[number]),
            }
            for number in order
        ]

    def _changed_tokens(self, change: numpy.ndarray[Any, Any]) -> list[dict[str, Any]]:
        """Tokens, by their characters, by the sum of the sizes of their changes."""
        seen: dict[str, list[float]] = defaultdict(list)
        for piece, value in zip(self._pieces, change.tolist(), strict=True):
            seen[piece].append(value)
        ranked = sorted(seen.items(), key=lambda item: -sum(map(abs, item[1])))[:RANKED]
        return [
            {"token": piece, "times": len(values), "mean_change": math.fsum(values) / len(values)}
            for piece, values in ranked
        ]


def sums(values: numpy.ndarray[Any, Any], question: numpy.ndarray[Any, Any]) -> numpy.ndarray[Any, Any]:
    """The sum of some values over each question that has any."""
    import numpy

    numbers, places = numpy.unique(question, return_inverse=True)
    return numpy.bincount(places, weights=values, minlength=len(numbers))


def ratio(values: numpy.ndarray[Any, Any], counts: numpy.ndarray[Any, Any]) -> Estimate:
    """The ratio of two sums over questions with its interval, see the module's head."""
    import numpy
    from scipy.stats import t

    whole, number = float(counts.sum()), len(values)
    mean = float(values.sum()) / whole
    if number < 2:
        return Estimate(mean, None)
    left = values - mean * counts
    error = math.sqrt(number / (number - 1) * float(numpy.square(left).sum())) / whole
    reach = float(t.ppf(0.975, number - 1)) * error
    return Estimate(mean, (mean - reach, mean + reach))


def within(estimate: Estimate, least: float, most: float = math.inf) -> Estimate:
    """An estimate whose interval ends where the figure itself can go no further."""
    if estimate.interval is None:
        return estimate
    low, high = estimate.interval
    return Estimate(estimate.value, (max(low, least), min(high, most)))


def exponential(estimate: Estimate) -> Estimate:
    """The exponential of a figure and of its interval's ends; infinite where it overflows."""

    def raised(value: float) -> float:
        return math.exp(value) if value < 700 else math.inf

    ends = estimate.interval and (raised(estimate.interval[0]), raised(estimate.interval[1]))
    return Estimate(raised(estimate.value), ends)


def percentiles(values: numpy.ndarray[Any, Any], question: numpy.ndarray[Any, Any]) -> dict[int, Estimate]:
    """Percentiles of all tokens, with intervals by drawing questions, each of which holds its percentile; the draws are
    always the same."""
    import numpy

    numbers, places = numpy.unique(question, return_inverse=True)
    found = {share: float(numpy.percentile(values, share)) for share in PERCENTILES}
    if len(numbers) < LEAST_DRAWN:
        return {share: Estimate(value, None) for share, value in found.items()}
    order = numpy.argsort(values)
    ordered, owner = values[order], places[order]
    random = numpy.random.default_rng(0)
    drawn: dict[int, list[float]] = {share: [] for share in PERCENTILES}
    for _ in range(DRAWS):
        times = numpy.bincount(random.integers(0, len(numbers), len(numbers)), minlength=len(numbers))
        reached = numpy.cumsum(times[owner])
        for share in PERCENTILES:
            at = numpy.searchsorted(reached, share / 100 * reached[-1])
            drawn[share].append(float(ordered[min(int(at), len(ordered) - 1)]))
    ends = {share: [float(numpy.percentile(drawn[share], end)) for end in (2.5, 97.5)] for share in found}
    return {
        share: Estimate(value, (min(value, ends[share][0]), max(value, ends[share][1])))
        for share, value in found.items()
    }
