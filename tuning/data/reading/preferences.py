"""Pairs of a better and a worse answer in their layouts: beside a prompt, or as two whole conversations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tuning.data.reading.conversations import after_history, behind_system, history_of, system_of, with_context
from tuning.data.reading.exchanges import exchange
from tuning.data.reading.layouts import CHATS, PREFERENCE, Layout, plain_name
from tuning.data.reading.messages import Unusable, has_role, is_messages, message_list, only_answers, role_of, turn_of
from tuning.data.reading.values import is_filled, trimmed
from tuning.data.rows import RawRow, Turn

if TYPE_CHECKING:
    from tuning.data.reading.row_maker import RowMaker

PAIR_OF_PREFERENCE = "a preference pair (chosen, rejected), which is for preference training (--objective dpo or orpo)"
SPOKEN = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")
"""How Anthropic's sets of 2022 mark who speaks within one text, which the human begins."""
PARTED = "the prompt's column and the conversations say different things"


def preference_row(maker: RowMaker, line: int, row: Mapping[str, Any], layout: Layout) -> RawRow:
    """A better and a worse answer to one prompt: the better as the row's answer, the worse as what is rejected.

    Raises Unusable for a row that is none, and for all of them where pairs are not what is read.
    """
    if not maker.reading.preference:
        raise Unusable(PAIR_OF_PREFERENCE)
    columns = [layout.column(role) or "" for role in PREFERENCE]
    for role, column in zip(PREFERENCE, columns, strict=True):
        if not is_filled(row[column]):
            raise Unusable(f"no {role} answer")
    in_text = messages_in_text(row, layout)
    better, worse = (told(maker, row, column, role, in_text) for role, column in zip(PREFERENCE, columns, strict=True))
    for role, turns in zip(PREFERENCE, (better, worse), strict=True):
        if not trimmed(turns[-1].text):
            raise Unusable(f"no {role} answer")
    if better[:-1] != worse[:-1]:
        raise Unusable("the two conversations part before their last answers")
    asked = asked_turns(maker, line, row, layout, in_text=in_text, opening=better[:-1])
    earlier = spoken(history_of(maker, line, row, layout))
    if not any(turn.role == "user" for turn in (*asked, *better[:-1], *earlier[-1:])):
        raise Unusable("a pair without a prompt")
    shared = with_beside(asked, better[:-1], earlier, given_text(maker, row, layout))
    system = system_of(maker, line, row, layout)
    shared = behind_system(shared, system, partial(maker.left_out.add, line=line))
    made = maker.finished([*shared, replace(better[-1], trained=True)], line)
    return replace(made, rejected=worse[-1].text)


def with_beside(asked: list[Turn], opening: list[Turn], earlier: list[Turn], given: str) -> list[Turn]:
    """The prompt of both answers, behind what went before it and with the context after its last question, be they in
    the conversations already or beside them alone. Raises Unusable if the prompt and the conversations differ."""
    questions = [with_context(asked, given)] if given and any(turn.role == "user" for turn in asked) else []
    for question in (*questions, asked):
        for whole in (after_history(tuple(earlier), question), question):
            try:
                prompt = after_history(tuple(earlier), prompt_of(whole, opening))
            except Unusable:
                continue
            return prompt if question in questions else with_context(prompt, given)
    raise Unusable(PARTED)


def prompt_of(asked: list[Turn], opening: list[Turn]) -> list[Turn]:
    """The prompt from the prompt's own column and from what both conversations begin with. Raises Unusable if the two
    say different things."""
    if opening[: len(asked)] == asked or opening[-len(asked) :] == asked:
        return opening
    if not said(opening) and (not opening or said(asked) == asked):
        return [*opening, *asked]
    if said(opening) == opening and opening[: len(said(asked))] == said(asked):
        return [*asked, *opening[len(said(asked)) :]]
    if said(asked) == asked and said(opening)[: len(asked)] == asked:
        return opening
    if not said(opening) and asked[: len(opening)] == opening:
        return asked
    raise Unusable(PARTED)


