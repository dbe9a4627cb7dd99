"""One row of each layout -> a question with its answer or a conversation, or the reason why it is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from tuning.data.reading.conversations import (
    UNTRAINED,
    Unusable,
    exchange,
    history_turns,
    is_messages,
    message_list,
    only_answers,
    truth,
    turn_of,
    with_context,
)
from tuning.data.reading.layouts import Layout, plain_name
from tuning.data.reading.preferences import preference_row
from tuning.data.reading.values import is_filled, trimmed
from tuning.data.rows import RawRow, Turn, turns_from_json

if TYPE_CHECKING:
    from tuning.data.reading.row_maker import RowMaker

TWO_SYSTEMS = "a system column beside a conversation's own system message (which is used)"
KTO = ("prompt", "completion")


def check_wanted(maker: RowMaker, line: int, row: Mapping[str, Any], layout: Layout) -> None:
    """Raise Unusable for a row that says it is not to be trained, or that holds more than text."""
    for column in layout.media:
        if is_filled(row[column]):
            raise Unusable(f"an image, sound or film (the column {column!r})")
    for column in layout.wanted:
        value = row[column]
        found = truth(value) if is_filled(value) else True
        if found is False:
            raise Unusable(f"{column} is {str(value).lower()}: not to be trained")
        if found is None:
            maker.left_out.add(f"{column} is neither 0 nor 1 (the rows are trained)", line)


def pair_row(maker: RowMaker, line: int, row: Mapping[str, Any], layout: Layout) -> RawRow:
    """A question with its answer, with a system prompt, context and history where the row has them."""
    roles = layout.roles
    question, answer = layout.column("question") or "", layout.column("answer") or ""
    stored = layout.column("turns")
    if stored is not None and is_filled(row[stored]):
        try:
            turns = turns_from_json(maker.text(row, stored))
        except ValueError as error:
            raise Unusable(f"the column {stored!r} holds no conversation") from error
        return RawRow(
            maker.text(row, question), "", maker.text(row, answer), maker.text(row, layout.column("check")), turns, line
        )
    label = layout.column("label")
    if label is not None:
        check_label(maker, row[label], label, layout)
    check = maker.text(row, layout.column("check"))
    given = "\n".join(
        text
        for name, role in roles.items()
        if role in ("input", "context") and (text := trimmed(maker.text(row, name)))
    )
    system = trimmed(maker.text(row, layout.column("system")))
    history = layout.column("history")
    earlier = (
        history_turns(row[history], partial(maker.note_key, history)) if history and is_filled(row[history]) else ()
    )
    listed = listed_cells(row[question], row[answer])
    if not (system or earlier or any(listed)):
        return RawRow(maker.text(row, question), given, maker.text(row, answer), check, line=line)
    opening = [Turn("system", system)] if system else []
    spoken = [*opening, *earlier]
    for is_list, column, role in ((listed[0], question, "user"), (listed[1], answer, "assistant")):
        if is_list:
            found = [turn_of(message, partial(maker.note_key, column)) for message in message_list(row[column]) or []]
            if role == "user":  # a prompt's own turns are given, not learned
                found = [Turn(turn.role, turn.text) for turn in found]
                found = with_context(found, given)
            spoken += found
        elif role == "user":
            asked = trimmed(maker.text(row, column))
            spoken.append(Turn("user", "\n".join(part for part in (asked, given) if part)))
        else:
            spoken.append(Turn("assistant", maker.text(row, column), True))
    return maker.finished(spoken, line, check)


def listed_cells(question: Any, answer: Any) -> tuple[bool, bool]:
    """Whether question and answer are lists of messages. JSON in a text is that only in both of them, the answer's
    messages the assistant's alone: else it is a text that happens to be JSON."""
    listed = is_messages(question), is_messages(answer)
    if not (isinstance(question, str) or isinstance(answer, str)):
        return listed
    if isinstance(question, str) and isinstance(answer, str) and all(listed) and only_answers(answer):
        return listed
    return listed[0] and not isinstance(question, str), listed[1] and not isinstance(answer, str)


def check_label(maker: RowMaker, value: Any, column: str, layout: Layout) -> None:
    """Raise Unusable for a row whose label says that its answer is bad, or says nothing."""
    rated = (plain_name(layout.column("question") or ""), plain_name(layout.column("answer") or "")) == KTO
    found = truth(value) if value is not None else None
    if found is False and (rated or isinstance(value, bool) or str(value).isalpha()):
        raise Unusable(f"the {column} is false: a bad answer")
    if found is None and rated:
        told = "neither true nor false" if is_filled(value) else "missing, so that the answer may be bad"
        raise Unusable(f"the {column} is {told}")
    if found is None:
        maker.used.pop(column, None)


def chat_row(maker: RowMaker, line: int, row: Mapping[str, Any], layout: Layout) -> RawRow:
    """A list of messages."""
    column = layout.column("messages") or ""
    messages = message_list(row[column])
    if not messages:
        raise Unusable(f"the column {column!r} is no list of messages" if is_filled(row[column]) else "no messages")
    note = partial(maker.note_key, column)
    turns = [turn for message in messages for turn in exchange(message, note)]
    system = trimmed(maker.text(row, layout.column("system")))
    own = [trimmed(turn.text) for turn in turns if turn.role == "system"]
    if system and not own:
        turns = [Turn("system", system), *turns]
    elif system and system not in own:
        maker.left_out.add(TWO_SYSTEMS, line)
    made = maker.finished(turns, line, maker.text(row, layout.column("check")))
    last = max((at for at, turn in enumerate(turns) if turn.trained), default=0)
    for turn in turns[:last]:
        if turn.role == "assistant" and not turn.trained:
            maker.left_out.add(UNTRAINED, line)
    return made


def text_row(maker: RowMaker, line: int, row: Mapping[str, Any], layout: Layout) -> RawRow:
    """A text to be continued, all of it trained."""
    text = trimmed(maker.text(row, layout.column("text")))
    if not text:
        raise Unusable("empty text")
    return RawRow(text, "", text, turns=(Turn("text", text, True),), line=line)


KINDS: dict[str, Callable[[RowMaker, int, Mapping[str, Any], Layout], RawRow]] = {
    "pair": pair_row,
    "chat": chat_row,
    "text": text_row,
    "preference": preference_row,
}
