"""What may be wrong with an artefact, as colours and sentences, from what was read of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from tuning.exports.certify.measure import Read

Colour = Literal["green", "yellow", "red"]
WORST: tuple[Colour, ...] = ("green", "yellow", "red")

GREEN_TOP, YELLOW_TOP = 0.97, 0.85
"""Share of places with the same first choice. Eight bits and more keep 98% and more of them even in a model of 135M
parameters, four bits some 90%; a wrong weight keeps less than three quarters."""
GREEN_KEPT, YELLOW_KEPT = 0.9, 0.6
"""Share of the adapter's change that the artefact keeps, 1 - KL(tuned || artefact) / KL(tuned || base): 0 is the base
itself. Rounding to eight bits takes 1 to 2% of it; below six tenths the file is as near to the base as to the tune."""
GREEN_STRENGTH, YELLOW_STRENGTH = 0.1, 0.25
"""How far the strength of the change may be from 1. Rounding moves log-probabilities to both sides and leaves it at 1;
an adapter of which a part is missing is weaker by that part, however finely the rest is stored."""
FAINT = 1e-3
"""Nats by which the adapter changes the base at least for shares of that change to mean anything."""
EXACT = frozenset({"F32", "F16", "fp32", "fp16"})
EXACT_TOP, EXACT_KEPT, EXACT_STRENGTH = 0.99, 0.97, 0.03
"""Asked of formats with eleven bits of precision and more: rounding to those moves near ties alone. BF16 has eight."""

Fault = tuple[Colour, str]


def prompt_faults(reads: Sequence[Read]) -> list[Fault]:
    """What is wrong with the prompts as the engine reads them."""
    wrong = [read for read in reads if read.prompt_parted_at is not None]
    if not wrong:
        return []
    words = f"{len(wrong)} of {len(reads)} prompts are read in other tokens than in training, {wrong[0].prompt_words}"
    return [("red", f"{words}: template, begin token or tokenizer is wrong.")]


def end_faults(lost: Sequence[str]) -> list[Fault]:
    """What is wrong with the ends of answers."""
    if not lost:
        return []
    return [("red", f"Answers do not end at {', '.join(lost)}, as they did in training: they will go on and on.")]


def early_faults(reads: Sequence[Read]) -> list[Fault]:
    """What is wrong where answers end that should go on."""
    early = [read for read in reads if read.end_words]
    if not early:
        return []
    return [("red", f"{len(early)} of {len(reads)} answers end at {early[0].end_words}, which ended none in training.")]


def text_faults(reads: Sequence[Read]) -> list[Fault]:
    """What is wrong with the words that tokens become."""
    wrong = [read for read in reads if read.text_words]
    if not wrong:
        return []
    return [("red", f"The tokens of {len(wrong)} of {len(reads)} answers are written as {wrong[0].text_words}.")]


def vocabulary_faults(theirs: Sequence[str], ours: Sequence[str]) -> list[Fault]:
    """What is wrong with an artefact's tokens, where its engine tells them, beside those of training."""
    if not theirs:
        return []
    other = [(one, two) for one, two in zip(ours, theirs, strict=False) if one != two]
    other += [(one, "") for one in ours[len(theirs) :]]
    more = theirs[len(ours) :]
    found: list[Fault] = []
    if other:
        words = (
            f"{len(other):,} of {len(ours):,} tokens are others, such as {other[0][1]!r} in place of {other[0][0]!r}"
        )
        found.append(("red", f"{words}: its tokenizer is not the one of training."))
    if more:
        many = "a token" if len(more) == 1 else f"{len(more):,} tokens"
        words = f"Its tokenizer has {many} that training had not, such as {more[0]!r}"
        found.append(("yellow", f"{words}: text with it is read otherwise."))
    return found


def number_faults(reads: Sequence[Read]) -> list[Fault]:
    """What is wrong where the engine computes no numbers."""
    places = [value for read in reads for value in read.kl]
    broken = sum(math.isnan(value) for value in places)
    if not broken:
        return []
    words = f"It computes no numbers (NaN) at {broken:,} of {len(places):,} places"
    return [("red", f"{words}: its weights are damaged, or its number format is too narrow for them.")]


def weight_faults(figures: dict[str, Any], precision: str) -> list[Fault]:
    """What is wrong with the weights, from the figures."""
    exact = precision in EXACT
    good_top, good_kept, good_off = (
        (EXACT_TOP, EXACT_KEPT, EXACT_STRENGTH) if exact else (GREEN_TOP, GREEN_KEPT, GREEN_STRENGTH)
    )
    bad_top, bad_kept, bad_off = (GREEN_TOP, GREEN_KEPT, GREEN_STRENGTH) if exact else (
        YELLOW_TOP, YELLOW_KEPT, YELLOW_STRENGTH)  # fmt: skip
    found: list[Fault] = []
    kept, strength, top = figures["kept"], figures["strength"], figures["same_top"]
    if kept is None:
        found.append(("yellow", "The adapter changes hardly anything here, so it cannot be told whether it is in."))
    elif kept < good_kept:
        what = "it is nearer to the base than to the tuned side" if kept < 0.5 else "the rest is lost"
        found.append((worse(kept, bad_kept), f"The file keeps {max(0.0, kept):.0%} of the adapter's change: {what}."))
    if strength is not None and abs(strength - 1) > good_off:
        off = abs(strength - 1)
        found.append((worse(-off, -bad_off), f"The adapter's change has {strength:.0%} of its strength in the file."))
    if top < good_top:
        found.append((worse(top, bad_top), f"Its first choice is the tuned side's at {top:.1%} of the places alone."))
    return found


def worse(value: float, limit: float) -> Colour:
    """Yellow down to a limit, red below it."""
    return "red" if value < limit else "yellow"
