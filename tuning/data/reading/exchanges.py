"""Objects that hold what was said under the names of its speakers, a question with its answer or one alone -> turns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuning.data.reading.layouts import ANSWERS, CONTEXTS, LABELS, PAIRS, TRAINED, plain_name
from tuning.data.reading.messages import (
    ASKED,
    BOTS,
    CALL_KEYS,
    CONTENT_KEYS,
    ROLE_KEYS,
    Note,
    Unusable,
    content_text,
    filled_key,
    is_trained,
    plainly,
    rates,
    text_key,
    turn_of,
)
from tuning.data.reading.values import is_filled, is_missing, trimmed
from tuning.data.rows import Role, Turn

ANSWERED = (*ANSWERS, *BOTS)
EXCHANGED = (*(pair for pair in PAIRS if pair[0] in ASKED), *((asked, bot) for bot in BOTS for asked in ASKED))
"""The names of a question and its answer in one object: those of columns, and some more for who answers."""
BESIDE = frozenset(("system", *CONTEXTS, *TRAINED, *LABELS))
"""Texts that may stand beside what was said."""


def said_in(message: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The keys of an object that hold a question and its answer under the names of columns, or one of the two alone;
    nothing of a message that names its speaker, or that has another text beside one name."""
    there = {key: value for key, value in message.items() if not is_missing(value)}  # a null is nothing that was said
    both = [pair for pair in EXCHANGED if there.keys() >= set(pair)]
    if both and not {"role", "from"} & message.keys():
        return next((pair for pair in both if all(is_filled(there[key]) for key in pair)), both[0])
    asked, answered = (filled_key(there, keys) for keys in (ASKED, ANSWERED))
    return (asked, answered) if is_plain(message, asked, answered) else (None, None)


def is_plain(message: Mapping[str, Any], *known: str | None) -> bool:
    """Whether an object has none of a message's own keys, and no text but under the ``known`` names."""
    if any(key in message for key in (*ROLE_KEYS, *CONTENT_KEYS)):
        return False
    texts = (key for key, value in message.items() if isinstance(value, str) and is_filled(value))
    return all(key in known or key in BESIDE for key in texts)


def says(value: Any) -> tuple[Role, ...]:
    """The roles whose words an object holds under the names of its speakers (see :func:`exchange`); none of others."""
    named = {plain_name(str(key)): each for key, each in value.items()} if isinstance(value, Mapping) else {}
    asked, answered = said_in(named)
    roles: tuple[Role, ...] = ("system", "user", "assistant")
    found = (is_opening(named), asked is not None, answered is not None)
    return tuple(role for role, there in zip(roles, found, strict=True) if there)


def is_opening(message: Mapping[str, Any]) -> bool:
    """Whether an object holds a system prompt under that name, and no other text."""
    return is_filled(message.get("system")) and is_plain(message)


def exchange(message: Any, note: Note) -> list[Turn]:
    """A message, or an object that holds what was said under the names of its speakers: a system prompt, a question
    and its answer, or one of them alone."""
    if not isinstance(message, Mapping) or "role" in message or "from" in message:
        return [turn_of(message, note)]
    named = plainly(message)
    asked, answered = said_in(named)
    if not asked and not answered and not is_opening(named):
        return [turn_of(message, note)]
    if any(is_filled(named.get(key)) for key in CALL_KEYS):
        raise Unusable("a tool call")
    given = [key for key in CONTEXTS if key in named and key != asked] if asked else []
    for key, value in named.items():
        known = key in (asked, answered, "system", *given, *TRAINED, *CALL_KEYS) or (answered and rates(key, value))
        if not known and is_filled(value):
            note(text_key(key))
    system = content_text(named.get("system", ""), note)
    turns = [Turn("system", system)] if system.strip() else []
    if asked:
        texts = [trimmed(text_under(named, key, note)) for key in given]
        question = text_under(named, asked, note)
        texts = [text for text in (trimmed(question), *texts) if text] if any(texts) else [question]
        turns.append(Turn("user", "\n".join(texts)))
    if answered:
        turns.append(Turn("assistant", text_under(named, answered, note), is_trained(named)))
    return turns


def text_under(message: Mapping[str, Any], key: str, note: Note) -> str:
    """The text under a speaker's name, or that of its parts. Raises Unusable for a list of texts, which may be several
    answers."""
    value = message[key]
    if isinstance(value, list | tuple) and any(isinstance(part, str) for part in value):
        raise Unusable(f"the {key} of a message holds a list, not text")
    return content_text(value, note)
