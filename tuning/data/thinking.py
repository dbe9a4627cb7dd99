"""Thinking models write a draft between tags before they answer: told apart here, for page, judge and scores alike."""

from __future__ import annotations

import re
from typing import NamedTuple

TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
)
OPEN_AT_END = re.compile("(" + "|".join(re.escape(start) for start, _ in TAGS) + r")\s*\Z")


class Thought(NamedTuple):
    """An answer in two: ``thinking`` without its tags, and what was ``said`` after it.

    ``over`` is False while the thinking has not ended (nothing was said yet).
    """

    thinking: str
    said: str
    over: bool = True


def split_thinking(text: str, opened: bool = False) -> Thought:
    """Divide an answer into its leading draft and the rest.

    Only a draft at the beginning counts: tags in the middle of an answer are text like any other. ``opened`` says
    that the prompt has written the opening tag already, as some templates do.
    """
    body = text.lstrip()
    for start, end in TAGS:
        if body.startswith(start):
            draft, closed, said = body[len(start) :].partition(end)
            return Thought(draft.strip(), said.lstrip() if closed else "", bool(closed))
    if opened:
        for _, end in TAGS:
            draft, closed, said = text.partition(end)
            if closed:
                return Thought(draft.strip(), said.lstrip())
        return Thought(text.strip(), "", over=False)
    return Thought("", text)


def without_thinking(text: str, opened: bool = False) -> str:
    """What an answer says after its draft; empty while the draft goes on. Other answers are returned as they are."""
    return split_thinking(text, opened).said


def opens_thinking(prompt: str) -> bool:
    """Whether a rendered prompt ends with an opening tag, so that the answer begins inside the draft."""
    return OPEN_AT_END.search(prompt) is not None
