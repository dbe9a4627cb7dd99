"""The pair on other machines: each side is an endpoint (:mod:`eval_prompts.serving.endpoint`).

They take the place of a pair and its engine in this process, one step above the local decoders: such endpoints give
text, not logits, and batch by themselves.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from eval_prompts.answers import UNSAID
from eval_prompts.models.adapters import AdapterCard
from eval_prompts.rows import Ahead
from eval_prompts.serving.endpoint import (
    ENDINGS,
    Endpoint,
    chat,
    connect,
    new_client,
    objects,
    reason_in,
    sure_pieces,
)
from eval_prompts.serving.served import Facts, Report
from tuning.errors import UserError

if TYPE_CHECKING:
    import httpx

    from eval_prompts.decoding.backend import Backend
    from eval_prompts.lens.token_lens import Reading
    from eval_prompts.models.pair import Pair, Side
    from eval_prompts.models.strength import Strength
    from eval_prompts.rows import Row, State
    from eval_prompts.stream import Stream
    from tuning.data.chat import Message

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.1
MAX_REQUESTS = 32


@dataclass(frozen=True)
class RemoteLoader:
    """Names the two endpoints; without a model's name it is the first one that is served there."""

    base_url: str
    tuned_url: str
    base_model: str = ""
    tuned_model: str = ""
    key: str = field(default="", repr=False)
    failed: str = "The endpoints cannot be used, and the server's log says why: check --base-url and --tuned-url."

    def begin(self) -> None:
        """Nothing to do beforehand."""

    def facts(self) -> Facts:
        """The base model's name, as far as it was given."""
        return Facts(self.base_model or "remote")

    def load(self, report: Report, on_broken: Callable[[str], None]) -> RemoteModels:
        """Wait until both endpoints list their models. Raises UserError if one is not there, or is not right."""
        report("waiting for the endpoints")
        base = connect("base", self.base_url, self.base_model, self.key)
        return RemoteModels({"base": base, "tuned": connect("tuned", self.tuned_url, self.tuned_model, self.key)})


