"""Which of a comparison's answers tuning changed most, read by both models."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from eval_prompts.lens.picture import Picture, size
from eval_prompts.lens.token_lens import FROM_TEXT
from eval_prompts.lens.view import Written
from eval_prompts.serving.readings import Readings
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.answers import Answer
    from eval_prompts.lens.token_lens import Reading
    from eval_prompts.models.pair import Side
    from eval_prompts.rows import Prompt
    from eval_prompts.serving.lens import Lens

LOOKED_AT = 6
"""Pairs of answers that are read; each takes a second or two."""


def most_changed(
    lens: Lens, prompts: Sequence[Prompt], answers: Sequence[Answer], greedy: bool
) -> tuple[Picture | None, str]:
    """The picture of the pair whose tuned answer changed most among the first that differ, or None and the reason.

    ``answers`` are ordered by question, base before tuned, ``prompts`` how these were put; a pair whose sides went on
    from answers of their own parts before it begins, and is left out. ``greedy`` says whether they were written so.
    """
    if lens.pair is None:
        return None, "The models are on other machines, so no answer was read token by token."
    pairs = [list(pair) for _, pair in groupby(answers, key=lambda answer: answer.index)]
    differing = [
        pair
        for pair in pairs
        if prompts[pair[0].index].tuned is None
        and len(pair) == 2
        and all(answer.done and answer.text for answer in pair)
        and pair[0].text != pair[1].text
    ]
    if not differing:
        return None, "No two answers differ, so none was read token by token."
    readings, refused = Readings(lens), ""
    looked_at: list[tuple[float, list[Answer], Reading]] = []
    for pair in differing[:LOOKED_AT]:
        try:
            reading = readings.read(prompts[pair[1].index].to("tuned"), {"tuned": written(pair[1])})["tuned"]
        except UserError as error:
            refused = str(error)
            continue
        looked_at.append((size(reading), pair, reading))
    best = max(looked_at, key=lambda found: found[0], default=None)
    if best is None:
        return None, f"No answer was read token by token: {refused}"
    _, (base, _), tuned_reading = best
    try:
        base_reading = readings.read(prompts[base.index].to("base"), {"base": written(base)})["base"]
    except UserError as error:
        return None, f"No answer was read token by token: {error}"
    both: dict[Side, Reading] = {"base": base_reading, "tuned": tuned_reading}
    return Picture(base.index, both, greedy, len(looked_at), len(differing), (FROM_TEXT,)), ""


def written(answer: Answer) -> Written:
    """An answer as the lens reads it."""
    return Written(answer.text, answer.stopped)
