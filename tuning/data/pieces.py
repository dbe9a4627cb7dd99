"""Text of tokens one by one: the characters that each of them adds, worked out as they come."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

Decode = Callable[[list[int]], str]
HALF = "\ufffd"
"""What a decoder writes for the first bytes of a character whose others are still to come."""


class Pieces:
    """The characters that each token of a growing text adds, each worked out once; safe to use from any thread.

    A character made of several tokens stands with the last of them. A window of tokens keeps this linear, and the token
    before it keeps leading spaces, which some decoders drop from the beginning of a text.
    """

    def __init__(self) -> None:
        self._done: list[str] = []
        self._pending = 0
        self._lock = threading.Lock()

    def of(self, ids: Sequence[int], decode: Decode, complete: bool = False) -> list[str]:
        """The pieces of ``ids``, which go on from those of the last call; once they are ``complete``, the last one has
        whatever is left."""
        with self._lock:
            for end in range(len(self._done) + 1, len(ids) + 1):
                self._done.append("")
                start = max(0, self._pending - 1)
                before, whole = decode(list(ids[start : self._pending])), decode(list(ids[start:end]))
                if whole.endswith(HALF) and not (complete and end == len(ids)):
                    continue
                self._take(ids, before, whole, decode, end)
            if complete and self._pending < len(ids):
                start = max(0, self._pending - 1)
                before, whole = decode(list(ids[start : self._pending])), decode(list(ids[start:]))
                self._take(ids, before, whole, decode, len(ids))
            return self._done[: len(ids)]

    def _take(self, ids: Sequence[int], before: str, whole: str, decode: Decode, end: int) -> None:
        own = whole[len(before) :] if whole.startswith(before) else decode(list(ids[self._pending : end]))
        self._done[end - 1], self._pending = own, end


def pieces_of(ids: Sequence[int], decode: Decode) -> list[str]:
    """The characters that each token of a complete text adds."""
    return Pieces().of(ids, decode, complete=True)
