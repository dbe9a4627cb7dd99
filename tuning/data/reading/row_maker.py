"""A source's rows -> rows to train on, with the account of what is used, unused and left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tuning.data.options import Reading
from tuning.data.reading.conversations import (
    NOTHING_TRAINED,
    UNTRAINED,
    greetings,
    row_of,
)
from tuning.data.reading.layouts import Layout, check_named, layouts, no_columns
from tuning.data.reading.messages import ROLES, Unusable, content_text, may_be_messages, role_of
from tuning.data.reading.row_kinds import KINDS, check_labels, check_media, check_wanted, unwanted
from tuning.data.reading.values import NotText, Spelled, is_broken, is_filled, is_missing, text_of
from tuning.data.rows import LeftOut, RawRow, Turn

NO_LAYOUT = "no columns that are understood"
BESIDE = {
    "pair": "a question and its answer",
    "text": "a text",
    "turn": "one message a row",
    "preference": "a better and a worse answer",
}
ALONE = ("system", "history", "question")
"""Roles of which a row uses one column, the first that it fills."""
Message = tuple[int, str, str, bool]
"""Line, kind and text of a message that is a row, and whether it may be trained; a kind after an exclamation mark says
why it is none."""
HALF_A_CHARACTER = "half a character (a lone surrogate)"


def identity_of(value: Any) -> str:
    """A conversation's id as it tells conversations apart: the number 1 and the text "1" are two."""
    is_text = isinstance(value, str) and not isinstance(value, Spelled)
    return f"{'text' if is_text else 'other'} {value}"


def fills(row: Mapping[str, Any], layout: Layout) -> bool:
    """Whether a row fills what a layout needs, a chat with what may be messages rather than a text or a name."""
    if layout.kind == "chat" and not may_be_messages(row[layout.needed[0]]):
        return False
    return all(is_filled(row[name]) for name in layout.needed)


