"""A JSON text of any length as a stream of values, each with its line: only what is being decoded is in memory.

The standard library's decoder does the work on a window that moves on. Streaming libraries such as ijson give numbers
as values (1e5 as Decimal('1E+5')), and what is trained is how a number is spelled.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from typing import Any

from tuning.data.reading.text_files import malformed
from tuning.data.reading.values import DECODER
from tuning.errors import UserError

SPACE = re.compile(r"[ \t\r\n]*")
LEAST = 1 << 16
TAIL = 12
"""Characters at the end of a window that may be half of a number, a constant or an escape."""
SPOOLED = 1 << 20


class Window:
    """Reads a JSON text, which comes in ``chunks``, value by value. Every fault is a UserError that names the line."""

    def __init__(self, name: str, chunks: Iterator[str]) -> None:
        self.name = name
        self._chunks = chunks
        self._text = ""
        self._at = self._counted = 0
        self._line = 1
        self._before = 0  # characters of the window's first line that stand before it
        self._ended = False

    @property
    def line(self) -> int:
        """The line of what comes next."""
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def peek(self) -> str:
        """The next character that is no white space; '' at the end."""
        while True:
            found = SPACE.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if self._ended:
                return ""
            self._move()

    def value(self) -> Any:
        """The value that comes next, its scalars as they are spelled."""
        return self._decoded()[0]

    def spelled(self) -> str:
        """The value that comes next as it is written."""
        return self._decoded()[1]

    def skip(self) -> None:
        """Read the value that comes next, and keep nothing of it."""
        first = self.peek()
        if first == "[":
            for _ in self.elements():
                self.skip()
        elif first == "{":
            for _ in self.members():
                self.skip()
        else:
            self.value()

    def elements(self) -> Iterator[int]:
        """The lines of the elements of the array that comes next; each must be read before the next is asked for."""
        yield from self._items("[", "]")

    def members(self) -> Iterator[str]:
        """The keys of the object that comes next; each one's value must be read before the next is asked for."""
        met: set[str] = set()
        for line in self._items("{", "}"):
            key = self.value() if self.peek() == '"' else None
            if key is None or self.peek() != ":":
                raise malformed(self.name, self.line, "a key in quotation marks and a colon are missing")
            if key in met:
                raise malformed(self.name, line, f"the key {key!r} stands twice in one object")
            met.add(key)
            self._at += 1
            yield key

    def end(self, what: str) -> None:
        """Raise UserError if anything follows the ``what`` that was read."""
        if self.peek():
            raise malformed(self.name, self.line, f"more text follows the end of the {what}")

    def _items(self, opening: str, closing: str) -> Iterator[int]:
        if self.peek() != opening:
            raise malformed(self.name, self.line, f"{opening} is missing")
        self._at += 1
        if self.peek() == closing:
            self._at += 1
            return
        while True:
            self.peek()
            yield self.line
            follows = self.peek()
            if follows not in (",", closing):
                what = "array" if closing == "]" else "object"
                raise malformed(self.name, self.line, f"a comma or the end of the {what} is missing")
            self._at += 1
            if follows == closing:
                return

    def _decoded(self) -> tuple[Any, str]:
        self.peek()
        while True:
            try:
                found, end = DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                if self._ended or not self._is_cut(error):
                    raise self._fault(error) from error
            else:
                if self._ended or end < len(self._text) - TAIL:
                    text, self._at = self._text[self._at : end], end
                    return found, text
            self._move()

    def _is_cut(self, error: Exception) -> bool:
        """Whether a value may only seem wrong because the window ends in it."""
        if not isinstance(error, json.JSONDecodeError):
            return False
        return error.pos >= len(self._text) - TAIL or error.msg.startswith("Unterminated string")

    def _fault(self, error: Exception) -> UserError:
        begun = self.line
        if not isinstance(error, json.JSONDecodeError):
            return malformed(self.name, begun, reason_of(error, 0))
        line_start = self._text.rfind("\n", 0, error.pos)
        column = error.pos - line_start + (self._before if line_start < 0 else 0)
        line = begun + self._text.count("\n", self._at, error.pos)
        return malformed(self.name, line, reason_of(error, column))

    def _move(self) -> None:
        """Drop what was read, and take in as much again as is left, at least a chunk."""
        line_start = self._text.rfind("\n", 0, self._at)
        self._before = self._at - line_start - 1 + (self._before if line_start < 0 else 0)
        self._line = self.line
        pieces = [self._text[self._at :]]
        wanted = max(LEAST, len(pieces[0]))
        while wanted > 0:
            piece = next(self._chunks, None)
            if piece is None:
                self._ended = True
                break
            pieces.append(piece)
            wanted -= len(piece)
        self._text = "".join(pieces)
        self._at = self._counted = 0


class Places:
    """Where rows stand: their lines, or, where the first two share one, their numbers."""

    def __init__(self) -> None:
        self._met = self._first = 0
        self._numbered = False

    def of(self, line: int) -> int:
        """The place of the next row, which begins in ``line``."""
        self._met += 1
        if self._met == 1:
            self._first = line
        elif self._met == 2:
            self._numbered = line == self._first
        return self._met if self._numbered else line


def reason_of(error: Exception, column: int) -> str:
    """Why a text is no JSON, and in which column."""
    if isinstance(error, json.JSONDecodeError):
        column = column or error.colno
        if error.doc[error.pos : error.pos + 1] == "\ufeff":
            return f"a byte order mark stands in the middle of the file, column {column}: take it out"
        return f"{error.msg}, column {column}"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


class Spool:
    """JSON values set aside in the order in which they come, on disk where they are many."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(max_size=SPOOLED)  # noqa: SIM115 (it lives as long as the spool)
        self._waiting = ["["]
        self._size = 0

    def add(self, spelled: str) -> None:
        """Set a value aside, as it is written."""
        self._waiting += [spelled, ","]
        self._size += len(spelled)
        if self._size > LEAST:
            self._flush()

    def values(self) -> Iterator[Any]:
        """All values from the first on; none can be added afterwards."""
        if self._waiting[-1] == ",":
            self._waiting.pop()
        self._waiting.append("]")
        self._flush()
        self._file.seek(0)
        window = Window("", self._chunks())
        for _ in window.elements():
            yield window.value()
        self._file.close()

    def _flush(self) -> None:
        # The last comma stays in memory: it may have to become the closing bracket.
        last = self._waiting.pop() if self._waiting[-1] == "," else ""
        self._file.write("".join(self._waiting).encode("utf-8", "surrogatepass"))
        self._waiting, self._size = [last] if last else [], 0

    def _chunks(self) -> Iterator[str]:
        import codecs

        decoder = codecs.getincrementaldecoder("utf-8")("surrogatepass")
        while piece := self._file.read(LEAST):
            yield decoder.decode(piece)
