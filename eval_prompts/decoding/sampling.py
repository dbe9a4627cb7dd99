"""From logits to the next token: greedy, or temperature and top-p with a generator for each row; and its odds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from eval_prompts.answers import Settings
    from eval_prompts.rows import Row


def generator_for(settings: Settings, seed: int | None = None) -> torch.Generator | None:
    """A row's own random generator, so that its text does not depend on who else is being answered. ``seed`` is the
    question's own, where it has one."""
    import torch

    chosen = settings.seed if seed is None else seed
    return None if settings.temperature == 0 else torch.Generator().manual_seed(int(chosen))


def choose_tokens(rows: list[Row], logits: torch.Tensor) -> list[int]:
    """The next token of each row from ``logits``, [rows, vocabulary]."""
    tokens = logits.argmax(dim=-1).tolist()
    for position, row in enumerate(rows):
        if row.generator is not None:
            settings = row.stream.settings
            tokens[position] = sample(logits[position], settings.temperature, settings.top_p, row.generator)
    return tokens


def sample(logits: torch.Tensor, temperature: float, top_p: float, generator: torch.Generator) -> int:
    """Draw from the softmax of ``logits``, [vocabulary], at a temperature, within its nucleus of mass ``top_p``.

    Nucleus (top-p) sampling as in Holtzman et al., "The Curious Case of Neural Text Degeneration" (2020): the
    smallest set of most likely tokens whose probabilities sum to at least ``top_p``.
    """
    probabilities = (logits.float().cpu() / temperature).softmax(dim=-1)
    if top_p < 1:
        ordered, order = probabilities.sort(descending=True)
        mass_before = ordered.cumsum(dim=-1) - ordered
        ordered = ordered.masked_fill(mass_before >= top_p, 0.0)
        return int(order[ordered.multinomial(1, generator=generator)])
    return int(probabilities.multinomial(1, generator=generator))


def probabilities(rows: list[Row], logits: torch.Tensor, tokens: list[int]) -> list[float | None]:
    """How likely each row's new token was by its model's own ``logits``, [rows, vocabulary]; None for the rows whose
    settings do not ask. One log-sum-exp for each row that does."""
    import torch

    places = [place for place, row in enumerate(rows) if row.stream.settings.confidence]
    found: list[float | None] = [None] * len(rows)
    if not places:
        return found
    part = logits if len(places) == len(rows) else logits[places]
    chosen = torch.tensor([[tokens[place]] for place in places], device=logits.device)
    odds = (part.gather(1, chosen)[:, 0] - part.logsumexp(-1)).exp().clamp(max=1).tolist()
    for place, value in zip(places, odds, strict=True):
        found[place] = value
    return found
