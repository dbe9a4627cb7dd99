"""One optimizer step: its rows, their gradient however memory allows, the update. And a session that holds the parts.

:func:`open_session` and :func:`run_steps` are also the entry for benchmarks: plain rows in, numbers per step out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tuning.data.batches import common_prefix, micro_batches, share, step_rows
from tuning.data.chat import Unit
from tuning.errors import UserError
from tuning.kernels.dropout import Noise, step_key
from tuning.kernels.memory import Budget, is_out_of_memory, pass_size, release
from tuning.presets import Config
from tuning.training.adapter.lora import attach, trainable
from tuning.training.adapter.targets import with_targets
from tuning.training.forward import CHECK_ROWS, Forward, choose_forward, computed_tokens
from tuning.training.objectives import Objective, answers, objective_of
from tuning.training.optimizer import learning_rate, make_optimizer, set_rate
from tuning.training.parallel import Ranks
from tuning.upstream.torch_operators import divide_all

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class StepStats:
    """What one step did. ``tokens`` are the rows' prompt and answer tokens, ``trained_tokens`` those with a label, and
    ``computed_tokens`` those that went through the model: a shared prefix counts once per pass; padding counts, but not
    that of a recorded pass. Counts and loss cover all devices, but ``computed_tokens`` this one's; the loss is what the
    objective says, before the update, and ``figures`` are its further means over the step."""

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    trained_tokens: int
    tokens: int
    computed_tokens: int
    seconds: float
    stop: bool = False
    figures: dict[str, float] = field(default_factory=dict)


@dataclass
class Session:
    """A model that is being trained, and everything that a step needs."""

    config: Config
    model: PeftModel
    forward: Forward
    optimizer: torch.optim.Optimizer
    examples: Sequence[Unit]
    budget: Budget
    ranks: Ranks = field(default_factory=Ranks)
    say: Callable[[str], None] = print

    objective: Objective = field(init=False)
    lengths: list[int] = field(init=False)
    """Tokens of every training example."""
    first_step: int = 0
    """The step with which these examples are met for the first time."""
    order: int = 0
    """Which examples these are, where a run trains several sets after each other: each has an order of its own."""

    def __post_init__(self) -> None:
        self.objective = objective_of(self.config)
        self.lengths = [len(example) for example in self.examples]

    def take(self, examples: Sequence[Unit], first_step: int, order: int) -> None:
        """Train these examples from ``first_step`` on."""
        self.examples, self.first_step, self.order = examples, first_step, order
        self.lengths = [len(example) for example in examples]

    def rows_of(self, step: int) -> list[int]:
        """The places in ``examples`` that a step trains."""
        seed = self.config.seed + self.order
        return step_rows(step - self.first_step, self.config.batch_size, len(self.examples), seed)


def open_session(
    base: PreTrainedModel,
    config: Config,
    examples: Sequence[Unit],
    *,
    ranks: Ranks | None = None,
    say: Callable[[str], None] = print,
    start: Path | None = None,
) -> Session:
    """Put adapters on ``base`` and choose the fastest forward pass that gives the model's own numbers. Factors that
    begin in the weights are kept in the folder ``start``."""
    noise = Noise()
    config = with_targets(config, base, say)
    model = attach(base, config, noise, start, ranks).eval()
    prefix = 0 if config.neftune else common_prefix(examples)  # each example has noise of its own
    forward = choose_forward(model, noise, answers(examples[:CHECK_ROWS]), prefix)
    optimizer = make_optimizer(trainable(model), config)
    tokens = config.micro_batch_tokens or pass_size(forward.head.device.type)
    budget = Budget(tokens, config.micro_batch_rows, config.gradient_checkpointing)
    session = Session(config, model, forward, optimizer, examples, budget, ranks or Ranks(), say)
    forward.checkpointing = budget.checkpointing
    return session


def run_steps(session: Session, count: int, first: int = 0) -> Iterator[StepStats]:
    """Train ``count`` steps, beginning with step ``first``."""
    for step in range(first, first + count):
        yield train_step(session, step)


def train_step(session: Session, step: int, stop: bool = False) -> StepStats:
    """One update. ``stop`` asks all processes to end after it; the answer is in the result's ``stop``.

    Raises UserError if loss or gradient are not finite (the adapter is then unchanged) or if one row does not fit.
    """
    started = time.perf_counter()
    config, ranks = session.config, session.ranks
    rows = session.rows_of(step)
    batch = [session.examples[row] for row in rows]
    mine = share(rows, session.lengths, ranks.rank, ranks.count)
    session.model.train()
    sums, computed = accumulate(session, batch, mine, step_key(config.seed, step))

    factors = list(trainable(session.model).values())
    extra = torch.tensor([*sums, float(stop)], device=factors[0].device)
    gradients = [factor.grad if factor.grad is not None else torch.zeros_like(factor) for factor in factors]
    ranks.add([*gradients, extra])
    divisor = session.objective.divisor(batch)
    divide_all(gradients, divisor)
    for factor, gradient in zip(factors, gradients, strict=True):
        factor.grad = gradient
    loss, *others = (value / divisor for value in extra[:-1].tolist())
    norm = torch.nn.utils.clip_grad_norm_(factors, config.clip_norm or math.inf).item()
    if not (math.isfinite(loss) and math.isfinite(norm)):
        what = "loss" if not math.isfinite(loss) else "gradient"
        raise UserError(
            f"The {what} of step {step + 1} is not a finite number: lower --learning-rate (now "
            f"{config.learning_rate:g}) or raise --warmup-steps. The last good adapter is kept."
        )
    rate = learning_rate(config, step)
    set_rate(session.optimizer, rate)
    session.optimizer.step()
    session.optimizer.zero_grad(set_to_none=True)
    seconds = time.perf_counter() - started
    tokens = sum(len(example) for example in batch)
    trained = sum(unit.label_count for unit in batch)
    figures = dict(zip(session.objective.figures, others, strict=True))
    stopped = bool(extra[-1].item())
    return StepStats(step + 1, loss, rate, norm, trained, tokens, computed, seconds, stopped, figures)


def accumulate(session: Session, batch: Sequence[Unit], mine: Sequence[int], key: int) -> tuple[list[float], int]:
    """Sum the gradients of the rows ``mine`` of ``batch`` into the adapter; returns the objective's sums over them and
    the tokens computed. Out of memory, it begins again with a tighter budget, which gives the same gradient."""
    while True:
        found: list[torch.Tensor] = []
        computed = 0
        session.model.zero_grad(set_to_none=True)
        for group in passes(session, [len(batch[place]) for place in mine]):
            places = [mine[member] for member in group]
            units = [batch[place] for place in places]
            sums = one_pass(session, units, places, key, batch)
            if sums is None:
                tighten(session, units)
                break
            found.append(sums)
            computed += computed_tokens(session.forward, answers(units))
        else:
            none = [0.0] * (1 + len(session.objective.figures))
            return [sum(values) for values in zip(none, *(sums.tolist() for sums in found), strict=True)], computed


def one_pass(
    session: Session, units: Sequence[Unit], places: Sequence[int], key: int, whole: Sequence[Unit]
) -> torch.Tensor | None:
    """Forward and, where gradients are wanted, backward over one micro-batch of the step ``whole``: the objective's
    sums, or None if memory ran out."""
    try:
        sums = session.objective.sums(session.forward, units, places, key, whole)
        if sums.requires_grad:
            sums[0].backward()
        return sums.detach()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def passes(session: Session, lengths: Sequence[int], prefix: int | None = None) -> list[list[int]]:
    """The micro-batches of rows of these lengths under the run's present budget; ``prefix`` is what they share where
    that is not the training rows' prefix."""
    forward, budget = session.forward, session.budget
    shared = forward.prefix if prefix is None else prefix
    return micro_batches(lengths, budget.tokens, budget.rows, prefix=shared, padded=forward.padded)


