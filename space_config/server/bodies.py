"""Bodies of requests as they arrive: bounded in size and time, told once more to the app, or thrown away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.types import Message, Receive

from space_config.server.calls import Refused

BODY_SECONDS = 20.0
DISCARD_SECONDS, DISCARDED_BYTES = 2.0, 4 * 2**20


class Arriving:
    """A ``receive`` that knows whether the whole body has been read.

    The rest of a refused body is read and thrown away, up to a bound: a server that answers and closes while bytes
    still arrive makes the client's system drop the answer (RFC 9112, section 9.6).
    """

    def __init__(self, receive: Receive, complete: bool) -> None:
        self._receive, self._complete = receive, complete

    async def __call__(self) -> Message:
        message = await self._receive()
        self._complete = self._complete or not message.get("more_body", False)
        return message

    async def discard(self) -> None:
        """Read what is left, for two seconds and 4 MiB at most."""
        left = DISCARDED_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_SECONDS):
                while not self._complete and left > 0:
                    left -= len((await self()).get("body", b""))


async def read_body(headers: Headers, receive: Receive, limit: int) -> bytes:
    """The whole body. Raises Refused for one over ``limit`` bytes, one that takes longer than 20 s to arrive, and one
    of two lengths, which a proxy might read otherwise (RFC 9112, section 6.3)."""
    if "transfer-encoding" in headers and "content-length" in headers:
        raise Refused(400, "The request says its length twice.")
    too_long = Refused(413, f"The request is too large: at most {limit // 1024:,} KiB are taken.")
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or int(length) > limit:
        raise too_long
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refused(400, "The connection was closed before the request was complete.")
                body += message.get("body", b"")
                if len(body) > limit:
                    raise too_long
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        raise Refused(408, "The request took too long to arrive: try again.") from None


def replay(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    """A ``receive`` that tells a body that was read already, then what really comes (a disconnect)."""
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
