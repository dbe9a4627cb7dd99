"""One side on another machine: an OpenAI-compatible endpoint (vLLM, TGI, llama.cpp's server), and what it says."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tuning.errors import UserError

if TYPE_CHECKING:
    import httpx

    from eval_prompts.rows import Row, State

CONNECT_SECONDS, READ_SECONDS = 5.0, 120.0
WISH_REFUSED = frozenset({400, 404, 422, 501})
"""How endpoints refuse a parameter that they do not know, or have switched off."""
START_SECONDS, RETRY_SECONDS = 120.0, 1.0
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


def new_client() -> httpx.AsyncClient:
    """What all answers are asked with: making one takes longer than asking. Connections are not used twice, so that
    none is found closed by its server when the next answer begins."""
    import httpx

    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    return httpx.AsyncClient(timeout=timeout, limits=httpx.Limits(max_keepalive_connections=0))


async def chat(client: httpx.AsyncClient, side: Endpoint, row: Row) -> AsyncIterator[dict[str, Any]]:
    """The chunks of one streamed chat completion, with log-probabilities where they are asked for and the endpoint
    takes the wish. Raises UserError if the endpoint refuses."""
    asked = body_of(side, row)
    plain = {name: value for name, value in asked.items() if name != "logprobs"}
    for body in [asked] if asked == plain else [asked, plain]:
        async with client.stream("POST", f"{side.url}/chat/completions", json=body, headers=side.headers) as response:
            if response.is_error:
                reason = refusal(await response.aread())
                if body is not plain and response.status_code in WISH_REFUSED:
                    continue  # the answer comes without them, and says so
                raise UserError(f"The {row.side} side refused ({response.status_code}): {reason}")
            async for line in response.aiter_lines():
                if line.startswith("data:") and (data := line[5:].strip()) not in ("", "[DONE]"):
                    yield event(data, row.side)
            return


def body_of(side: Endpoint, row: Row) -> dict[str, Any]:
    """What a streamed chat completion is asked with."""
    settings, prompt = row.stream.settings, row.stream.questions[row.index]
    seed = settings.seed if prompt.seed is None else prompt.seed
    body: dict[str, Any] = {
        "model": side.model,
        "messages": list(row.stream.conversation(row.index, row.side)),
        "max_tokens": int(settings.max_new_tokens),
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "seed": int(seed) % 2**31,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if settings.stop:
        body["stop"] = list(settings.stop)
    if settings.confidence:
        body["logprobs"] = True
    return body


def sure_pieces(text: str, choice: dict[str, Any]) -> list[tuple[str, float | None]]:
    """The tokens of a piece of text with their probabilities, as a stream's choice tells them; the text as one piece
    without a probability where it does not, or where what it tells is another text."""
    told = choice.get("logprobs")
    entries = objects(told.get("content")) if isinstance(told, dict) else []
    found: list[tuple[str, float | None]] = [(str(entry.get("token", "")), chance_of(entry)) for entry in entries]
    return found if found and "".join(piece for piece, _ in found) == text else [(text, None)]


def chance_of(entry: dict[str, Any]) -> float | None:
    """The probability of a token that is told with its ``logprob``; None for what is no log-probability."""
    value = entry.get("logprob")
    if isinstance(value, bool) or not isinstance(value, int | float) or not value <= 0.01:
        return None
    return math.exp(min(0.0, value))


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
