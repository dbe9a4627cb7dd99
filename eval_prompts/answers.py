"""Questions in, two streams of text out: settings, live answers, and the stream a visitor reads."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard

from eval_prompts.rows import FINAL_STATES, Ahead, Prompt, Row, State, Sure, prompt_of
from tuning.data.chat import PYTHON_FORMAT, Message, PromptFormat
from tuning.data.thinking import Thought, split_thinking
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.decoding.engine import Backend
    from eval_prompts.models.adapters import AdapterCard
    from eval_prompts.models.pair import Side

MAX_NEW_TOKENS_LIMIT = 4096
MAX_QUESTIONS = 1000
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


class Stream:
    """One visitor's request: its rows while they are answered. Safe to read from any thread."""

    def __init__(
        self,
        questions: Sequence[str | tuple[str, str] | Prompt],
        sides: Sequence[Side],
        settings: Settings,
        visitor: str = "",
        format: PromptFormat = PYTHON_FORMAT,
        strengths: Sequence[float] = (),
    ) -> None:
        """``questions`` are prompts, or texts and (question, input) pairs, which are put into ``format``. With
        ``strengths`` the tuned side alone answers each question, once at each of them. Raises UserError if one cannot
        be asked."""
        if not questions:
            raise UserError("There is no question to ask.")
        if len(questions) > MAX_QUESTIONS:
            raise UserError(f"At most {MAX_QUESTIONS} questions can be asked at once.")
        self.questions = [prompt_of(question, format) for question in questions]
        self.sides: tuple[Side, ...] = ("tuned",) if strengths else tuple(sides)
        self.strengths = tuple(strengths)
        self.decoders: Mapping[float, Backend] = {}
        """What computes at a strength, where the decoder in use does not; let go of once all answers are over."""
        self.apart = False
        """Whether each strength has, or had, a decoder of its own."""
        self.settings = settings
        self.visitor = visitor
        self.address = ""
        self.background = False
        """Whether it waits, and is set aside, while anybody else is being answered."""
        self.rows = [
            Row(self, side, index, strength=strength)
            for index in range(len(self.questions))
            for side in self.sides
            for strength in self.strengths or (None,)
        ]
        self.asked = time.monotonic()
        self.prompts_for: Callable[[AdapterCard | None], Sequence[Prompt]] | None = None
        """The questions as they are put to an adapter, where that depends on it; it may not be known yet."""
        self.decode: Callable[[list[int]], str] = lambda ids: ""
        self.count_ahead: Callable[[Stream], Ahead] = lambda stream: Ahead()
        self._changed = threading.Condition()
        self._version = 0
        self._cancelled = False
        self._stopped: set[int] = set()
        self._error: str | None = None

    def cancel(self) -> None:
        """End all answers of this request as soon as the step now being computed is over."""
        self._cancelled = True
        self.notify()

    def stop(self, index: int) -> None:
        """End the answers to question number ``index`` alone; the others go on."""
        self._stopped.add(index)
        self.notify()

    def put_to(self, adapter: AdapterCard | None) -> None:
        """Lay the questions out for the adapter that answers, where that makes a difference. Raises UserError if one
        cannot be asked of it."""
        if self.prompts_for is not None:
            self.questions = list(self.prompts_for(adapter))

    def row(self, index: int, side: Side, strength: float | None = None) -> Row:
        """One answer by its question's number, its side and, where it is asked at several, its strength."""
        found = (row for row in self.rows if (row.index, row.side) == (index, side))
        return next(row for row in found if strength is None or row.strength == strength)

    def before(self, row: Row) -> Row | None:
        """The answer of the same request that this one goes on from; None where it goes on from none."""
        after = self.questions[row.index].after
        return None if after is None else self.row(after, row.side, row.strength)

    def conversation(self, index: int, side: Side, strength: float | None = None) -> tuple[Message, ...]:
        """What the answer of a side to question number ``index`` follows. Where that goes on from an answer of the same
        request, it is the whole once that one is over. A thinking model's draft is left out."""
        prompt = self.questions[index]
        if prompt.after is None:
            return prompt.to(side)
        said = self._snapshot(self.row(prompt.after, side, strength)).said
        answer = Message(role="assistant", content=said)
        return (*self.conversation(prompt.after, side, strength), answer, *prompt.messages)

    @property
    def prompts(self) -> list[Prompt]:
        """The questions as they were put to both sides, each with its whole conversation."""
        found = []
        for index, prompt in enumerate(self.questions):
            if prompt.after is not None:
                put = {side: self.conversation(index, side) for side in self.sides}
                first = put[self.sides[0]]
                tuned = put.get("tuned", first)
                prompt = replace(prompt, messages=first, tuned=None if tuned == first else tuned, after=None)
            found.append(prompt)
        return found

    def is_stopped(self, index: int) -> bool:
        """True once someone has asked the answers to this one question to end."""
        return index in self._stopped

    def wait(self, index: int, timeout: float) -> bool:
        """Wait until the answers to question number ``index`` are over; False if they are not after ``timeout`` s."""
        rows = [row for row in self.rows if row.index == index]
        with self._changed:
            return self._changed.wait_for(lambda: all(row.state in FINAL_STATES for row in rows), timeout)

    def wait_over(self, timeout: float) -> bool:
        """Wait until the whole request is over, or someone has asked it to end; False if not after ``timeout`` s."""
        with self._changed:
            return self._changed.wait_for(lambda: self.done or self._cancelled, timeout)

    def fail(self, message: str) -> None:
        """End the request with a message for the visitor; the first one stays."""
        self._error = self._error or message
        for row in self.rows:
            if row.state not in FINAL_STATES:
                row.state, row.finished = "failed", time.monotonic()
        self.notify()

    def notify(self) -> None:
        """Wake whoever reads this stream: something has changed."""
        with self._changed:
            self._version += 1
            self._changed.notify_all()

    @property
    def cancelled(self) -> bool:
        """True once someone has asked this request to end."""
        return self._cancelled

    @property
    def error(self) -> str | None:
        """Why the request failed, in one sentence; None while it has not."""
        return self._error

    @property
    def done(self) -> bool:
        """True if no answer of this request will grow any more."""
        return all(row.state in FINAL_STATES for row in self.rows)

    @property
    def ahead(self) -> Ahead:
        """What must finish or progress before this one starts."""
        return self.count_ahead(self)

    @property
    def answers(self) -> list[Answer]:
        """A copy of all answers as they stand, by question, base before tuned."""
        return [self._snapshot(row) for row in self.rows]

    def newly_finished(self, taken: set[int]) -> list[Answer]:
        """The answers that have ended since the last call; ``taken`` keeps the numbers of their rows."""
        ended = [number for number, row in enumerate(self.rows) if number not in taken and row.state in FINAL_STATES]
        taken.update(ended)
        return [self._snapshot(self.rows[number]) for number in ended]

    def _snapshot(self, row: Row) -> Answer:
        ids = row.generated
        text = row.text(ids)
        if row.state not in FINAL_STATES:
            text = text.rstrip("\ufffd")  # the first bytes of a character whose others are still to come
        now = row.finished if row.finished is not None else time.monotonic()
        return Answer(
            side=row.side,
            index=row.index,
            question=self.questions[row.index].text,
            text=text,
            tokens=len(ids),
            seconds=now - row.started if row.started is not None else 0.0,
            first_token_seconds=row.first_token_seconds,
            state=row.state,
            opening=row.opening,
            confidence=row.confidence(ids, text),
            strength=row.strength,
            full=row.state == "capped" and row.short,
            problem=row.problem,
        )

    def snapshots(self, interval: float = 0.08) -> Iterator[list[Answer]]:
        """Yield all answers at once, then after each change, at most every ``interval`` seconds, to the end.

        Yields at least every half second, so that a reader who has gone is noticed. Raises UserError if the request
        failed. Closing the iterator early cancels the request.
        """
        try:
            while True:
                version = self._version
                complete = self.done
                yield self.answers
                if self._error is not None:
                    raise UserError(self._error)
                if complete:
                    return
                due = time.monotonic() + interval
                with self._changed:
                    self._changed.wait_for(partial(self._is_newer_than, version), timeout=0.5)
                    self._changed.wait_for(lambda: self.done, timeout=max(0.0, due - time.monotonic()))
        finally:
            if not self.done:
                self.cancel()

    def _is_newer_than(self, version: int) -> bool:
        return self._version != version

    def result(self) -> list[Answer]:
        """Wait for the end and return the complete answers. Raises UserError if the request failed."""
        *_, complete = self.snapshots(interval=0.5)
        return complete
