"""A whole conversation as one pair, so that it can be voted on like each of its turns."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from eval_prompts.votes.export import conversations, said
from eval_prompts.votes.records import WHOLE
from tuning.data.thinking import without_thinking
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.votes.records import ShownPair

WHOLE_PAIR = "whole-"
"""What the id of a whole conversation begins with; that of its last turn follows."""
NO_CONVERSATION = "This is one question with one answer: vote on that."


def whole_of(last: ShownPair, first: ShownPair | None = None) -> ShownPair:
    """The conversation up to and with its turn ``last``. The question is all that was asked, line by line; an answer is
    all that a side said. ``first`` is the turn that it began with, where that is kept. Raises UserError where there was
    one turn alone."""
    if last.turn < 2:
        raise UserError(NO_CONVERSATION)
    asked = conversations(last)
    told = {
        "base": [*asked["base"], *said(without_thinking(last.base.text))],
        "tuned": [*asked["tuned"], *said(without_thinking(last.tuned.text))],
    }
    begins = {side: beginning(last, messages, first) for side, messages in told.items()}
    questions = [turn["content"] for turn in asked["base"][begins["base"] :] if turn["role"] == "user"]
    return replace(
        last,
        id=WHOLE_PAIR + last.id,
        question="\n".join(questions),
        probe=None,
        base=replace(last.base, text=transcript(told["base"][begins["base"] :]), verdict=None),
        tuned=replace(last.tuned, text=transcript(told["tuned"][begins["tuned"] :]), verdict=None),
        settings=last.settings | {"base_turns": told["base"], "tuned_turns": told["tuned"]},
        conversation=last.thread,
        turn=WHOLE,
    )


def beginning(last: ShownPair, messages: list[dict[str, Any]], first: ShownPair | None) -> int:
    """The place in a conversation of the question that it began with: what stands before that was given, and a turn may
    hold questions that were given, too. Counted by turns where the first one is not kept."""
    for given in conversations(first).values() if first is not None else ():
        if given and messages[: len(given)] == given:
            return len(given) - 1
    return [at for at, message in enumerate(messages) if message["role"] == "user"][-last.turn]


def transcript(messages: list[dict[str, Any]]) -> str:
    """What a side said in a conversation that begins with its first question, for people: its answers, each later one
    below its question."""
    lines = [
        message["content"] if message["role"] == "assistant" else f"\u00bb {message['content']}"
        for message in messages[1:]
    ]
    return "\n\n".join(lines)
