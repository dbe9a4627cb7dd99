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
OPEN_AT_END = re.compile("(?:" + "|".join(re.escape(start) for start, _ in TAGS) + r")\s*\Z")


class Thought(NamedTuple):
    """An answer in two: ``thinking`` without its tags, and what was ``said`` after it.

    ``over`` is False while the thinking has not ended (nothing was said yet).
    """

    thinking: str
    said: str
    over: bool = True


def split_thinking(text: str) -> Thought:
    """Divide an answer into its leading draft and the rest.

    Only a draft at the beginning counts: tags in the middle of an answer are text like any other.
    """
    body = text.lstrip()
    for start, end in TAGS:
        if body.startswith(start):
            draft, closed, said = body[len(start) :].partition(end)
            return Thought(draft.strip(), said.lstrip() if closed else "", bool(closed))
    return Thought("", text)


def without_thinking(text: str) -> str:
    """What an answer says after its draft; empty while the draft goes on. Other answers are returned as they are."""
    return split_thinking(text).said


def opened_thinking(prompt: str) -> str:
    """The opening tag with which a rendered prompt ends, and the white space after it: the answer then begins inside
    the draft. Empty where there is none."""
    found = OPEN_AT_END.search(prompt)
    return found.group() if found else ""


def continued(answer: str, prompt: str) -> str:
    """An answer as it follows a rendered prompt that has opened the draft already: its own opening tag is left out, and
    without a draft the tag is closed before it."""
    start, end = next(pair for pair in TAGS if prompt.rstrip().endswith(pair[0]))
    body = answer.lstrip()
    if body.startswith(start):
        return body[len(start) :].lstrip("\n")
    return answer if end in answer else f"\n{end}\n\n{answer}"