def said(turns: Sequence[Turn]) -> list[Turn]:
    """The turns without system prompts."""
    return [turn for turn in turns if turn.role != "system"]


def given_text(maker: RowMaker, row: Mapping[str, Any], layout: Layout) -> str:
    """What follows the last question on the next lines: input and context."""
    given = [maker.text(row, name) for name, role in layout.roles.items() if role in ("input", "context")]
    return "\n".join(part for part in map(trimmed, given) if part)


def asked_turns(
    maker: RowMaker, line: int, row: Mapping[str, Any], layout: Layout, *, in_text: bool, opening: list[Turn]
) -> list[Turn]:
    """What the prompt's own column says, none of it trained; nothing where that is a chat's beside whole conversations,
    which is counted."""
    column = maker.filled(line, row, layout, "question")
    if column is None:
        return []
    is_chat = plain_name(column) in CHATS
    if is_chat and said(opening):
        maker.left_out.add(f"the column {column!r} beside whole conversations (which are used)", line)
        return []
    if (found := listed_turns(maker, row, column, in_text)) is not None:
        return spoken(found)
    return spoken([Turn("user", maker.text(row, column))])


def listed_turns(maker: RowMaker, row: Mapping[str, Any], column: str, in_text: bool) -> list[Turn] | None:
    """A cell's messages, if it is a list of them, or one alone, be it JSON in a text where the row's texts are read so;
    else None."""
    value = row[column]
    listed = [value] if isinstance(value, Mapping) and has_role(value) and not message_list(value) else value
    note = partial(maker.note_key, column)
    if plain_name(column) in CHATS:
        return [turn for each in message_list(listed) or [] for turn in exchange(each, note)] or None
    if not is_messages(listed) or (isinstance(listed, str) and not in_text):
        return None
    return [turn_of(each, note) for each in message_list(listed) or []]


def messages_in_text(row: Mapping[str, Any], layout: Layout) -> bool:
    """Whether JSON in a row's texts is read as messages: where both answers are that, and so is the prompt, or they
    are conversations in which the prompt is asked; else it is a text that happens to be JSON."""
    better, worse = (row[layout.column(role) or ""] for role in PREFERENCE)
    if not (isinstance(better, str) and isinstance(worse, str) and is_messages(better) and is_messages(worse)):
        return False
    prompt = next((row[column] for column in layout.named("question") if is_filled(row[column])), None)
    if not is_filled(prompt):
        return True
    if isinstance(prompt, str) and is_messages(prompt):
        return True
    if not isinstance(prompt, str):
        return not (only_answers(better) or only_answers(worse))
    asked = [str(value).strip() for each in message_list(better) or [] for value in each.values()]
    return prompt.strip() in asked


def spoken(turns: Sequence[Turn]) -> list[Turn]:
    """Turns as they are compared: none trained, without white space around, and without empty system prompts."""
    found = [Turn(turn.role, trimmed(turn.text)) for turn in turns]
    return [turn for turn in found if turn.role != "system" or turn.text]


def told(maker: RowMaker, row: Mapping[str, Any], column: str, role: str, in_text: bool) -> list[Turn]:
    """A column's conversation up to its answer, or the answer alone, none of it marked as trained."""
    if (turns := listed_turns(maker, row, column, in_text)) is not None:
        if role == "chosen" and turns[-1].role == "assistant" and not turns[-1].trained:
            raise Unusable("the chosen answer has weight 0, train false or a false label")
    else:
        text = maker.text(row, column)
        marks = list(SPOKEN.finditer(text))
        if not marks or marks[0][1] != "Human" or text[: marks[0].start()].strip():
            return [Turn("assistant", trimmed(text))]
        ends = [*(mark.start() for mark in marks[1:]), len(text)]
        turns = [Turn(role_of(mark[1]), text[mark.end() : end]) for mark, end in zip(marks, ends, strict=True)]
    if turns[-1].role != "assistant":
        raise Unusable(f"the conversation in {column!r} does not end with an answer")
    return spoken(turns)
