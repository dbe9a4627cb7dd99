"""One row of each layout -> a question with its answer or a conversation, or the reason why it is left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from tuning.data.reading.conversations import after_history, behind_system, history_of, system_of, with_context
from tuning.data.reading.exchanges import exchange
from tuning.data.reading.layouts import RATINGS, Layout, plain_name
from tuning.data.reading.messages import (
    Unusable,
    is_messages,
    message_list,
    only_answers,
    truth,
    turn_of,
)
from tuning.data.reading.preferences import preference_row
from tuning.data.reading.values import is_filled, trimmed
from tuning.data.rows import RawRow, Turn, turns_from_json

if TYPE_CHECKING:
    from tuning.data.reading.row_maker import RowMaker

KTO = ("prompt", "completion")


def check_wanted(maker: RowMaker, line: int, row: Mapping[str, Any], layout: Layout) -> None:
    """Raise Unusable for a row that says it is not to be trained, or that holds more than text."""
    check_media(row, layout)
    refusing = unwanted(maker, line, row, layout)
    if refusing is not None:
        raise Unusable(f"{refusing} is {str(row[refusing]).lower()}: not to be trained")


def check_media(row: Mapping[str, Any], layout: Layout) -> None:
    """Raise Unusable for a row that holds more than text."""
    for column in layout.media:
        if is_filled(row[column]):
            raise Unusable(f"an image, sound or film (the column {column!r})")


def unwanted(maker: RowMaker, line: int, row: Mapping[str, Any], layout: Layout) -> str | None:
    """The column that says that a row is not to be trained, if any does."""
    for column in layout.wanted:
        value = row[column]
        found = truth(value) if is_filled(value) else True
        if found is False:
            return column
        if found is None:
            maker.left_out.add(f"{column} is neither 0 nor 1 (the rows are trained)", line)
    return None


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
    check_labels(maker, line, row, layout)
    check = maker.text(row, layout.column("check"))
    given = "\n".join(
        text
        for name, role in roles.items()
        if role in ("input", "context") and (text := trimmed(maker.text(row, name)))
    )
    system = system_of(maker, line, row, layout)
    earlier = history_of(maker, line, row, layout)
    # What a table of ours holds as text is text: what was a list of messages stands in its column of turns.
    listed = listed_cells(row[question], row[answer]) if stored is None else (False, False)
    if not (system or earlier or any(listed)):
        return RawRow(maker.text(row, question), given, maker.text(row, answer), check, line=line)
    if listed[0]:  # a prompt's own turns are given, not learned
        asked = [Turn(turn.role, turn.text) for turn in turns_in(maker, row, question)]
    else:
        asked = [Turn("user", trimmed(maker.text(row, question)))]
    said = turns_in(maker, row, answer) if listed[1] else [Turn("assistant", maker.text(row, answer), True)]
    before = after_history(earlier, with_context(asked, given))
    spoken = behind_system([*before, *said], system, partial(maker.left_out.add, line=line))
    made = maker.finished(spoken, line, check)
    if earlier or listed[1]:
        maker.note_untrained([*earlier, *(turn for turn in asked if turn.role == "user"), *said], line)
    return made


def turns_in(maker: RowMaker, row: Mapping[str, Any], column: str) -> list[Turn]:
    """The messages of a column that is a list of them."""
    return [turn_of(message, partial(maker.note_key, column)) for message in message_list(row[column]) or []]


def listed_cells(question: Any, answer: Any) -> tuple[bool, bool]:
    """Whether question and answer are lists of messages. JSON in a text is that only in both of them, the answer's
    messages the assistant's alone: else it is a text that happens to be JSON."""
    listed = is_messages(question), is_messages(answer)
    if not (isinstance(question, str) or isinstance(answer, str)):
        return listed
    if isinstance(question, str) and isinstance(answer, str) and all(listed) and only_answers(answer):
        return listed
    return listed[0] and not isinstance(question, str), listed[1] and not isinstance(answer, str)


def check_labels(maker: RowMaker, line: int, row: Mapping[str, Any], layout: Layout, *, is_answer: bool = True) -> None:
    """Raise Unusable for a row whose label says that its answer is bad, or that must say whether it is and does not,
    as one that holds no answer need not.

    A number is a rating beside a prompt, under a name that means nothing else, or where the column was named; elsewhere
    it may be a class.
    """
    asked = plain_name(layout.column("question") or "")
    for column in layout.labels:
        value = row[column]
        if not is_answer and not is_filled(value):
            continue
        must = "label" in maker.reading.columns or plain_name(column) in RATINGS
        must = must or (asked, plain_name(layout.column("answer") or "")) == KTO
        found = truth(value) if is_filled(value) else None
        is_number = not isinstance(value, bool) and not str(value).strip().isalpha()
        if must or (found is not None and (asked == KTO[0] or not is_number)):
            maker.used.setdefault(column, "label")
            if found is False:
                raise Unusable(f"the {column} is false: a bad answer")
            if found is None:
                told = "neither true nor false" if is_filled(value) else "missing, so that the answer may be bad"
                raise Unusable(f"the {column} is {told}")
        elif is_filled(value):
            maker.note_idle(column, layout, line)
            if found is False:
                maker.left_out.add(f"the {column} is 0, taken for a class and no rating (the rows are trained)", line)


def chat_row(maker: RowMaker, line: int, row: Mapping[str, Any], layout: Layout) -> RawRow:
    """A list of messages, behind the row's system prompt and history."""
    check_labels(maker, line, row, layout)
    column = layout.column("messages") or ""
    messages = message_list(row[column])
    if not messages:
        raise Unusable(f"the column {column!r} is no list of messages" if is_filled(row[column]) else "no messages")
    note = partial(maker.note_key, column)
    turns = [turn for message in messages for turn in exchange(message, note)]
    turns = after_history(history_of(maker, line, row, layout), turns)
    turns = behind_system(turns, system_of(maker, line, row, layout), partial(maker.left_out.add, line=line))
    made = maker.finished(turns, line, maker.text(row, layout.column("check")))
    maker.note_untrained(turns, line)
    return made


def text_row(maker: RowMaker, line: int, row: Mapping[str, Any], layout: Layout) -> RawRow:
    """A text to be continued, all of it trained."""
    check_labels(maker, line, row, layout)
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
