"""What a step minimises: likelihood of answers (sft), or of the better answer over the worse one (dpo, orpo).

Every objective turns -log p of the label tokens of one pass into sums over the pass: first what is minimised, then
figures for the log. Divided by the step's own divisor the first is the loss, so a step has one gradient however it is
cut into passes or spread over devices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import torch
from torch.nn import functional as F

from tuning.data.chat import Example, Pair, Unit
from tuning.presets import PREFERENCES, Config

if TYPE_CHECKING:
    from tuning.training.forward import Forward

DPO_BETA, DPO_BETA_PER_TOKEN, ORPO_BETA = 0.1, 5.0, 0.1
"""Strengths where none is given: Rafailov et al. 2023; Lambert et al. 2024 (arXiv 2411.15124) for the length-normalised
form; Hong et al. 2024."""


class Objective(Protocol):
    """Sums over the units of a pass: the loss, then one number for each of ``figures``."""

    figures: ClassVar[tuple[str, ...]]

    def sums(
        self, forward: Forward, units: Sequence[Unit], places: Sequence[int], key: int, whole: Sequence[Unit]
    ) -> torch.Tensor:
        """[1 + figures] for ``units``, the rows ``places`` of the step ``whole`` with that dropout key; the first
        number has a gradient."""
        ...

    def divisor(self, whole: Sequence[Unit]) -> int:
        """What the sums over a whole step are divided by."""
        ...


class Likelihood:
    """Mean -log p per trained token over the whole step."""

    figures: ClassVar[tuple[str, ...]] = ()

    def sums(
        self, forward: Forward, units: Sequence[Unit], places: Sequence[int], key: int, whole: Sequence[Unit]
    ) -> torch.Tensor:
        examples = [unit for unit in units if isinstance(unit, Example)]
        return forward.loss(examples, places, key).reshape(1)

    def divisor(self, whole: Sequence[Unit]) -> int:
        return sum(unit.label_count for unit in whole)


@dataclass(frozen=True)
class PairLosses:
    """-log p of the answers of pairs, each [pairs] fp32 or better: summed over an answer's tokens."""

    chosen: torch.Tensor
    rejected: torch.Tensor
    chosen_tokens: torch.Tensor
    rejected_tokens: torch.Tensor

    @classmethod
    def of(cls, forward: Forward, pairs: Sequence[Pair], places: Sequence[int], key: int) -> PairLosses:
        """From one pass over both answers of every pair."""
        rows = [row for place in places for row in (2 * place, 2 * place + 1)]
        examples = answers(pairs)
        counts = [example.label_count for example in examples]
        found = forward.token_losses(examples, rows, key)
        summed = torch.stack([part.sum() for part in found.split(counts)])
        tokens = torch.tensor(counts, dtype=summed.dtype, device=summed.device)
        return cls(summed[::2], summed[1::2], tokens[::2], tokens[1::2])

    def log_probs(self, per_token: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """log p of the better and the worse answers, or its mean per token."""
        if per_token:
            return -self.chosen / self.chosen_tokens, -self.rejected / self.rejected_tokens
        return -self.chosen, -self.rejected


@dataclass(frozen=True)
class DirectPreference:
    """Direct preference optimisation (Rafailov et al. 2023, eq. 7): -log sigmoid(beta * margin), a mean over pairs.

    The margin is by how much more the better answer has gained on the reference than the worse one, in nats; with
    ``per_token`` each answer's log p is divided by its tokens first. The reference is the model as the run begins, its
    log p stored with the pairs.
    """

    beta: float
    per_token: bool = False
    figures: ClassVar[tuple[str, ...]] = ("right", "margin")

    def sums(
        self, forward: Forward, units: Sequence[Unit], places: Sequence[int], key: int, whole: Sequence[Unit]
    ) -> torch.Tensor:
        pairs = only_pairs(units)
        losses = PairLosses.of(forward, pairs, places, key)
        better, worse = losses.log_probs(self.per_token)
        known = losses.chosen.new_tensor([pair.reference or (math.nan, math.nan) for pair in pairs])
        if self.per_token:
            known = known / torch.stack([losses.chosen_tokens, losses.rejected_tokens], dim=1)
        margin = (better - known[:, 0]) - (worse - known[:, 1])
        loss = -F.logsigmoid(self.beta * margin).sum()
        return torch.stack([loss, (margin > 0).sum().to(loss.dtype), self.beta * margin.detach().sum()])

    def divisor(self, whole: Sequence[Unit]) -> int:
        return len(whole)


@dataclass(frozen=True)
class OddsRatio:
    """Odds-ratio preference optimisation (Hong et al. 2024, eq. 6 and 7): -log p per token of the better answers plus
    beta * -log sigmoid(log odds ratio), without a reference.

    The first part is a mean over the step's tokens, the second over its pairs. Odds are those of an answer's mean log p
    per token; with ``per_token`` off, of its whole log p.
    """

    beta: float
    per_token: bool = True
    figures: ClassVar[tuple[str, ...]] = ("right", "margin")

    def sums(
        self, forward: Forward, units: Sequence[Unit], places: Sequence[int], key: int, whole: Sequence[Unit]
    ) -> torch.Tensor:
        losses = PairLosses.of(forward, only_pairs(units), places, key)
        better, worse = losses.log_probs(self.per_token)
        odds = (better - worse) - (log_of_the_rest(better) - log_of_the_rest(worse))
        tokens = sum(pair.chosen.label_count for pair in only_pairs(whole))
        loss = losses.chosen.sum() * (len(whole) / tokens) - self.beta * F.logsigmoid(odds).sum()
        return torch.stack([loss, (odds > 0).sum().to(loss.dtype), odds.detach().sum()])

    def divisor(self, whole: Sequence[Unit]) -> int:
        return len(whole)


def log_of_the_rest(log_p: torch.Tensor) -> torch.Tensor:
    """log(1 - p) from log p < 0, accurate at both ends (Maechler 2012)."""
    below = log_p.clamp(max=-1e-12)
    near_one = below > -math.log(2)
    return torch.where(
        near_one,
        torch.log(-torch.expm1(torch.where(near_one, below, -1.0))),
        torch.log1p(-torch.exp(torch.where(near_one, -1.0, below))),
    )


def only_pairs(units: Sequence[Unit]) -> list[Pair]:
    """The units as pairs, which is what preference data holds."""
    return [unit for unit in units if isinstance(unit, Pair)]


def answers(units: Sequence[Unit]) -> list[Example]:
    """What passes through the model for these units: a pair's better answer, then its worse one."""
    return [one for unit in units for one in ((unit.chosen, unit.rejected) if isinstance(unit, Pair) else (unit,))]


def unused_words(config: Config) -> str:
    """A sentence that names the settings which were given and which this objective does not heed; '' for none."""
    usual = Config()
    names = [] if config.objective in PREFERENCES else ["beta", "length_normalised"]
    names += [] if config.objective == "verified" else ["rounds", "samples", "keep", "temperature", "checked_by"]
    given = ["--" + name.replace("_", "-") for name in names if getattr(config, name) != getattr(usual, name)]
    return f"Not used by the objective {config.objective}: {', '.join(given)}." if given else ""


def objective_of(config: Config) -> Objective:
    """The objective that a run's settings name."""
    if config.objective == "dpo":
        per_token = bool(config.length_normalised)
        return DirectPreference(config.beta or (DPO_BETA_PER_TOKEN if per_token else DPO_BETA), per_token)
    if config.objective == "orpo":
        return OddsRatio(config.beta or ORPO_BETA, config.length_normalised is not False)
    return Likelihood()
