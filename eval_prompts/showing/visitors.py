"""Which answers are being written for whom."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eval_prompts.stream import Stream

MOST_SESSIONS = 1000


class Visitors:
    """Which answers are being written for whom, so that Stop and a closed tab end exactly those."""

    def __init__(self) -> None:
        self._streams: dict[str, Stream] = {}
        self._enough: dict[str, threading.Event] = {}

    def begin(self, session: str) -> Callable[[], bool]:
        """Begins to ask for a session; tells, whenever it is called, whether that has been stopped since."""
        enough = self._enough[session] = threading.Event()
        while len(self._enough) > MOST_SESSIONS:
            del self._enough[next(iter(self._enough))]
        return enough.is_set

    def stop(self, session: str | None) -> None:
        """Ends what is being written for a session, if anything is."""
        if enough := self._enough.get(session or ""):
            enough.set()
        stream = self._streams.get(session or "")
        if stream is not None:
            stream.cancel()

    def follow(self, stream: Stream, session: str) -> Iterator[list[Any]]:
        """A stream's snapshots; the stream ends with its reader, whichever way that one leaves."""
        self._streams[session] = stream
        if (enough := self._enough.get(session)) and enough.is_set():  # stopped before there was a stream to end
            stream.cancel()
        try:
            yield from stream.snapshots()
        finally:
            stream.cancel()
            if self._streams.get(session) is stream:
                del self._streams[session]
