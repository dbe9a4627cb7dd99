"""What a model that is compared must be able to do, whoever computes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tuning.data.chat import Message

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Place:
    """What a model thought of the next token at one place: some tokens [n], or all, likeliest first, and their
    log-probabilities (natural) in fp64 [n]."""

    tokens: torch.Tensor
    logprobs: torch.Tensor

    @property
    def first(self) -> int:
        """The likeliest token."""
        return int(self.tokens[0])

    def of(self, token: int) -> float | None:
        """The log-probability of a token; None if it is not among those that are told."""
        found = (self.tokens == token).nonzero()
        return float(self.logprobs[found[0, 0]]) if len(found) else None


@dataclass(frozen=True)
class Answer:
    """A greedy answer: its tokens, the one that ended it included, and what was thought at each of them."""

    tokens: tuple[int, ...]
    places: tuple[Place, ...]
    ended: bool
    """Whether it ended by itself, rather than at the limit."""


class Engine(Protocol):
    """A program that answers with the artefact."""

    name: str

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of a conversation as this engine renders and splits it, up to where the answer begins."""

    def answer(self, prompt: Sequence[int], most: int) -> Answer:
        """The greedy answer to a prompt, at most ``most`` tokens."""

    def read(self, prompt: Sequence[int], text: Sequence[int]) -> list[Place]:
        """What is thought at every token of ``text`` as it follows ``prompt``; that token is always told of."""

    def ends_at(self, token: int) -> bool:
        """Whether an answer is over with this token."""

    def text_of(self, tokens: Sequence[int]) -> str:
        """What it writes for some tokens of an answer."""

    def vocabulary(self) -> list[str]:
        """Its tokens by their numbers; none where they are not told."""

    def close(self) -> None:
        """Let go of the model."""
