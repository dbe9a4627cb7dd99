"""One question as it is put, its answer while that is computed, and how many come before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tuning.data.chat import PYTHON_FORMAT, Message, PromptFormat, check_question, check_whole
from tuning.data.pieces import Pieces
from tuning.errors import UserError

if TYPE_CHECKING:
    import torch

    from eval_prompts.models.pair import Side
    from eval_prompts.stream import Stream

State = Literal["waiting", "streaming", "ended", "capped", "cancelled", "failed"]
Sure = tuple[str, float | None]
"""A token's characters, and how likely its model found it; None where nobody told."""
FINAL_STATES = frozenset({"ended", "capped", "cancelled", "failed"})


@dataclass(frozen=True)
class Prompt:
    """One question as it is asked: the conversation that the answer follows, and ``text``, which is what people see.

    ``size`` counts the characters that whoever asks has given, for the caps on questions; ``seed`` is this question's
    own, where it is not that of the settings. ``begun`` is how the answer begins, as text or in tokens of the side that
    is asked: it goes on from there. ``tuned`` is the tuned side's conversation, where that is another one. ``after`` is
    the number, in the same request, of the question whose answer this one goes on from, each side from its own:
    ``messages`` are then what is said next.
    """

    text: str
    messages: tuple[Message, ...]
    size: int = 0
    seed: int | None = None
    begun: str | tuple[int, ...] = ()
    tuned: tuple[Message, ...] | None = None
    after: int | None = None

    def to(self, side: str) -> tuple[Message, ...]:
        """The conversation as it is put to a side."""
        return self.messages if side != "tuned" or self.tuned is None else self.tuned


def prompt_of(question: str | tuple[str, str] | Prompt, format: PromptFormat = PYTHON_FORMAT) -> Prompt:
    """A text, or a (question, input) pair, in a prompt format. Raises UserError if it cannot be asked."""
    if isinstance(question, Prompt):
        check_question(question.text)
        for message in (*question.messages, *(question.tuned or ())):
            check_whole(message["content"], "conversation")
        if isinstance(question.begun, str):
            check_whole(question.begun, "beginning of the answer")
        return question
    asked, given = question if isinstance(question, tuple) else (question, "")
    if not isinstance(asked, str) or not isinstance(given, str):
        raise UserError("A question must be text.")
    asked, given = check_question(asked), given.strip()
    check_whole(given, "input")
    messages = format.messages({"question": asked, "input": given})
    return Prompt(asked, tuple(messages), len(asked) + len(given))


@dataclass(eq=False)
class Row:
    """One answer while it is computed. Owned by the thread that computes it; others only read.

    ``written`` is the answer in what ``decode`` makes text of: tokens, the closing one among them, or an endpoint's
    pieces. ``ids`` are the tokens that a decoder in this process feeds, the prompt's (``prompt_length``) and those that
    are written; the first ``fed`` of them are in the key-value cache.
    """

    stream: Stream
    side: Side
    index: int
    written: list[int] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    prompt_length: int = 0
    limit: int = 0
    fed: int = 0
    state: State = "waiting"
    started: float | None = None
    first_token_seconds: float | None = None
    finished: float | None = None
    generator: torch.Generator | None = None
    ended_by_token: bool = False
    decode: Callable[[list[int]], str] | None = None
    """From tokens to text, as this side's tokenizer has it; None where the request's own does."""
    ends: frozenset[int] = frozenset()
    """Tokens that end this answer."""
    stops: tuple[str, ...] = ()
    """Texts at which this side's format ends an answer, besides those of the settings."""
    opening: str = ""
    """The tag with which the prompt has opened a draft, so that the answer begins inside it."""
    odds: list[float | None] = field(default_factory=list)
    """How likely the model found each token behind the prompt, where the settings ask for it: by its own logits, before
    temperature, top-p and its generation settings; None for a token that it did not choose, or that nobody told of."""
    pieces: Pieces = field(default_factory=Pieces)
    strength: float | None = None
    """How strongly the adapter speaks in this answer; None as it is loaded."""
    short: bool = False
    """Whether the model's context leaves less room for the answer than the token cap does."""
    problem: str = ""
    """Why this answer alone failed, for people."""

    @property
    def generated(self) -> list[int]:
        """What is written so far, without the closing token."""
        return self.written[:-1] if self.ended_by_token else self.written[:]

    def text(self, ids: list[int]) -> str:
        """Generated tokens as text, up to a stop text."""
        text = self.stream.settings.cut((self.decode or self.stream.decode)(ids))
        places = [at for stop in self.stops if (at := text.find(stop)) >= 0]
        text = text[: min(places)] if places else text
        return self.opening + text if text else ""

    def confidence(self, ids: list[int], text: str) -> tuple[Sure, ...]:
        """The tokens of ``text``, which ``ids`` were decoded to, each with its probability; none without asking."""
        if not self.stream.settings.confidence:
            return ()
        left = len(text) - len(self.opening) if text else 0
        found: list[Sure] = []
        pieces = self.pieces.of(ids, self.decode or self.stream.decode, self.state in FINAL_STATES)
        for place, piece in enumerate(pieces):
            if left <= 0:
                break
            found.append((piece[:left], self.odds[place] if place < len(self.odds) else None))
            left -= len(piece)
        return tuple(found)

    @property
    def at_stop(self) -> bool:
        """Whether the newest tokens complete a stop text. A token is at least a byte; some more are read for its
        start."""
        stops = (*self.stops, *self.stream.settings.stop)
        reach = max((len(stop.encode()) for stop in stops), default=0) + 4
        newest = (self.decode or self.stream.decode)(self.generated[-reach:]) if stops else ""
        return any(stop in newest for stop in stops)

    @property
    def cancelled(self) -> bool:
        """True once someone has asked this answer, or all of its request, to end."""
        return self.stream.cancelled or self.stream.is_stopped(self.index)


@dataclass(frozen=True)
class Ahead:
    """What comes before a request that waits: so many answers, of so many requests; and how many answers are written
    at the same time, 0 where that is not known."""

    answers: int = 0
    requests: int = 0
    at_once: int = 0

    @classmethod
    def of(cls, rows: Sequence[Row], at_once: int = 0) -> Ahead:
        """These rows come first; nothing is said of a request that is next."""
        return cls(len(rows), len({id(row.stream) for row in rows}), at_once) if rows else cls()
