"""Pairs of a better and a worse answer in their layouts: beside a prompt, or as two whole conversations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from tuning.data.reading.conversations import (
    Unusable,
    history_turns,
    is_messages,
    message_list,
    role_of,
    turn_of,
)
from tuning.data.reading.layouts import PREFERENCE, Layout
from tuning.data.reading.values import is_filled, trimmed
from tuning.data.rows import RawRow, Turn

if TYPE_CHECKING:
    from tuning.data.reading.row_maker import RowMaker

PAIR_OF_PREFERENCE = "a preference pair (chosen, rejected), which is for preference training (--objective dpo or orpo)"
SPOKEN = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")
"""How Anthropic's sets of 2022 mark who speaks within one text."""


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
    better, worse = (told(maker, row, column) for column in columns)
    if better[:-1] != worse[:-1]:
        raise Unusable("the two conversations part before their last answers")
    shared = prompt_of(asked_turns(maker, row, layout), better[:-1])
    made = maker.finished([*shared, replace(better[-1], trained=True)], line)
    return replace(made, rejected=worse[-1].text)


def prompt_of(asked: Sequence[Turn], opening: Sequence[Turn]) -> list[Turn]:
    """The prompt from the prompt's own columns and from what both conversations begin with. Raises Unusable if there is
    none, or if the two say different things."""
    if not said(opening):
        prompt = [*(turn for turn in opening if not any(one.role == "system" for one in asked)), *asked]
    elif said(opening)[: len(said(asked))] == said(asked):
        system = [turn for turn in asked if turn.role == "system"] if said(opening) == list(opening) else []
        prompt = [*system, *opening]
    else:
        raise Unusable("the prompt's column and the conversations say different things")
    if not any(turn.role == "user" for turn in prompt):
        raise Unusable("a pair without a prompt")
    return prompt


def said(turns: Sequence[Turn]) -> list[Turn]:
    """The turns without system prompts."""
    return [turn for turn in turns if turn.role != "system"]


def asked_turns(maker: RowMaker, row: Mapping[str, Any], layout: Layout) -> list[Turn]:
    """What the prompt's own columns say, none of it trained."""
    system = trimmed(maker.text(row, layout.column("system")))
    turns = [Turn("system", system)] if system else []
    history = layout.column("history")
    if history and is_filled(row[history]):
        turns += history_turns(row[history], partial(maker.note_key, history))
    column = layout.column("question")
    if column is not None and is_filled(row[column]):
        if is_messages(row[column]):
            turns += [turn_of(message, partial(maker.note_key, column)) for message in message_list(row[column]) or []]
        else:
            given = [maker.text(row, name) for name, role in layout.roles.items() if role in ("input", "context")]
            asked = "\n".join(part for part in map(trimmed, [maker.text(row, column), *given]) if part)
            turns.append(Turn("user", asked))
    return [Turn(turn.role, trimmed(turn.text)) for turn in turns]


def told(maker: RowMaker, row: Mapping[str, Any], column: str) -> list[Turn]:
    """A column's conversation up to its answer, or the answer alone, none of it marked as trained."""
    if is_messages(row[column]):
        turns = [turn_of(message, partial(maker.note_key, column)) for message in message_list(row[column]) or []]
    else:
        text = maker.text(row, column)
        marks = list(SPOKEN.finditer(text))
        if not marks or text[: marks[0].start()].strip():
            return [Turn("assistant", trimmed(text))]
        ends = [*(mark.start() for mark in marks[1:]), len(text)]
        turns = [Turn(role_of(mark[1]), text[mark.end() : end]) for mark, end in zip(marks, ends, strict=True)]
    if turns[-1].role != "assistant":
        raise Unusable(f"the conversation in {column!r} does not end with an answer")
    return [Turn(turn.role, trimmed(turn.text)) for turn in turns]
