"""Two models that are built differently: each side's rows are computed by a decoder of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eval_prompts.decoding.in_turn import in_turn
from eval_prompts.models.pair import Pair

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from transformers import PreTrainedModel

    from eval_prompts.decoding.backend import Backend
    from eval_prompts.models.pair import Side
    from eval_prompts.rows import Row


class SidesApart:
    """One decoder for each side (:class:`eval_prompts.decoding.backend.Backend`); nothing is computed in common."""

    scales = False

    def __init__(self, backends: Mapping[Side, Backend], names: Mapping[Side, str]) -> None:
        """``names`` are what people call the sides in notes."""
        self._backends = dict(backends)
        used = list(self._backends.values())
        self.context: int = min(backend.context for backend in used)
        self.precision: str = " and ".join(dict.fromkeys(backend.precision for backend in used))
        self.weight_bytes: int = sum(backend.weight_bytes for backend in used)
        self.notes = notes_of(self._backends, names)
        contexts = {names[side]: backend.context for side, backend in self._backends.items()}
        if len(set(contexts.values())) > 1:
            words = " and ".join(f"{name} {length:,}" for name, length in contexts.items())
            self.notes.append(f"Their contexts differ ({words} tokens): both are held to the shorter.")

    def enter(self, row: Row) -> None:
        """Make room for ``row`` in its side's decoder."""
        self._backends[row.side].enter(row)

    def leave(self, row: Row) -> None:
        """Forget ``row``."""
        self._backends[row.side].leave(row)

    def advance(self, rows: list[Row], prefill_tokens: int) -> tuple[list[Row], torch.Tensor]:
        """One step of each side that has rows; tokens that one side's vocabulary lacks are minus infinity there."""
        groups = [(each, [row for row in rows if row.side == side]) for side, each in self._backends.items()]
        return in_turn([group for group in groups if group[1]], prefill_tokens)


def own_pair(pair: Pair, side: Side) -> Pair:
    """One side's model as both sides of a pair, for a decoder that answers that side's rows alone."""
    model: PreTrainedModel = pair.model(side)
    return Pair(model, model, pair.tokenizers[side], pair.device, None, base_is_base=True)


def built_differently(pair: Pair) -> bool:
    """Whether the two sides differ in kind, or in the name or shape of any weight."""
    if pair.tuned is None:
        return False
    shapes = [{name: each.shape for name, each in model.named_parameters()} for model in (pair.base, pair.tuned)]
    return type(pair.base) is not type(pair.tuned) or shapes[0] != shapes[1]


def notes_of(backends: Mapping[Side, Backend], names: Mapping[Side, str]) -> list[str]:
    """What both decoders say; what only one says, with its side's name before it."""
    first = next(iter(backends.values()))
    common = [note for note in first.notes if all(note in one.notes for one in backends.values())]
    alone = [
        f"{names[side]}: {note}" for side, backend in backends.items() for note in backend.notes if note not in common
    ]
    return [*common, *alone]
