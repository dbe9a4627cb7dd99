"""One visitor's request: questions in, two streams of text out, safe to read while they are written."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from eval_prompts.answers import Answer, Settings
from eval_prompts.rows import FINAL_STATES, Ahead, Prompt, Row, prompt_of
from tuning.data.chat import PYTHON_FORMAT, Message, PromptFormat
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.decoding.backend import Backend
    from eval_prompts.models.adapters import AdapterCard
    from eval_prompts.models.pair import Side

MAX_QUESTIONS = 1000


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
