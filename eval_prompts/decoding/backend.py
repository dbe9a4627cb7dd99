"""What the scheduler needs of a decoder, and which decoder computes a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tuning.errors import UserError

if TYPE_CHECKING:
    import torch

    from eval_prompts.rows import Row

CHANGED = "Another adapter has been loaded meanwhile: ask at these strengths again."


class Backend(Protocol):
    """What computes. Rows enter, are advanced together step by step, and leave when they are over."""

    context: int
    precision: str
    """In a word for people: fp32."""
    weight_bytes: int
    notes: list[str]
    """What people should know of how it computes, in sentences."""
    scales: bool
    """Whether every row of the tuned side may have a strength of its own; it is the trained adapter's then."""

    def enter(self, row: Row) -> None:
        """Make room for ``row`` (up to ``row.limit`` tokens)."""

    def leave(self, row: Row) -> None:
        """Forget ``row`` and free its memory."""

    def advance(self, rows: list[Row], prefill_tokens: int) -> tuple[list[Row], torch.Tensor]:
        """Feed each row's tokens that are not in the cache yet, new prompts up to ``prefill_tokens`` in all.

        Returns the rows that are fed completely and their logits, [rows, vocabulary] in fp32.
        """


def decoder_of(row: Row, backend: Backend) -> Backend:
    """What computes a row: the backend in use or, at a strength that it does not take, one of the request's own.

    Raises UserError where the backend has changed since, and takes none."""
    own = None if row.strength is None else row.stream.decoders.get(row.strength)
    if own is None and row.strength is not None and not backend.scales:
        raise UserError(CHANGED)
    return own or backend


def advance(rows: list[Row], backend: Backend, prefill_tokens: int) -> tuple[list[Row], torch.Tensor]:
    """One step of all rows; those that have decoders of their own follow one another."""
    from eval_prompts.decoding.in_turn import in_turn

    if not any(row.stream.decoders for row in rows):
        return backend.advance(rows, prefill_tokens)
    groups: dict[int, tuple[Backend, list[Row]]] = {}
    for row in rows:
        decoder = decoder_of(row, backend)
        groups.setdefault(id(decoder), (decoder, []))[1].append(row)
    return in_turn(groups.values(), prefill_tokens)
