"""How answers are generated, and one answer as it stands."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from eval_prompts.rows import FINAL_STATES, State, Sure
from tuning.data.thinking import Thought, split_thinking
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.models.pair import Side

MAX_NEW_TOKENS_LIMIT = 4096
MAX_STOPS, MAX_STOP_CHARACTERS = 8, 200


@dataclass(frozen=True)
class Settings:
    """How answers are generated; temperature 0 is greedy, ``stop`` are texts at which an answer is cut off. With
    ``confidence`` each answer tells how likely its model found every token. Raises UserError for a value out of range.
    """

    max_new_tokens: int = 300
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()
    confidence: bool = False

    def __post_init__(self) -> None:
        if not _is_whole(self.max_new_tokens) or not 1 <= self.max_new_tokens <= MAX_NEW_TOKENS_LIMIT:
            raise UserError(f"The token cap must be a whole number from 1 to {MAX_NEW_TOKENS_LIMIT}.")
        if not _is_number(self.temperature) or not 0 <= self.temperature <= 5:
            raise UserError("The temperature must lie between 0 (greedy) and 5.")
        if not _is_number(self.top_p) or not 0 < self.top_p <= 1:
            raise UserError("Top-p must be greater than 0 and at most 1.")
        if not _is_whole(self.seed) or not 0 <= self.seed < 2**63:
            raise UserError("The seed must be a whole number from 0 to 2^63 - 1.")
        if not isinstance(self.stop, tuple) or len(self.stop) > MAX_STOPS:
            raise UserError(f"Stop texts are a list of at most {MAX_STOPS} texts.")
        if not all(isinstance(text, str) and 0 < len(text) <= MAX_STOP_CHARACTERS for text in self.stop):
            raise UserError(f"A stop text must have 1 to {MAX_STOP_CHARACTERS} characters.")
        if not isinstance(self.confidence, bool):
            raise UserError("Confidence is asked for with true, or not with false.")

    def to_dict(self) -> dict[str, Any]:
        """As JSON data; without stop texts where there are none, and without confidence where nobody asked for it."""
        told = asdict(self) | {"stop": list(self.stop)}
        return {name: value for name, value in told.items() if value or name not in ("stop", "confidence")}

    def cut(self, text: str) -> str:
        """A text up to the first stop text in it."""
        found = [at for stop in self.stop if (at := text.find(stop)) >= 0]
        return text[: min(found)] if found else text


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object) -> bool:
    return _is_number(value) and int(value) == value


@dataclass(frozen=True)
class Answer:
    """One side's answer to one question, as it stands.

    ``seconds`` runs from this answer's first computation, ``first_token_seconds`` from the moment of asking;
    ``tokens`` counts the generated tokens without the closing one. ``text`` is all of it; of a thinking model that
    includes its draft, and the tag ``opening`` where that stood in the prompt. ``confidence`` are the tokens of the
    text behind ``opening``, each with its probability, where the settings ask for it. ``full`` says that the model's
    context ended it before the token cap, ``problem`` why this answer alone failed.
    """

    side: Side
    index: int
    question: str
    text: str = ""
    tokens: int = 0
    seconds: float = 0.0
    first_token_seconds: float | None = None
    state: State = "waiting"
    opening: str = ""
    confidence: tuple[Sure, ...] = ()
    strength: float | None = None
    """How strongly the adapter spoke, where it was asked at several strengths."""
    full: bool = False
    problem: str = ""

    @property
    def thought(self) -> Thought:
        """The draft of a thinking model, and what it said after it."""
        return split_thinking(self.text)

    @property
    def said(self) -> str:
        """The answer without the draft before it: what is judged and compared."""
        return self.thought.said

    @property
    def thinks_still(self) -> bool:
        """Whether the draft has not come to its end, so that nothing was said."""
        return not self.thought.over

    @property
    def stopped(self) -> bool:
        """True if the model ended the answer itself."""
        return self.state == "ended"

    @property
    def done(self) -> bool:
        """True if nothing more will come."""
        return self.state in FINAL_STATES

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens over the time spent on this answer; 0 before there is any."""
        return self.tokens / self.seconds if self.seconds > 0 else 0.0


UNSAID = "The answer before it says nothing to go on from."
CONTEXT_FULL = "the end of the model's context"


def ending_words(state: str, cap: str = "the token cap", stopped: str = "stopped by hand") -> str:
    """How an answer ended, in words: the one place that has them. A state that is no end is told as it is."""
    return {"ended": "ended by itself", "capped": f"hit {cap}", "cancelled": stopped}.get(state, state)
