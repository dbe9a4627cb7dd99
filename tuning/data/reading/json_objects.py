"""A JSON object as rows: rows under its keys, columns of rows, or one row, told apart in a first look through it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tuning.data.options import Reading
from tuning.data.reading.exchanges import says
from tuning.data.reading.json_window import Places, Spool, Window
from tuning.data.reading.layouts import CHATS, HISTORIES, layouts, plain_name, understood
from tuning.data.reading.messages import is_message, is_messages
from tuning.data.reading.records import Record, Records
from tuning.data.rows import Role
from tuning.errors import UserError


@dataclass
class Member:
    """What stands under a key: a list, an object, or a single value.

    ``rows`` says that it is a list of objects that are no conversation, ``columns`` are the first one's keys; ``talk``
    says that it is one conversation, ``exchanges`` that this shows in the names of who speaks alone, ``flat`` that
    nothing in the list is an object; ``width`` is the length of the lists in it, if all are lists of one length
    (NO_ROWS for an empty list). ``numbered`` says that an object's keys are numbers, ``keys`` is a hash of them, and
    ``texts`` are the elements of a list called columns.
    """

    kind: str
    count: int = 0
    rows: bool = False
    columns: tuple[str, ...] = ()
    talk: bool = False
    exchanges: bool = False
    flat: bool = False
    width: int | None = None
    numbered: bool = False
    keys: str = ""
    texts: list[str] = field(default_factory=list)


Outline = dict[str, Member]
NO_ROWS = -1
ONE_CONVERSATION = "The list under {key!r} is one conversation, whose questions and answers go on from each other."


def outline_of(window: Window) -> Outline:
    """What stands under each key of the object that comes next."""
    return {key: member_of(window, key) for key in window.members()}


def member_of(window: Window, key: str) -> Member:
    """A look at the value that comes next."""
    first = window.peek()
    if first == "[":
        found = Member("list", rows=True, talk=True, flat=True)
        widths: set[int | None] = set()
        named: set[Role] = set()
        messages = False
        may_talk = plain_name(key) in (*CHATS, *HISTORIES)
        for _ in window.elements():
            value = window.value()
            found.count += 1
            if isinstance(value, dict):
                found.columns = found.columns or tuple(value)
            message = isinstance(value, dict) and is_message(value)
            messages = messages or message
            found.rows = found.rows and isinstance(value, dict) and not message
            if found.talk and not message:
                spoken = says(value) if may_talk else ()
                found.talk = bool(spoken)
                named.update(spoken)
            found.flat = found.flat and not isinstance(value, dict)
            widths.add(len(value) if isinstance(value, list) else None)
            if key == "columns":
                found.texts.append(str(value))
        found.exchanges = found.talk and bool(named) and (messages or {"user", "assistant"} <= named)
        found.talk = found.talk and found.count > 0 and (found.exchanges or not named)
        found.rows = found.rows and found.count > 0 and not (found.exchanges and plain_name(key) in CHATS)
        found.width = NO_ROWS if not found.count else widths.pop() if len(widths) == 1 else None
        return found
    if first == "{":
        found, hashed = Member("object", numbered=True), hashlib.sha256()
        for inner in window.members():
            window.skip()
            found.count += 1
            found.numbered = found.numbered and inner.lstrip("-").isdigit()
            hashed.update(f"{len(inner)}:{inner}".encode("utf-8", "surrogatepass"))
        found.keys = hashed.hexdigest()
        return found
    if first == '"':
        return Member("single", talk=is_messages(window.value()))
    window.skip()
    return Member("single")


def is_row(outline: Outline) -> bool:
    """Whether an object is one row: a question with its answers, or a conversation, in keys of its own, and beside it
    no rows that are understood but what went before."""
    if any(
        member.rows and plain_name(key) not in HISTORIES and understood(list(member.columns))
        for key, member in outline.items()
    ):
        return False
    own = {key: member for key, member in outline.items() if member.kind == "single" or member.talk}
    return any(
        layout.kind in ("pair", "preference") or (layout.kind == "chat" and own[layout.needed[0]].talk)
        for layout in layouts(tuple(own), Reading())
    )


def object_rows(name: str, outline: Outline, reopened: Callable[[], Window], records: Records) -> Iterator[Record]:
    """A JSON object as rows; ``reopened`` gives its text from the beginning. Columns are numbered by row."""
    tables = [key for key, member in outline.items() if member.rows]
    columns, data = outline.get("columns"), outline.get("data")
    members = outline.values()
    window = reopened()
    if is_row(outline):
        records.notes += [ONE_CONVERSATION.format(key=key) for key, member in outline.items() if member.exchanges]
        yield window.line, window.value()
    elif tables:
        records.notes.append(f"The rows are those under {', '.join(map(repr, tables))}.")
        records.ignored += [key for key in outline if key not in tables]
        yield from rows_under(window, tables)
    elif columns and data and columns.texts and data.kind == "list" and data.width in (len(columns.texts), NO_ROWS):
        records.notes.append("The rows are those under 'data', their names those under 'columns'.")
        records.ignored += [key for key in outline if key not in ("columns", "data")]
        for line, cells in values_under(window, "data"):
            yield line, dict(zip(columns.texts, cells, strict=True))
    elif outline and all(member.kind == "object" for member in members):
        yield from keyed_rows(window, outline, records)
    elif len(outline) > 1 and all(member.kind == "list" and member.flat for member in members):
        if len({member.count for member in members}) > 1:
            told = ", ".join(f"{key} {member.count}" for key, member in outline.items())
            raise UserError(f"{name} holds columns of different lengths ({told}): complete them.")
        records.notes.append("The file holds columns; their first values are the first row.")
        yield from zipped({key: listed(window) for key in window.members()})
    else:
        yield window.line, window.value()


def rows_under(window: Window, tables: list[str]) -> Iterator[Record]:
    """The objects in the lists under some keys."""
    places = Places()
    for key in window.members():
        if key not in tables:
            window.skip()
            continue
        for line in window.elements():
            yield places.of(line), window.value()


def values_under(window: Window, wanted: str) -> Iterator[tuple[int, Any]]:
    """The elements of the list under a key, with their places."""
    places = Places()
    for key in window.members():
        if key != wanted:
            window.skip()
            continue
        for line in window.elements():
            yield places.of(line), window.value()


def keyed_rows(window: Window, outline: Outline, records: Records) -> Iterator[Record]:
    """What pandas writes: columns whose values are named by their index, or rows that are."""
    if not all(member.numbered for member in outline.values()):
        records.notes.append("The file holds rows that are named.")
        places = Places()
        for _ in window.members():
            line = window.line
            yield places.of(line), window.value()
        return
    records.notes.append("The file holds columns whose values are named by row.")
    if len({member.keys for member in outline.values()}) == 1:
        yield from zipped({key: named(window) for key in window.members()})
        return
    # Columns that lack some rows are put together in memory.
    whole = window.value()
    rows = dict.fromkeys(row for cells in whole.values() for row in cells)
    for number, row in enumerate(rows, start=1):
        yield number, {column: cells.get(row) for column, cells in whole.items()}


def listed(window: Window) -> Spool:
    """The list that comes next, set aside."""
    spool = Spool()
    for _ in window.elements():
        spool.add(window.spelled())
    return spool


def named(window: Window) -> Spool:
    """The values of the object that comes next, set aside."""
    spool = Spool()
    for _ in window.members():
        spool.add(window.spelled())
    return spool


def zipped(columns: dict[str, Spool]) -> Iterator[Record]:
    """The rows of columns of one length."""
    cells = zip(*(spool.values() for spool in columns.values()), strict=True)
    for number, row in enumerate(cells, start=1):
        yield number, dict(zip(columns, row, strict=True))
