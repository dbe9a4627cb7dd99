"""Forgetting: how much more neutral prose and code cost the tuned side, in nats a token, than before it was tuned.

Both texts were written for this, in passages which have nothing to do with one another. The difference is a ratio of
two sums over passages, its interval clustered by passage (:func:`eval_prompts.lens.set_figures.ratio`). peft's method
comparison measures the same on a text of an encyclopaedia.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from eval_prompts.lens.likelihood import Likelihood, text_likelihoods
from eval_prompts.lens.token_lens import finite
from eval_prompts.scoring.statistics import holm, permutation
from eval_prompts.serving.readings import UNREADABLE, read_by
from tuning.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from eval_prompts.models.pair import Pair, Side
    from eval_prompts.serving.lens import Lens

FORGETTING = "forgetting"
FOLDER = Path(__file__).with_name("neutral")
TEXTS = {"prose": "neutral prose", "code": "neutral code"}
"""The texts by their files' names, and what they are called."""
BREAK = "\n---\n"
MARGIN = 0.05
"""Nats a token from which on something is called forgotten: a perplexity 5% higher."""
SIGNIFICANT = 0.05
AT_ONCE = 6
"""Passages that are read between two looks at who else waits."""
FEW_TIMES = 10
"""Below so many times a rise is told in percent."""
MOST_NATS = 20.0
"""Beyond it no number of times says more."""
Unit = Literal["token", "byte"]
Both = tuple[Likelihood, Likelihood]
"""One passage under the base side and under the tuned one."""


def passages(name: str) -> list[str]:
    """The passages of one of the texts."""
    return (FOLDER / f"{name}.txt").read_text(encoding="utf-8").strip().split(BREAK)


@dataclass(frozen=True)
class Forgotten:
    """One text under both sides: nats a token (or, between two tokenizers, a byte) before and now, and the difference
    with its 95% interval. ``p_value`` is that of a permutation test over the ``passages``, of ``whole``, that fit into
    both models."""

    name: str
    before: float
    now: float
    difference: float
    low: float
    high: float
    passages: int
    whole: int
    tokens: int
    unit: Unit
    p_value: float

    @property
    def broken(self) -> bool:
        """Whether the tuned side gives no numbers."""
        return not math.isfinite(self.now)

    @property
    def worse(self) -> bool:
        """Whether it is shown to have been forgotten: by more than the margin, whatever chance does."""
        return self.broken or (self.low > MARGIN and self.p_value < SIGNIFICANT)

    @property
    def sentence(self) -> str:
        """What is found, in words."""
        title = TEXTS[self.name]
        if self.broken:
            return f"the tuned side's figures on {title} are no numbers: its weights are damaged"
        if not math.isfinite(self.before):
            return f"the base side's figures on {title} are no numbers: whether it is forgotten is not known"
        reach = (self.high - self.low) / 2
        figures = (
            f"{self.before:.2f} nats a {self.unit} before and {self.now:.2f} now ({self.difference:+.2f} ±{reach:.2f})"
        )
        if self.passages < self.whole:
            figures += f", {self.whole - self.passages} of {self.whole} passages left out, which do not fit"
        if self.worse:
            return f"forgets {title}, which has become {self._change} less expected: {figures}"
        if self.high < 0 and self.p_value < SIGNIFICANT:
            return f"{title} has become more expected: {figures}"
        if self.high <= MARGIN:
            return f"{title} is not forgotten: {figures}"
        return f"{title}: {figures}, too close to tell whether it is forgotten"

    @property
    def _change(self) -> str:
        """By how much the perplexity rose, in words."""
        times = math.exp(min(self.difference, MOST_NATS))
        if times < FEW_TIMES:
            return f"{times - 1:.0%}"
        return f"over {times:,.0f} times" if self.difference > MOST_NATS else f"{times:,.0f} times"

    def to_dict(self) -> dict[str, Any]:
        """As an event tells it."""
        return {**finite(vars(self)), "worse": self.worse, "sentence": self.sentence}


def unknown(name: str, reason: str) -> dict[str, Any]:
    """A text that could not be read, as an event tells it."""
    return {"name": name, "worse": False, "sentence": f"{TEXTS[name]}: whether it is forgotten is not known ({reason})"}


def measure(lens: Lens, before_each: Callable[[], bool]) -> list[Forgotten] | None:
    """Both texts under both sides; None where ``before_each``, which is called before whatever is read and once at the
    end, says to stop. Raises UserError where the models are on other machines, or there is no tuned side."""
    pair = lens.pair
    if pair is None:
        raise UserError(UNREADABLE)
    pair.model("tuned")
    found: dict[tuple[str, Side], list[Likelihood | UserError]] = {}
    sides: tuple[Side, Side] = ("base", "tuned")
    for name in TEXTS:
        whole = passages(name)
        for at in range(0, len(whole), AT_ONCE):
            for side in sides:
                if before_each():
                    return None
                found.setdefault((name, side), []).extend(_read(pair, side, whole[at : at + AT_ONCE]))
    if before_each():
        return None
    read = {name: _readable(found[name, "base"], found[name, "tuned"]) for name in TEXTS}
    for name, both in read.items():
        if not both:
            reasons = [one for side in sides for one in found[name, side] if isinstance(one, UserError)]
            raise UserError(f"What is forgotten cannot be read: {reasons[0]}")
    apart = pair.tokenizers["tuned"] is not pair.tokenizers["base"]
    alike = all(one.tokens == other.tokens for both in read.values() for one, other in both)
    unit: Unit = "byte" if apart and not alike else "token"
    texts = [compared(name, read[name], unit, len(found[name, "base"])) for name in TEXTS]
    adjusted = holm({one.name: one.p_value for one in texts})
    return [Forgotten(**vars(one) | {"p_value": adjusted[one.name]}) for one in texts]


def _read(pair: Pair, side: Side, texts: Sequence[str]) -> list[Likelihood | UserError]:
    return read_by(pair, lambda: text_likelihoods(pair, side, texts))


def _readable(base: Sequence[Likelihood | UserError], tuned: Sequence[Likelihood | UserError]) -> list[Both]:
    """The passages that both sides could read."""
    return [
        (one, other)
        for one, other in zip(base, tuned, strict=True)
        if isinstance(one, Likelihood) and isinstance(other, Likelihood)
    ]


def compared(name: str, read: Sequence[Both], unit: Unit, whole: int) -> Forgotten:
    """One text from its passages' likelihoods under both sides, ``read`` of ``whole`` passages."""
    import numpy

    from eval_prompts.lens.set_figures import ratio

    sizes = numpy.array([float(one.tokens if unit == "token" else one.bytes) for one, _ in read])
    costs = [numpy.array([-both[at].logprob for both in read]) for at in (0, 1)]
    difference = ratio(costs[1] - costs[0], sizes)
    low, high = difference.interval or (-math.inf, math.inf)
    moved = (costs[1] - costs[0]).tolist()
    return Forgotten(
        name=name,
        before=float(costs[0].sum() / sizes.sum()),
        now=float(costs[1].sum() / sizes.sum()),
        difference=difference.value,
        low=low,
        high=high,
        passages=len(read),
        whole=whole,
        tokens=sum(one.tokens for one, _ in read),
        unit=unit,
        p_value=permutation(moved) if all(map(math.isfinite, moved)) else 1.0,
    )
