"""Chat messages in a row -> a conversation: its system prompt, what went before, what of it is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from tuning.data.reading.exchanges import exchange
from tuning.data.reading.messages import CONTENT_KEYS, Note, Unusable, content_text, message_list
from tuning.data.reading.values import is_filled, trimmed
from tuning.data.rows import RawRow, Turn, Turns

if TYPE_CHECKING:
    from tuning.data.reading.layouts import Layout
    from tuning.data.reading.row_maker import RowMaker

TWO_SYSTEMS = "a system column beside a conversation's own system message (which is used)"
ROWLESS = "no question followed by an answer"
UNANSWERED = "a closing question without an answer (the rest of the conversation is used)"
GREETING = "a greeting before the first question (kept before it, not trained)"
NOTHING_TRAINED = "no turn of the assistant is to be trained (weight 0, train false or a false label)"
UNTRAINED = "an answer with weight 0, train false or a false label (kept before the next, not trained)"
AFTERWARDS = "turns after the last trained one (the rest of the conversation is used)"


def history_turns(value: Any, note: Note) -> Turns:
    """Turns that go before: pairs of question and answer, or messages. Raises Unusable for anything else."""
    items = message_list(value)
    if items is None:
        raise Unusable("the history is no list of pairs or messages")
    turns: list[Turn] = []
    for item in items:
        if isinstance(item, Mapping):
            turns += exchange(item, note)
        elif isinstance(item, list | tuple) and len(item) == 2:
            turns += [Turn("user", content_text(item[0], note)), Turn("assistant", content_text(item[1], note), True)]
        else:
            raise Unusable("the history is no list of pairs or messages")
    return tuple(turns)


def system_of(maker: RowMaker, line: int, row: Mapping[str, Any], layout: Layout) -> str:
    """A row's system prompt: a text, or a message of its own, as Gemini has it."""
    column = maker.filled(line, row, layout, "system")
    value = row[column] if column is not None else None
    if column is None or not isinstance(value, Mapping):
        return trimmed(maker.text(row, column))
    key = next((key for key in CONTENT_KEYS if key in value), None)
    if key is None:
        return trimmed(maker.text(row, column))
    for other in value:
        if other not in (key, "role") and is_filled(value[other]):
            maker.note_key(column, str(other))
    return trimmed(content_text(value[key], partial(maker.note_key, f"{column}.{key}")))


def history_of(maker: RowMaker, line: int, row: Mapping[str, Any], layout: Layout) -> Turns:
    """What went before a row's own turns."""
    column = maker.filled(line, row, layout, "history")
    if column is None:
        return ()
    return history_turns(row[column], partial(maker.note_key, column))


def opening(turns: Sequence[Turn]) -> int:
    """How many system messages a conversation begins with."""
    return sum(1 for _ in takewhile(lambda turn: turn.role == "system", turns))


def behind_system(turns: list[Turn], system: str, note: Note) -> list[Turn]:
    """A conversation behind the system prompt of its row's column. Where it begins with another, that one is used, and
    ``note`` is told."""
    if not system:
        return turns
    own = [text for turn in turns[: opening(turns)] if (text := trimmed(turn.text))]
    if own and system not in own:
        note(TWO_SYSTEMS)
    return turns if own else [Turn("system", system), *turns]


def greetings(turns: Sequence[Turn]) -> list[int]:
    """Where the assistant speaks before the first question; nowhere in a conversation that asks nothing."""
    asked = next((at for at, turn in enumerate(turns) if turn.role == "user"), 0)
    return [at for at, turn in enumerate(turns[:asked]) if turn.role == "assistant" and turn.text.strip()]


def after_history(earlier: Turns, turns: list[Turn]) -> list[Turn]:
    """A conversation with what went before it, behind its system prompt, which is not said twice; as it is where it
    begins with that already."""
    if not earlier:
        return turns
    begun = opening(turns)
    told = [(turn.role, trimmed(turn.text)) for turn in earlier]
    whole = [(turn.role, trimmed(turn.text)) for turn in turns]
    if told in (whole[: len(told)], whole[begun:][: len(told)]):
        return turns
    fresh = [turn for turn, each in zip(earlier, told, strict=True) if each not in whole[:begun]]
    return [*turns[:begun], *fresh, *turns[begun:]]


def with_context(turns: list[Turn], given: str) -> list[Turn]:
    """A prompt's turns, with the row's context after the last question. Raises Unusable where nothing is asked."""
    if not given:
        return turns
    asked = next((at for at in reversed(range(len(turns))) if turns[at].role == "user"), None)
    if asked is None:
        raise Unusable("a context beside a prompt that asks nothing")
    text = "\n".join(part for part in (trimmed(turns[asked].text), given) if part)
    return [*turns[:asked], Turn("user", text), *turns[asked + 1 :]]


def row_of(turns: Sequence[Turn], line: int, *, last_only: bool, note_part: Note, check: str = "") -> RawRow:
    """A conversation as a row. What follows the last trained turn is cut off and told to ``note_part``.

    Raises Unusable if nothing of it is to be trained, or a turn of it is empty.
    """
    tidy = [Turn(turn.role, trimmed(turn.text), turn.trained) for turn in turns]
    tidy = [turn for turn in tidy if turn.role != "system" or turn.text]
    roles = [turn.role for turn in tidy]
    asked = roles.index("user") if "user" in roles else len(roles)
    if "assistant" not in roles[asked:]:
        raise Unusable(ROWLESS)
    for at in greetings(tidy):
        tidy[at] = replace(tidy[at], trained=False)
        note_part(GREETING)
    final = max(at for at, role in enumerate(roles) if role == "assistant")
    if last_only:
        tidy = [replace(turn, trained=turn.trained and at == final) for at, turn in enumerate(tidy)]
    trained = [at for at, turn in enumerate(tidy) if turn.trained]
    if not trained:
        raise Unusable(NOTHING_TRAINED)
    if trained[-1] == final and "user" in roles[final:]:
        note_part(UNANSWERED)
    elif trained[-1] < len(tidy) - 1:
        note_part(AFTERWARDS)
    kept = tidy[: trained[-1] + 1]
    for turn in kept:
        if not turn.text:
            raise Unusable("empty answer" if turn.role == "assistant" else "empty question")
    said = "\n".join(turn.text for turn in kept if turn.role == "user")
    plain = [turn.role for turn in kept] == ["user", "assistant"]
    return RawRow(said, "", kept[-1].text, check, () if plain else tuple(kept), line)
