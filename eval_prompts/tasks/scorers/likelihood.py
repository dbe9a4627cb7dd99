"""Scorers of how likely a model finds given answers, which it need not write: choice by likelihood, reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from eval_prompts.lens.likelihood import Likelihood
from eval_prompts.lens.token_tree import Continuation
from eval_prompts.tasks.scorers import figures
from eval_prompts.tasks.scorers.base import (
    Given,
    Judge,
    Score,
    flag,
    maybe_number,
    measured,
    one_of,
    quoted,
    said,
    unknown,
)
from tuning.errors import UserError

UNREAD = "no likelihoods were read of this answer's model"
NO_NUMBERS = "the model's figures are no numbers"
EQUAL = 1e-6
"""Nats by which two options must differ, so that one is likelier."""
PER = {
    "none": "by the sum of log-probabilities",
    "characters": "by log-probability per character",
    "bytes": "by log-probability per byte",
}
"""How options of different lengths are compared, in words."""


@dataclass(frozen=True)
class ByLikelihood:
    """A judge that needs the likelihoods of ``wanted`` texts, and nothing of what the model wrote."""

    wanted: Callable[[Given], tuple[Continuation, ...]]
    judge: Judge

    def __call__(self, given: Given) -> Score | None:
        """What it says of a question whose texts have been read."""
        return self.judge(given)


def choice(column: Any = "options", shuffle: Any = False, by: Any = "answer", normalise: Any = "none") -> Judge:
    """The right one of the options in a column: the answer names it by letter or in words, or (``by: likelihood``) it
    is the one that the model finds likeliest, and nothing is written.

    The reference is its letter or its words. ``normalise`` says how likelihoods of options of different lengths are
    compared: by their sums ('none'), or per character or byte, as lm-eval's ``acc`` and ``acc_norm`` do.
    """
    by = one_of(by, "by", ("answer", "likelihood"))
    per = one_of(normalise, "normalise", tuple(PER))
    if flag(shuffle, "shuffle"):
        raise UserError("options are asked in their own order; leave out shuffle")
    if by == "answer":
        if per != "none":
            raise UserError("normalise is for by: likelihood alone")
        return figures.choice(str(column))
    return likeliest(str(column), per)


def likeliest(column: str, per: str) -> ByLikelihood:
    """The right option is the one that the model finds likeliest."""

    def options_in(given: Given) -> list[str]:
        return figures.options_of(given.columns.get(column))

    def wanted(given: Given) -> tuple[Continuation, ...]:
        return tuple(Continuation(option) for option in options_in(given))

    def judge(given: Given) -> Score:
        options = options_in(given)
        problem = options_problem(options, column, given.references[0])
        if problem:
            return unknown("choice", problem)
        if given.read is None:
            return unknown("choice", given.unread or UNREAD)
        right = figures.right_letter(given.references[0], options)
        values = [value_of(given.read[Continuation(option)], per) for option in options]
        if not all(map(math.isfinite, values)):
            return unknown("choice", NO_NUMBERS)
        order = sorted(range(len(options)), key=lambda at: -values[at])
        listed = ", ".join(f"{figures.LETTERS[at]} {values[at]:.2f}" for at in order)
        told = f"{quoted(options[order[0]], 40)} is likeliest ({listed}; nats, {PER[per]})"
        if values[order[0]] - values[order[1]] < EQUAL:
            return unknown("choice", f"two options are equally likely ({listed}; nats, {PER[per]})")
        seen = figures.LETTERS[order[0]]
        return said("choice", seen == right, told + ("" if seen == right else f", {right} is right"))

    return ByLikelihood(wanted, judge)


def options_problem(options: Sequence[str], column: str, reference: str) -> str:
    """Why a question's options cannot be told apart or judged; '' where they can."""
    if not 2 <= len(options) <= len(figures.LETTERS):
        return f"the column {column} holds {len(options)} options; 2 to {len(figures.LETTERS)} are needed"
    if len(set(options)) < len(options):
        return f"an option stands twice in the column {column}"
    if figures.right_letter(reference, options) is None:
        return f"the reference {quoted(reference)} is none of the options"
    return ""


def value_of(likelihood: Likelihood, per: str) -> float:
    """A log-probability in nats, whole or by length."""
    sizes = {"characters": likelihood.characters, "bytes": likelihood.bytes}
    return likelihood.logprob / max(1, sizes.get(per, 1))


def reference(at_most: Any = None, per: Any = "token") -> ByLikelihood:
    """How many nats a token of the reference costs the model, fewer being better; the likeliest of several references.

    The token that closes the answer counts, as in training. Its score is e to the minus that: the (geometric) mean
    probability of a token. ``per: byte`` counts bytes instead, for sides with tokenizers of their own.
    """
    most, unit = maybe_number(at_most, "at_most", 0), one_of(per, "per", ("token", "byte"))

    def wanted(given: Given) -> tuple[Continuation, ...]:
        return tuple(Continuation(text.strip(), ended=True) for text in given.references)

    def judge(given: Given) -> Score:
        if given.read is None:
            return unknown("reference", given.unread or UNREAD)
        costs = []
        for text in wanted(given):
            known = given.read[text]
            costs.append(-known.logprob / max(1, known.tokens if unit == "token" else known.bytes))
        nats = min(costs)
        if any(map(math.isnan, costs)) or not math.isfinite(nats):
            return unknown("reference", NO_NUMBERS)
        short = f"{nats:.2f} nats a {unit}"
        of = f", the likeliest of {len(costs)} references" if len(costs) > 1 else ""
        score = math.exp(-max(0.0, nats))
        if most is None:
            return measured("reference", score, None, f"the reference costs {short}{of}", short)
        reason = f"the reference costs {short}{of}; at most {most:g} are asked for"
        return said("reference", nats <= most, reason, score, short)

    return ByLikelihood(wanted, judge)