@dataclass
class RowMaker:
    """Turns a source's rows into rows to train on; ``used``, ``seen`` and ``left_out`` keep the account."""

    name: str
    reading: Reading = field(default_factory=Reading)
    left_out: LeftOut = field(default_factory=LeftOut)
    used: dict[str, str] = field(default_factory=dict)
    seen: dict[str, None] = field(default_factory=dict)
    turn_rows: bool = False
    read: int = 0

    def __post_init__(self) -> None:
        self._known: dict[tuple[str, ...], list[Layout]] = {}
        self._noted: list[Layout] = []
        self._beside: dict[tuple[str, str], tuple[int, int]] = {}

    def unused(self) -> list[str]:
        """Every column and message key that no row's text was taken from."""
        return [name for name in self.seen if name not in self.used]

    def candidates(self, row: Mapping[str, Any]) -> list[Layout]:
        """The layouts that a row with these columns can have, the likeliest first."""
        columns = tuple(row)
        if columns not in self._known:
            self._known[columns] = layouts(columns, self.reading)
            self.seen.update(dict.fromkeys(columns))
        return self._known[columns]

    def layout(self, row: Mapping[str, Any]) -> Layout | None:
        """The layout of a row: the likeliest whose columns it fills, else the likeliest."""
        found = self.candidates(row)
        if len(found) < 2:
            return found[0] if found else None
        return next((one for one in found if fills(row, one)), found[0])

    def rows(self, records: Iterator[tuple[int, Mapping[str, Any]]]) -> Iterator[RawRow]:
        """The usable rows of ``records``. Raises UserError if none of them has columns that are understood."""
        strange = 0
        pending: list[tuple[int, Mapping[str, Any]]] = []
        for line, row in records:
            self.read += 1
            layout = self.layout(row)
            if layout is None:
                strange += 1
                self.left_out.add(NO_LAYOUT, line)
            elif layout.kind == "turn":
                self.turn_rows = True
                self.use(layout)
                self.note_beside(line, row, layout)
                pending.append((line, row))
            elif (made := self.row(line, row, layout)) is not None:
                yield made
        if pending:
            yield from self.joined(pending)
        self.check_any(strange)

    def check_any(self, strange: int) -> None:
        """Raise UserError if not one of the rows that were read has columns that are understood."""
        if strange and strange == self.read:
            raise no_columns(self.name, list(self.seen), self.reading)

    def row(self, line: int, row: Mapping[str, Any], layout: Layout) -> RawRow | None:
        """One row, or None if it is counted as left out."""
        try:
            self.use(layout)
            self.note_beside(line, row, layout)
            check_wanted(self, line, row, layout)
            made = KINDS[layout.kind](self, line, row, layout)
            texts = (
                made.question,
                made.input,
                made.answer,
                made.rejected,
                made.check,
                *(turn.text for turn in made.turns),
            )
            if any(map(is_broken, texts)):
                raise Unusable(HALF_A_CHARACTER)
            return made
        except Unusable as reason:
            self.left_out.add(str(reason), line)
        return None

    def use(self, layout: Layout) -> None:
        """Note which columns are used: those with a role, labels only once one of them is heeded, and the second of
        two for one thing only once a row fills it alone."""
        if layout not in self._noted:
            self._noted.append(layout)
            for name, role in layout.roles.items():
                if role != "label" and (role not in ALONE or layout.column(role) == name):
                    self.used.setdefault(name, role)

    def note_beside(self, line: int, row: Mapping[str, Any], layout: Layout) -> None:
        """Note what a row fills beside the columns of its layout: it counts where other rows use it."""
        if len(row) == len(layout.roles):
            return
        for name, value in row.items():
            if name not in layout.roles and is_filled(value):
                self.note_idle(name, layout, line)

    def note_idle(self, column: str, layout: Layout, line: int) -> None:
        """Note a column that a row fills and does not use: it counts where other rows use it."""
        count, first = self._beside.get((column, layout.kind), (0, line))
        self._beside[column, layout.kind] = count + 1, first

    def note_untrained(self, turns: Sequence[Turn], line: int) -> None:
        """Count the answers before the last trained one that a row says are not to be trained, greetings aside."""
        last = max((at for at, turn in enumerate(turns) if turn.trained), default=0)
        greeted = greetings(turns)
        for at, turn in enumerate(turns[:last]):
            if turn.role == "assistant" and not turn.trained and at not in greeted:
                self.left_out.add(UNTRAINED, line)

    def count_beside(self) -> None:
        """Count, once all rows are read, what some rows use and others fill in vain. Raises UserError if a column was
        named that none of them has."""
        if self.read:
            check_named(self.name, self.seen, self.reading.columns)
        for (name, kind), (count, line) in self._beside.items():
            if name in self.used:
                what = BESIDE.get(kind, "messages")
                self.left_out.add(f"the column {name!r} beside {what} (not used in those rows)", line, count)
        self._beside.clear()

    def filled(self, line: int, row: Mapping[str, Any], layout: Layout, role: str) -> str | None:
        """The first column of a role that a row fills; another that it fills with something else is noted."""
        found = [column for column in layout.named(role) if is_filled(row[column])]
        for column in found[1:]:
            if row[column] != row[found[0]]:
                self.note_idle(column, layout, line)
        if not found:
            return None
        self.used.setdefault(found[0], role)
        return found[0]

    def text(self, row: Mapping[str, Any], column: str | None) -> str:
        """A text cell. Raises Unusable, naming the column, if it holds no text."""
        if column is None:
            return ""
        try:
            return text_of(row.get(column))
        except NotText as error:
            raise Unusable(f"the column {column!r} holds {error}, not text") from error

    def note_key(self, column: str, key: str) -> None:
        """A key of messages that is not used."""
        self.seen.setdefault(f"{column}.{key}")

    def finished(self, turns: list[Turn], line: int, check: str = "") -> RawRow:
        """A conversation as a row."""
        note = partial(self.left_out.add, line=line)
        return row_of(turns, line, last_only=self.reading.last_only, note_part=note, check=check)

    def joined(self, pending: list[tuple[int, Mapping[str, Any]]]) -> Iterator[RawRow]:
        """One message a row, joined by conversation whatever their order."""
        conversations: dict[str, list[Message]] = {}
        for line, row in pending:
            layout = self.layout(row)
            if layout is None:
                continue
            identity = row[layout.column("conversation") or ""]
            if not is_filled(identity):
                self.left_out.add("a message without a conversation_id", line)
                continue
            conversations.setdefault(identity_of(identity), []).append(self.message(line, row, layout))
        for messages in conversations.values():
            if (made := self.joined_row(messages)) is not None:
                yield made

    def message(self, line: int, row: Mapping[str, Any], layout: Layout) -> Message:
        """A message that is a row."""
        named = row[layout.column("role") or ""]
        kind = "" if is_missing(named) else str(named).strip().lower()
        content = layout.column("content") or ""
        try:
            check_media(row, layout)
            is_answer = ROLES.get(kind) == "assistant"
            if layout.labels:
                check_labels(self, line, row, layout, is_answer=is_answer)
            is_trained = not is_answer or unwanted(self, line, row, layout) is None
            text = content_text(row[content], partial(self.note_key, content))
            if is_broken(text) or is_broken(kind):
                raise Unusable(HALF_A_CHARACTER)
        except Unusable as reason:
            return line, f"!{reason}", "", True
        return line, kind, text, is_trained

    def joined_row(self, messages: list[Message]) -> RawRow | None:
        """The messages (see :meth:`message`) of one conversation as a row, or None if it is counted as left out."""
        line = messages[0][0]
        try:
            return self.finished_turns(messages, line)
        except Unusable as reason:
            self.left_out.add(str(reason), line)
        return None

    def finished_turns(self, messages: list[Message], line: int) -> RawRow:
        """The messages of one conversation as a row. Raises Unusable."""
        _, kinds, texts, trained = zip(*messages, strict=True)
        for kind in kinds:
            if kind.startswith("!"):
                raise Unusable(kind[1:])
        if set(kinds) <= {"instruction", "input", "output"} and len(set(kinds)) == len(kinds):
            found = dict(zip(kinds, texts, strict=True))
            if not {"instruction", "output"} <= found.keys():
                raise Unusable("incomplete conversation")
            if not all(trained):
                raise Unusable(NOTHING_TRAINED)
            return RawRow(found["instruction"], found.get("input", ""), found["output"], line=line)
        turns: list[Turn] = []
        for kind, text, is_trained in zip(kinds, texts, trained, strict=True):
            if kind == "input" and turns and turns[-1].role == "user":
                whole = "\n".join(part for part in (turns[-1].text, text) if part.strip())
                turns[-1] = Turn("user", whole)
                continue
            role = role_of("user" if kind == "input" else kind)
            turns.append(Turn(role, text, role == "assistant" and is_trained))
        made = self.finished(turns, line)
        self.note_untrained(turns, line)
        return made
