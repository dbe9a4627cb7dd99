"""The pair on other machines: each side is an OpenAI-compatible endpoint (vLLM, TGI, llama.cpp's server).

:class:`RemoteEngine` takes the place of :class:`eval_prompts.decoding.engine.Engine`, one step above the local
decoders: such endpoints give text, not logits, and batch by themselves.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval_prompts.models.adapters import AdapterCard
from eval_prompts.serving.lens import Lens
from eval_prompts.serving.status import Status
from tuning import __version__
from tuning.errors import UserError

if TYPE_CHECKING:
    import httpx

    from eval_prompts.answers import Row, State, Stream
    from eval_prompts.serving.limits import Limits

log = logging.getLogger(__name__)

CONNECT_SECONDS, READ_SECONDS = 5.0, 120.0
START_SECONDS, RETRY_SECONDS = 120.0, 1.0
LOOK_SECONDS = 0.1
MAX_REQUESTS = 32
ENDINGS: dict[str, State] = {
    "stop": "ended",
    "eos": "ended",
    "eos_token": "ended",
    "stop_sequence": "ended",
    "length": "capped",
}
"""What a finish reason means; any other is the server's doing (abort, content_filter, error), not the model's."""


@dataclass(frozen=True)
class Endpoint:
    """One side: the address up to and including ``/v1``, the model's name there, and the key, if it wants one."""

    url: str
    model: str
    key: str = field(default="", repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    @property
    def fingerprint(self) -> str:
        """Tells this side from all others, as far as its address and its model's name do."""
        return hashlib.sha256(f"{self.url}\n{self.model}".encode()).hexdigest()[:16]


class RemoteEngine:
    """Answers requests through endpoints: one thread with an event loop, one request for each row."""

    def __init__(self, sides: Mapping[str, Endpoint]) -> None:
        self._sides = sides
        self._waiting: set[Row] = set()
        self._active: set[Row] = set()
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

    def submit(self, stream: Stream) -> None:
        """Send a request's rows to their sides. Raises UserError while the app is shutting down."""
        if self._closed:
            raise UserError("The app is shutting down: ask again once it is back.")
        pieces: list[str] = [""]
        stream.decode = lambda ids: "".join(pieces[number] for number in ids)
        stream.count_ahead = lambda _: len(self._active) if all(row.state == "waiting" for row in stream.rows) else 0
        self._waiting.update(stream.rows)
        for row in stream.rows:
            asyncio.run_coroutine_threadsafe(self._answer(row, pieces), self._loop)

    def close(self) -> None:
        """End all answers and the thread."""
        self._closed = True
        for row in [*self._waiting, *self._active]:
            row.stream.fail("The app is shutting down: ask again once it is back.")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _answer(self, row: Row, pieces: list[str]) -> None:
        import httpx

        try:
            async with self._places:
                self._waiting.discard(row)
                if row.cancelled or row.stream.done:
                    self._finish(row, "cancelled")
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
            self._waiting.discard(row)
            self._active.discard(row)

    async def _follow(self, row: Row, pieces: list[str]) -> State:
        """Put the text of one endpoint into the row as it comes; returns the row's final state. Raises UserError for
        an answer that broke off: an error in the stream, a stream without an end, or an end that is not the model's."""
        ending: State | None = None
        chunks = chat(self._sides[row.side], row)
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
                    pieces.append(text)
                    row.ids.append(len(pieces) - 1)
                    if row.first_token_seconds is None:
                        row.first_token_seconds = time.monotonic() - row.stream.asked
                reason = choice.get("finish_reason")
                if reason is not None:
                    ending = ENDINGS.get(str(reason))
                    if ending is None:
                        raise UserError(f"The {row.side} side ended the answer itself ({str(reason)[:40]}): ask again.")
            usage = chunk.get("usage")
            counted = usage.get("completion_tokens") if isinstance(usage, dict) else 0
            if isinstance(counted, int):
                row.ids.extend([0] * min(counted - len(row.ids), row.stream.settings.max_new_tokens))
            row.stream.notify()

    def _finish(self, row: Row, state: State) -> None:
        row.state, row.finished = state, time.monotonic()
        row.stream.notify()


async def chat(side: Endpoint, row: Row) -> AsyncIterator[dict[str, Any]]:
    """The chunks of one streamed chat completion. Raises UserError if the endpoint refuses."""
    import httpx

    settings, prompt = row.stream.settings, row.stream.questions[row.index]
    seed = settings.seed if prompt.seed is None else prompt.seed
    body: dict[str, Any] = {
        "model": side.model,
        "messages": list(prompt.messages),
        "max_tokens": int(settings.max_new_tokens),
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "seed": int(seed) % 2**31,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if settings.stop:
        body["stop"] = list(settings.stop)
    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    async with (
        httpx.AsyncClient(timeout=timeout) as client,
        client.stream("POST", f"{side.url}/chat/completions", json=body, headers=side.headers) as response,
    ):
        if response.is_error:
            raise UserError(f"The {row.side} side refused ({response.status_code}): {refusal(await response.aread())}")
        async for line in response.aiter_lines():
            if line.startswith("data:") and (data := line[5:].strip()) not in ("", "[DONE]"):
                yield event(data, row.side)


def event(data: str, side: str) -> dict[str, Any]:
    """One event of a stream. Raises UserError if it is not a JSON object."""
    try:
        chunk = json.loads(data)
    except (ValueError, RecursionError):
        chunk = None
    if not isinstance(chunk, dict):
        raise UserError(f"The {side} side sent what is not a JSON object: is its address right?")
    return chunk


def objects(value: object) -> list[dict[str, Any]]:
    """The objects of a list from elsewhere; none where it is not a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def refusal(body: bytes) -> str:
    """An endpoint's reason in one short line."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = None
    return reason_in(said) if isinstance(said, dict) else "it gives no reason"


def reason_in(said: dict[str, Any]) -> str:
    """What an error object says, in one short line."""
    error = said.get("error", said)
    reason = error.get("message", error) if isinstance(error, dict) else error
    return " ".join(str(reason).split())[:200] or "it gives no reason"


def connect(name: str, url: str, model: str, key: str) -> Endpoint:
    """One side's endpoint, once it lists its models; without a name its first model. Raises UserError."""
    import httpx

    side = Endpoint(url.rstrip("/"), model, key)
    if not side.url.startswith(("http://", "https://")):
        raise UserError(f"The {name} side's address begins with http:// or https://: check --{name}-url.")
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            response = httpx.get(f"{side.url}/models", headers=side.headers, timeout=CONNECT_SECONDS)
            if response.status_code != 503:  # the answer of servers that still load
                return _chosen(name, side, response)
        except httpx.InvalidURL:
            raise UserError(f"The {name} side's address is not a URL: check --{name}-url.") from None
        except httpx.TransportError:
            pass
        if time.monotonic() > until:
            raise UserError(f"The {name} side does not answer: is its server up, and is --{name}-url right?")
        time.sleep(RETRY_SECONDS)


def _chosen(name: str, side: Endpoint, response: httpx.Response) -> Endpoint:
    if response.is_error:
        raise UserError(f"The {name} side refused ({response.status_code}): {refusal(response.content)}")
    try:
        listed = [str(each["id"]) for each in response.json()["data"]]
    except (ValueError, KeyError, TypeError):
        raise UserError(f"The {name} side is no OpenAI-compatible endpoint: its address ends with /v1.") from None
    if side.model and side.model not in listed:
        raise UserError(f"The {name} side has no model {side.model!r}: it serves {', '.join(listed[:8]) or 'none'}.")
    return side if side.model else Endpoint(side.url, (listed or [""])[0], side.key)


class RemoteLens(Lens):
    """A :class:`Lens` whose two sides are endpoints; adapters are chosen where they are served."""

    def __init__(
        self,
        base_url: str,
        tuned_url: str,
        base_model: str = "",
        tuned_model: str = "",
        key: str = "",
        limits: Limits | None = None,
    ) -> None:
        super().__init__(base_model or "remote", None, limits=limits)
        self._asked = {"base": (base_url, base_model, key), "tuned": (tuned_url, tuned_model, key)}
        self._sides: dict[str, Endpoint] = {}

    def status(self) -> Status:
        """The state of things now. Never blocks."""
        sides = self._sides
        answering, queued = self._counts()
        ready = self._state == "ready"
        return Status(
            state=self._state,
            message=f"answering {answering}" if ready and answering else self._message,
            progress=None,
            model=sides["base"].model if ready else self._model,
            origin="OpenAI-compatible endpoints" if ready else "",
            device="remote" if ready else "",
            adapter=self._card() if ready else None,
            base_is_base=None,
            memory_mb=0,
            answering=answering,
            queued=queued,
            uptime_seconds=round(time.monotonic() - self._began, 1),
            version=__version__,
            fingerprint=sides["base"].fingerprint if ready else "",
        )

    def reload(self, adapter: str | None, against: str | None = None) -> AdapterCard | None:
        """Raises UserError: a served model is what it is."""
        raise UserError("The models are served elsewhere: load the adapter there and name it with --tuned-model-name.")

    def _submit(self, stream: Stream) -> None:
        self._engine.submit(stream)

    def _card(self) -> AdapterCard:
        base, tuned = self._sides["base"], self._sides["tuned"]
        return AdapterCard(tuned.model, Path(), base.model, 0, 0.0, (), fingerprint=tuned.fingerprint)

    def _load(self) -> None:
        self._report("waiting for the endpoints")
        try:
            for name, asked in self._asked.items():
                self._sides[name] = connect(name, *asked)
            with self._lock:
                self._engine = RemoteEngine(self._sides)
                self._take_up()
            self._settled.set()
        except UserError as error:
            self._fail(str(error))
        except Exception:
            log.exception("Loading failed")
            self._fail("The endpoints cannot be used, and the server's log says why: check --base-url and --tuned-url.")