def tighten(session: Session, units: Sequence[Unit]) -> None:
    """Adapt the session to having run out of memory over ``units``, and say so."""
    session.model.zero_grad(set_to_none=True)
    gave_up = session.forward.give_up()
    release()
    if gave_up:
        session.say("Out of memory: it is tried again without recorded passes, which need memory of their own.")
        return
    lengths = [len(unit) for unit in units]
    session.say(session.budget.tighten(lengths, computed_tokens(session.forward, answers(units))))
    session.forward.checkpointing = session.budget.checkpointing


def try_longest(session: Session) -> None:
    """Run the largest pass that this run can meet, forward and backward, and forget its gradient.

    A run that cannot fit so fails, or finds its budget, before its first step instead of an hour in.
    """
    longest = sorted(range(len(session.examples)), key=lambda row: -len(session.examples[row]))
    batch = [session.examples[row] for row in longest[: session.config.batch_size]]
    session.model.train()
    largest = passes(session, [len(example) for example in batch])[0]
    accumulate(session, [batch[member] for member in largest], range(len(largest)), key=0)
    session.model.zero_grad(set_to_none=True)


@torch.no_grad()
def measured(session: Session, units: Sequence[Unit]) -> dict[str, float]:
    """The objective's ``loss`` and its figures over ``units``, without dropout, each process taking its share."""
    session.model.eval()
    ranks = session.ranks
    mine = units[ranks.rank :: ranks.count]
    total = torch.zeros(1 + len(session.objective.figures), device=session.forward.head.device)

    def add(rows: Sequence[Unit]) -> bool:
        sums = one_pass(session, rows, range(len(rows)), key=0, whole=units)
        if sums is not None:
            total.add_(sums)
        return sums is not None

    in_passes(session, mine, add)
    ranks.add([total])
    values = (value / session.objective.divisor(units) for value in total.tolist())
    return dict(zip(("loss", *session.objective.figures), values, strict=True))


def in_passes(session: Session, units: Sequence[Unit], run: Callable[[list[Unit]], bool]) -> None:
    """``run`` over all units in passes within the budget; those for which it answers False, for want of memory, are
    halved and tried again."""
    prefix = common_prefix(units, session.forward.prefix)
    waiting = [[units[member] for member in group] for group in passes(session, [len(unit) for unit in units], prefix)]
    while waiting:
        rows = waiting.pop()
        if not run(rows):
            tighten(session, rows)
            waiting += [half for half in (rows[::2], rows[1::2]) if half]
