"""Connections as uvicorn serves them, with an end for those that ask nothing, and no more of them than are allowed.

The guard sees requests. Before one is complete there is only a connection, and uvicorn holds those for ever and without
number, until the process has no file descriptor left for anyone else.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from space_config.server.rate_limits import Connections
from tuning.upstream.expected import expect

SHED = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n"
    b"Content-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s"
)
TOO_MANY = b"Too many connections are open: close some tabs and try again."


PARTS = {"client", "cycle", "loop", "transport"}
"""What uvicorn's protocol keeps about a connection, and is read here."""


def check_uvicorn() -> None:
    """Raise UserError unless uvicorn serves a connection as it did when this was written."""
    expect(set(H11Protocol.__init__.__code__.co_names) >= PARTS, "uvicorn", "H11Protocol")
    expect("response_complete" in RequestResponseCycle.__init__.__code__.co_names, "uvicorn", "RequestResponseCycle")
    for name in ("connection_made", "data_received", "connection_lost"):
        expect(name in vars(H11Protocol), "uvicorn", f"H11Protocol.{name}")


def bounded(open_ones: Connections, head_seconds: float) -> type[H11Protocol]:
    """A protocol for uvicorn that answers one connection too many with 503, and closes one whose request has not
    arrived up to its body ``head_seconds`` after the connection was made or its last answer ended.

    Raises UserError for a uvicorn that this does not know: it has timeouts for what comes between requests alone, so
    its protocol is extended."""
    check_uvicorn()

    class Bounded(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._place = ExitStack()
            if self._place.enter_context(open_ones.one(self.client[0] if self.client else "")):
                self._watch()
            else:
                transport.write(SHED % (len(TOO_MANY), TOO_MANY))
                transport.close()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._place.close()
            self._stop_watching()

        def _watch(self) -> None:
            if self.cycle is not None and not self.cycle.response_complete:
                self._stop_watching()
            elif self._deadline is None:
                self._deadline = self.loop.call_later(head_seconds, self._too_late)

        def _stop_watching(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _too_late(self) -> None:
            self._deadline = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

    return Bounded