class RemoteModels:
    """Answers requests through endpoints: one thread with an event loop, one request for each row.

    Adapters are chosen where they are served.
    """

    pair = trained = None

    def __init__(self, sides: Mapping[Side, Endpoint]) -> None:
        self._sides = sides
        base, tuned = sides["base"], sides["tuned"]
        card = AdapterCard(tuned.model, Path(), base.model, 0, 0.0, (), fingerprint=tuned.fingerprint)
        self._facts = Facts(
            model=base.model,
            origin="OpenAI-compatible endpoints",
            device="remote",
            adapter=card,
            fingerprint=base.fingerprint,
        )
        self._waiting: dict[Row, None] = {}  # in the order in which they came
        self._active: set[Row] = set()
        self._client: httpx.AsyncClient | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="remote", daemon=True)
        self._thread.start()
        self._places = asyncio.Semaphore(MAX_REQUESTS)
        self._closed = False

    @property
    def answering(self) -> int:
        """Rows being answered now."""
        return len(self._active)

    @property
    def queued(self) -> int:
        """Rows that wait for a place."""
        return len(self._waiting)

    def facts(self) -> Facts:
        """What the endpoints say of themselves, the same for as long as they are asked; weights cannot be compared from
        here."""
        return self._facts

    def reload(self, adapter: str | None, against: str | None = None) -> AdapterCard | None:
        """Raises UserError: a served model is what it is."""
        raise UserError("The models are served elsewhere: load the adapter there and name it with --tuned-model-name.")

    def read(self, messages: Sequence[Message], text: str, ended: bool) -> Reading:
        """A text as both servers see it; see :func:`eval_prompts.serving.remote_reading.read_remote`."""
        from eval_prompts.serving.remote_reading import read_remote

        return read_remote(self._sides, messages, text, ended)

    def pair_at(self, strength: float) -> Pair:
        """Raises UserError: a served model is what it is."""
        raise UserError("The models are served elsewhere: an adapter's strengths cannot be compared from here.")

    def at_strengths(self, strengths: Sequence[float]) -> Mapping[float, Backend]:
        """Raises UserError: a served model is what it is."""
        raise UserError("The models are served elsewhere: an adapter's strengths cannot be compared from here.")

    def set_strength(self, strength: Strength) -> AdapterCard | None:
        """Raises UserError: a served model is what it is."""
        raise UserError("The models are served elsewhere: an adapter's strength cannot be set from here.")

    def submit(self, stream: Stream) -> None:
        """Send a request's rows to their sides. Raises UserError while the app is shutting down."""
        if self._closed:
            raise UserError("The app is shutting down: ask again once it is back.")
        stream.put_to(None)
        pieces: list[str] = [""]
        stream.decode = lambda ids: "".join(pieces[number] for number in ids)
        stream.count_ahead = self._ahead_of
        self._waiting.update(dict.fromkeys(stream.rows))
        for row in stream.rows:
            if stream.before(row) is None:
                asyncio.run_coroutine_threadsafe(self._answer_all(row, pieces), self._loop)

    async def _answer_all(self, row: Row, pieces: list[str]) -> None:
        """An answer and, one after the other, those of the same side that go on from it."""
        await self._answer(row, pieces)
        for later in row.stream.rows:
            if row.stream.before(later) is row:
                await self._answer_all(later, pieces)

    def close(self) -> None:
        """End all answers and the thread; once is enough."""
        if self._loop.is_closed():
            return
        self._closed = True
        for row in [*self._waiting, *self._active]:
            row.stream.fail("The app is shutting down: ask again once it is back.")
        asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        """Call off what is under way, let go of the connections, and have the loop end."""
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
        self._loop.stop()

    def _ahead_of(self, stream: Stream) -> Ahead:
        """Rows that are being answered or have waited longer than ``stream``; none once one of its own is answered."""
        if any(row.state != "waiting" for row in stream.rows):
            return Ahead()
        waiting = list(self._waiting)
        first = next((place for place, row in enumerate(waiting) if row.stream is stream), 0)
        return Ahead.of([*list(self._active), *waiting[:first]], MAX_REQUESTS)

    async def _answer(self, row: Row, pieces: list[str]) -> None:
        import httpx

        try:
            async with self._places:
                self._waiting.pop(row, None)
                if row.cancelled or row.stream.done or not self._goes_on(row):
                    self._finish(row, "failed" if row.problem else "cancelled")
                    return
                self._active.add(row)
                row.state, row.started = "streaming", time.monotonic()
                self._finish(row, await self._follow(row, pieces))
        except UserError as error:
            row.stream.fail(str(error))
        except Exception as error:
            level = logging.WARNING if isinstance(error, httpx.TransportError) else logging.ERROR
            log.log(level, "the %s side did not answer", row.side, exc_info=error)
            row.stream.fail(f"The {row.side} side does not answer ({type(error).__name__}): is its server up?")
        finally:
            self._waiting.pop(row, None)
            self._active.discard(row)

    def _goes_on(self, row: Row) -> bool:
        """Whether the answer that this one goes on from is there and says anything; where it does not, the row says
        why."""
        before = row.stream.before(row)
        if before is None:
            return True
        if before.state not in ("ended", "capped"):
            row.problem = before.problem
            return False
        said = row.stream.conversation(row.index, row.side)[-2]["content"].strip()
        row.problem = "" if said else UNSAID
        return bool(said)

    async def _follow(self, row: Row, pieces: list[str]) -> State:
        """Put the text of one endpoint into the row as it comes; returns the row's final state. Raises UserError for
        an answer that broke off: an error in the stream, a stream without an end, or an end that is not the model's."""
        ending: State | None = None
        self._client = self._client or new_client()
        chunks = chat(self._client, self._sides[row.side], row)
        while True:
            arriving = asyncio.ensure_future(anext(chunks, None))
            while not arriving.done():
                await asyncio.wait({arriving}, timeout=LOOK_SECONDS)
                if row.cancelled:
                    arriving.cancel()
                    await asyncio.wait({arriving})
                    return "cancelled"
            chunk = arriving.result()
            if chunk is None:
                if ending is None:
                    raise UserError(f"The {row.side} side's answer broke off before its end: ask again.")
                return ending
            if chunk.get("error"):
                raise UserError(f"The {row.side} side failed: {reason_in(chunk)}")
            for choice in objects(chunk.get("choices")):
                delta = choice.get("delta")
                text = delta.get("content") if isinstance(delta, dict) else None
                if isinstance(text, str) and text:
                    wished = row.stream.settings.confidence
                    for piece, chance in sure_pieces(text, choice) if wished else [(text, None)]:
                        pieces.append(piece)
                        row.odds.append(chance)
                        row.written.append(len(pieces) - 1)
                    if row.first_token_seconds is None:
                        row.first_token_seconds = time.monotonic() - row.stream.asked
                reason = choice.get("finish_reason")
                if reason is not None:
                    ending = ENDINGS.get(str(reason))
                    if ending is None:
                        raise UserError(f"The {row.side} side ended the answer itself ({str(reason)[:40]}): ask again.")
            usage = chunk.get("usage")
            counted = usage.get("completion_tokens") if isinstance(usage, dict) else 0
            if isinstance(counted, int):  # tokens of which no text came; nobody told how likely they were
                more = max(0, min(counted - len(row.written), row.stream.settings.max_new_tokens))
                row.odds.extend([None] * more)
                row.written.extend([0] * more)
            row.stream.notify()

    def _finish(self, row: Row, state: State) -> None:
        row.state, row.finished = state, time.monotonic()
        row.stream.notify()
