"""Pairs of a better and a worse answer in their layouts: beside a prompt, or as two whole conversations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tuning.data.reading.conversations import (
    TWO_SYSTEMS,
    Unusable,
    history_turns,
    is_messages,
    message_list,
    role_of,
    turn_of,
    with_context,
)
from tuning.data.reading.layouts import PREFERENCE, Layout
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
    better, worse = (told(maker, row, column, role) for role, column in zip(PREFERENCE, columns, strict=True))
    for role, turns in zip(PREFERENCE, (better, worse), strict=True):
        if not trimmed(turns[-1].text):
            raise Unusable(f"no {role} answer")
    if better[:-1] != worse[:-1]:
        raise Unusable("the two conversations part before their last answers")
    given = given_text(maker, row, layout)
    shared = prompt_of(asked_turns(maker, row, layout, given), better[:-1])
    if given and not has_question(row, layout):
        shared = with_context(shared, given)
    system = trimmed(maker.text(row, layout.column("system")))
    own = [turn.text for turn in shared if turn.role == "system"]
    if system and not own:
        shared = [Turn("system", system), *shared]
    made = maker.finished([*shared, replace(better[-1], trained=True)], line)
    if system and own and system not in own:
        maker.left_out.add(TWO_SYSTEMS, line)
    return replace(made, rejected=worse[-1].text)


def prompt_of(asked: list[Turn], opening: list[Turn]) -> list[Turn]:
    """The prompt from the prompt's own columns and from what both conversations begin with. Raises Unusable if there is
    none, or if the two say different things."""
    if opening[: len(asked)] == asked:
        prompt = opening
    elif not said(opening) and (not opening or said(asked) == asked):
        prompt = [*opening, *asked]
    elif said(opening) == opening and opening[: len(said(asked))] == said(asked):
        prompt = [*asked, *opening[len(said(asked)) :]]
    elif said(asked) == asked and said(opening)[: len(asked)] == asked:
        prompt = opening
    elif not said(opening) and asked[: len(opening)] == opening:
        prompt = asked
    else:
        raise Unusable(PARTED)
    if not any(turn.role == "user" for turn in prompt):
        raise Unusable("a pair without a prompt")
    return prompt


def said(turns: Sequence[Turn]) -> list[Turn]:
    """The turns without system prompts."""
    return [turn for turn in turns if turn.role != "system"]


def has_question(row: Mapping[str, Any], layout: Layout) -> bool:
    """Whether a row fills the prompt's own column."""
    column = layout.column("question")
    return column is not None and is_filled(row[column])


def given_text(maker: RowMaker, row: Mapping[str, Any], layout: Layout) -> str:
    """What follows the last question on the next lines: input and context."""
    given = [maker.text(row, name) for name, role in layout.roles.items() if role in ("input", "context")]
    return "\n".join(part for part in map(trimmed, given) if part)


def asked_turns(maker: RowMaker, row: Mapping[str, Any], layout: Layout, given: str) -> list[Turn]:
    """What the prompt's own columns say, ``given`` after its question; none of it trained."""
    turns: list[Turn] = []
    history = layout.column("history")
    if history and is_filled(row[history]):
        turns += history_turns(row[history], partial(maker.note_key, history))
    column = layout.column("question")
    if column is not None and is_filled(row[column]):
        if is_messages(row[column]):
            found = [turn_of(message, partial(maker.note_key, column)) for message in message_list(row[column]) or []]
            turns += with_context(found, given)
        else:
            asked = "\n".join(part for part in (trimmed(maker.text(row, column)), given) if part)
            turns.append(Turn("user", asked))
    return spoken(turns)


def spoken(turns: Sequence[Turn]) -> list[Turn]:
    """Turns as they are compared: none trained, without white space around, and without empty system prompts."""
    found = [Turn(turn.role, trimmed(turn.text)) for turn in turns]
    return [turn for turn in found if turn.role != "system" or turn.text]


def told(maker: RowMaker, row: Mapping[str, Any], column: str, role: str) -> list[Turn]:
    """A column's conversation up to its answer, or the answer alone, none of it marked as trained."""
    if is_messages(row[column]):
        turns = [turn_of(message, partial(maker.note_key, column)) for message in message_list(row[column]) or []]
        if role == "chosen" and turns[-1].role == "assistant" and not turns[-1].trained:
            raise Unusable("the chosen answer has weight 0 or train false")
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
