"""The scheduler: one thread that computes every live answer of every visitor in common steps."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from eval_prompts.decoding.backend import Backend, advance, decoder_of
from eval_prompts.decoding.prompts import goes_on, lay_out
from eval_prompts.decoding.sampling import choose_tokens, probabilities
from eval_prompts.decoding.tokenizers import by_side
from eval_prompts.rows import Ahead, Row, State
from eval_prompts.stream import Stream
from tuning.errors import UserError
from tuning.kernels.memory import is_out_of_memory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from eval_prompts.decoding.generation_defaults import GenerationDefaults, SideDefaults
    from eval_prompts.models.pair import Side

log = logging.getLogger(__name__)

MAX_ROWS = 32
PREFILL_TOKENS_PER_STEP = 512
CLOSE_SECONDS = 10.0
NO_MEMORY = "Answering failed: the memory ran out. Ask fewer or shorter questions."
FAULT = "Answering failed on the server, and its log says why: ask again."
BROKEN = "Answering has failed, and the server's log says why: its owner has to start the app again."
CLOSING = "The app is shutting down: ask again once it is back."


class Engine:
    """Continuous batching over a backend: requests are served first come, first served, row by row; those in the
    background only while nobody else is, and set aside, with what they have written, as soon as somebody asks."""

    def __init__(
        self,
        backend: Backend,
        tokenizers: PreTrainedTokenizerBase | Mapping[Side, PreTrainedTokenizerBase],
        max_rows: int = MAX_ROWS,
        on_broken: Callable[[str], None] = lambda _: None,
        defaults: GenerationDefaults | SideDefaults | None = None,
    ) -> None:
        """``tokenizers`` are those of the sides, or one for both; ``defaults`` are the model's own generation settings,
        where they are followed. ``on_broken`` is told, in one sentence, if the decode thread itself has failed; nothing
        is answered then."""
        self._backend = backend
        self._on_broken = on_broken
        self._defaults = defaults
        self._next_backend: Backend | None = None
        self._tokenizers = by_side(tokenizers)
        self._next_tokenizers = self._tokenizers
        self._max_rows = max_rows
        self._waiting: deque[Row] = deque()
        self._background: deque[Row] = deque()
        self._active: list[Row] = []
        self._work = threading.Condition()
        self._closed = False
        self._end_words = CLOSING
        self._thread = threading.Thread(target=self._run, name="decode", daemon=True)
        self._thread.start()

    @property
    def backend(self) -> Backend:
        """What computes new answers: the backend in use, or the one that follows it."""
        return self._next_backend or self._backend

    @property
    def answering(self) -> int:
        """Rows being computed now, those in the background not counted."""
        return sum(not row.stream.background for row in list(self._active))

    @property
    def queued(self) -> int:
        """Rows that wait for a place, those in the background not counted."""
        return len(self._waiting)

    @property
    def waiting(self) -> list[Stream]:
        """The requests of which nothing has been computed yet."""
        streams = _streams([*self._waiting, *self._background])
        return [stream for stream in streams if all(row.state == "waiting" for row in stream.rows)]

    def submit(self, stream: Stream) -> None:
        """Queue a request. Raises UserError if a question does not fit the model's context."""
        used = self._next_tokenizers
        self._prepare(stream.rows)
        stream.count_ahead = self._ahead_of
        with self._work:
            if self._closed:
                raise UserError(self._end_words)
            if used is not self._next_tokenizers:  # they changed while the prompts were laid out
                self._prepare(stream.rows)
            (self._background if stream.background else self._waiting).extend(stream.rows)
            self._work.notify()

    def _prepare(self, rows: Sequence[Row]) -> None:
        """Lay out rows for what will answer them. Raises UserError if one does not fit."""
        lay_out(rows, self._next_tokenizers, self.backend.context)

    def swap(
        self,
        backend: Backend,
        tokenizers: PreTrainedTokenizerBase | Mapping[Side, PreTrainedTokenizerBase] | None = None,
    ) -> None:
        """Use another backend, and perhaps other tokenizers, as soon as the answers now running are over; those waiting
        get the new ones."""
        with self._work:
            self._next_backend = backend
            if tokenizers is not None:
                self._next_tokenizers = by_side(tokenizers)
            self._work.notify()

    def close(self) -> None:
        """End all answers and the thread; a step that hangs is left to itself after some seconds."""
        with self._work:
            self._closed = True
            self._work.notify()
        self._thread.join(CLOSE_SECONDS)

    def _ahead_of(self, stream: Stream) -> Ahead:
        """Rows in the queue before the first of ``stream``; none if one of its rows is already being computed."""
        waiting = list(self._waiting)
        first = next((place for place, row in enumerate(waiting) if row.stream is stream), None)
        if first is None or any(row.state != "waiting" for row in stream.rows):
            return Ahead()
        before = [row for row in list(self._active) if not row.stream.background] + waiting[:first]
        return Ahead.of(before, self._max_rows)

    def _run(self) -> None:
        """The thread: answers until it is closed. Whatever escapes the guarded calls ends every request with a
        sentence, so that nobody waits for a thread that is gone."""
        try:
            self._decode()
        except Exception:
            log.exception("The decode thread has failed")
            with self._work:
                self._closed, self._end_words = True, BROKEN
            self._on_broken(BROKEN)
        with self._work:
            left = [*self._active, *self._waiting, *self._background]
        for stream in _streams(left):
            stream.fail(self._end_words)
            stream.decoders = {}

    def _decode(self) -> None:
        import torch

        with torch.inference_mode():
            while True:
                with self._work:
                    self._work.wait_for(self._has_work)
                    if self._closed:
                        return
                self._change_backend_when_idle()
                self._admit()
                self._drop_cancelled()
                if self._active:
                    self._step()

    def _has_work(self) -> bool:
        return bool(self._closed or self._waiting or self._active or self._background or self._next_backend)

    def _change_backend_when_idle(self) -> None:
        if self._next_backend is not None and not self._active:
            self._backend, self._next_backend = self._next_backend, None
            self._tokenizers = self._next_tokenizers
            self._prepare_waiting()
            gc.collect()

    def _prepare_waiting(self) -> None:
        """Lay out anew what was asked before tokenizers or prompts changed; a request that does not fit ends."""
        with self._work:
            waiting = [*self._waiting, *self._background]
        for stream in _streams(waiting):
            try:
                self._prepare([row for row in waiting if row.stream is stream])
            except Exception as error:
                self._fail([row for row in waiting if row.stream is stream], error)

    def _admit(self) -> None:
        if others := bool(self._waiting or self.answering):
            self._set_background_aside()
        self._admit_from(background=not others)

    def _set_background_aside(self) -> None:
        """Let the background's rows go, with what they have written: once they come back it is fed anew."""
        for row in reversed([row for row in self._active if row.stream.background]):
            self._active.remove(row)
            decoder_of(row, self._backend).leave(row)
            row.state, row.fed = "waiting", 0
            with self._work:
                self._background.appendleft(row)

    def _admit_from(self, background: bool) -> None:
        held: list[Row] = []  # those that go on from an answer which is not over
        while (queue := self._queue(background)) and len(self._active) < self._max_rows and self._next_backend is None:
            row = queue.popleft()
            if row.cancelled or row.stream.done:
                self._finish(row, "cancelled")
                continue
            try:
                state = goes_on(row, self._next_tokenizers, self.backend.context)
                if state is None:
                    decoder_of(row, self._backend).enter(row)
            except Exception as error:
                self._fail([row], error)
                continue
            if state == "waiting":
                held.append(row)
            elif state is not None:
                self._finish(row, state)
            else:
                row.state, row.started = "streaming", row.started or time.monotonic()
                self._active.append(row)
        self._queue(background).extendleft(row for row in reversed(held) if not row.stream.done)

    def _queue(self, background: bool) -> deque[Row]:
        return self._background if background else self._waiting

    def _drop_cancelled(self) -> None:
        for row in [row for row in self._active if row.cancelled]:
            self._retire(row, "cancelled")
        if any(row.cancelled for row in [*self._waiting, *self._background]):
            with self._work:
                gone = [row for row in [*self._waiting, *self._background] if row.cancelled]
                self._waiting = deque(row for row in self._waiting if not row.cancelled)
                self._background = deque(row for row in self._background if not row.cancelled)
            for row in gone:
                self._finish(row, "cancelled")

    def _step(self) -> None:
        try:
            rows, own = advance(self._active, self._backend, PREFILL_TOKENS_PER_STEP)
            logits = own if self._defaults is None else self._defaults.applied(rows, own)
            tokens = choose_tokens(rows, logits)
            odds = probabilities(rows, own, tokens)
        except Exception as error:
            self._fail(list(self._active), error)
            return
        now = time.monotonic()
        for row, token, chance in zip(rows, tokens, odds, strict=True):
            row.odds.append(chance)  # before the token, so that whoever reads it finds its odds too
            row.ids.append(token)
            row.written.append(token)
            if row.first_token_seconds is None:
                row.first_token_seconds = now - row.stream.asked
            if token in row.ends:
                row.ended_by_token = True
                self._retire(row, "ended")
            elif row.at_stop:
                self._retire(row, "ended")
            elif len(row.ids) >= row.limit:
                self._retire(row, "capped")
        for stream in _streams(rows):
            stream.notify()

    def _retire(self, row: Row, state: State) -> None:
        self._active.remove(row)
        decoder_of(row, self._backend).leave(row)
        self._finish(row, state)

    def _finish(self, row: Row, state: State) -> None:
        row.state, row.finished = state, time.monotonic()
        if row.stream.done and all(other.stream is not row.stream for other in self._active):
            row.stream.decoders = {}  # whoever remembers the answers need not hold models as well
        row.stream.notify()

    def _fail(self, rows: list[Row], error: Exception) -> None:
        """End the requests of these rows with a message, and keep serving the others. What the user cannot mend is
        told to the log, never to a visitor."""
        if isinstance(error, UserError):
            words = str(error)
        elif is_out_of_memory(error):
            log.warning("The memory ran out while answering", exc_info=error)
            words = NO_MEMORY
        else:
            log.error("Answering failed", exc_info=error)
            words = FAULT
        for stream in _streams(rows):
            for row in [row for row in self._active if row.stream is stream]:
                self._active.remove(row)
                decoder_of(row, self._backend).leave(row)
            stream.fail(words)
            stream.decoders = {}
            with self._work:
                self._waiting = deque(row for row in self._waiting if row.stream is not stream)
                self._background = deque(row for row in self._background if row.stream is not stream)


def _streams(rows: Iterable[Row]) -> list[Stream]:
    return list({id(row.stream): row.stream for row in rows}.values())
