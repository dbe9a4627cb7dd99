"""One chat message in its many spellings -> a turn, or the reason why a row cannot be trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tuning.data.reading.layouts import (
    ANSWERS,
    CONTEXTS,
    LABELS,
    MEDIA,
    QUESTIONS,
    RATINGS,
    TRAINED,
    joined_up,
    plain_name,
)
from tuning.data.reading.values import DECODER, NotText, Spelled, is_filled, is_missing, text_of
from tuning.data.rows import Role, Turn

ROLES: dict[str, Role] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter", "usr", "question", "instruction"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "ai", "chatgpt", "chatbot", "answer", "output"), "assistant"),
}
TOOL_ROLES = frozenset(("tool", "function", "function_call", "function_response", "observation", "tool_call"))
ROLE_KEYS = ("role", "from", "speaker")
CONTENT_KEYS = ("content", "value", "text", "message", "parts")
ASKED = (*QUESTIONS, "input")
BOTS = ("bot", "ai", "chatbot", "chatgpt")
"""More names for who answers."""
CALL_KEYS = joined_up("tool_calls", "function_call")
PART_KINDS = {"text": "text", "input_text": "text", "output_text": "text"}
PART_KEYS = ("type", "text", "thought", *TRAINED)
KNOWN = frozenset(
    (*ROLE_KEYS, *CONTENT_KEYS, *ASKED, *ANSWERS, *BOTS, *CONTEXTS, "system", *CALL_KEYS, *PART_KEYS, *LABELS),
)
"""The keys that mean something, whatever their case."""


class Unusable(ValueError):
    """A row that cannot be trained on; its message is the reason under which it is counted."""


Note = Callable[[str], None]


def plainly(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """A message, its keys that mean something under their plain names; others keep their spelling.

    Raises Unusable for two keys that differ in their case alone.
    """
    if KNOWN.issuperset(message):
        return message
    named: dict[str, Any] = {}
    for key, value in message.items():
        plain = plain_name(str(key))
        name = plain if plain in KNOWN else key
        if name in named:
            raise Unusable("two keys of a message that differ in case alone")
        named[name] = value
    return named


def message_list(value: Any) -> list[Any] | None:
    """A cell as a list of messages, also where it is JSON in a text, or an object of lists (roles, contents), as some
    Arrow files have it; None if it is neither."""
    if isinstance(value, str) and value.lstrip().startswith("[") and not isinstance(value, Spelled):
        try:
            value = DECODER.decode(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, Mapping) and has_role(value):
        lists = [cells for cells in value.values() if isinstance(cells, list)]
        if len(lists) == len(value) and len(set(map(len, lists))) == 1:
            return [dict(zip(value, cells, strict=True)) for cells in zip(*lists, strict=True)]
    return list(value) if isinstance(value, list | tuple) else None


def may_be_messages(value: Any) -> bool:
    """Whether a cell has the form of a list of messages, whatever stands in it."""
    if isinstance(value, str):
        return value.lstrip().startswith("[")
    return isinstance(value, list | tuple) or (isinstance(value, Mapping) and has_role(value))


def has_role(message: Mapping[str, Any]) -> bool:
    """Whether an object has a key for who speaks."""
    return any(plain_name(str(key)) in ROLE_KEYS for key in message)


def is_messages(value: Any) -> bool:
    """Whether a cell is a list of chat messages rather than text; in JSON that is a text, only with roles that are
    known."""
    found = message_list(value) or []
    if not found or not all(isinstance(item, Mapping) and has_role(item) for item in found):
        return False
    return not isinstance(value, str) or all(speaker(item) in (*ROLES, *TOOL_ROLES) for item in found)


def only_answers(value: Any) -> bool:
    """Whether every message of a list is the assistant's."""
    return all(ROLES.get(speaker(message)) == "assistant" for message in message_list(value) or [])


def speaker(message: Mapping[str, Any]) -> str:
    """The name of who speaks, in small letters; '' for none."""
    named = {plain_name(str(key)): value for key, value in message.items()}
    found = next((named[key] for key in ROLE_KEYS if is_filled(named.get(key))), "")
    return found.strip().lower() if isinstance(found, str) else ""


def filled_key(message: Mapping[str, Any], keys: Sequence[str]) -> str | None:
    """The first of some keys that is filled, else the first that is there at all."""
    first = None
    for key in keys:
        if key in message:
            if is_filled(message[key]):
                return key
            first = first or key
    return first


def turn_of(message: Any, note: Note) -> Turn:
    """One chat message. Raises Unusable if it is none, calls a tool, or holds anything but text."""
    if not isinstance(message, Mapping):
        raise Unusable("a message is no object with role and content")
    message = plainly(message)
    role_key = filled_key(message, ROLE_KEYS)
    if role_key is None:
        raise Unusable("a message has no role")
    role = role_of(message[role_key])
    if any(is_filled(message.get(key)) for key in CALL_KEYS):
        raise Unusable("a tool call")
    content_key = filled_key(message, CONTENT_KEYS)
    if content_key is None:
        raise Unusable("a message has no content")
    for key, value in message.items():
        known = key in (role_key, content_key, *TRAINED, *CALL_KEYS) or (role == "assistant" and rates(key, value))
        if not known and is_filled(value):
            note(text_key(key))
    text = content_text(message[content_key], lambda key: note(f"{content_key}.{key}"))
    return Turn(role, text, role == "assistant" and is_trained(message))


def text_key(key: Any) -> str:
    """The name of a key beside a message's text. Raises Unusable for one that holds more than text."""
    if plain_name(str(key)) in MEDIA:
        raise Unusable(f"an image, sound or film (the key {str(key)!r} of a message)")
    return str(key)


def role_of(value: Any) -> Role:
    """The role that a name stands for. Raises Unusable for a tool's, for unknown ones, and for none."""
    name = "" if is_missing(value) else value.strip().lower() if isinstance(value, str) else repr(value)
    if not name:
        raise Unusable("a message has no role")
    if name in TOOL_ROLES:
        raise Unusable("a tool call")
    if name not in ROLES:
        raise Unusable(f"the role {name[:40]!r} is not known")
    return ROLES[name]


def is_trained(message: Mapping[str, Any]) -> bool:
    """Whether an assistant's turn is to be learned: not with weight 0, train false or a rating that is false. Raises
    Unusable for other weights."""
    for key in TRAINED:
        value = message.get(key)
        if not is_filled(value):
            continue
        found = truth(value)
        if found is None:
            raise Unusable(f"{key} is {str(value)[:20]!r}, neither 0 nor 1")
        if not found:
            return False
    return all(truth(message[key]) for key in LABELS if key in message and rates(key, message[key]))


def rates(key: str, value: Any) -> bool:
    """Whether a key of a message says whether its answer is good; a number as a label may be a class."""
    is_word = isinstance(value, bool) or str(value).strip().isalpha()
    return key in LABELS and truth(value) is not None and (key in RATINGS or is_word)


def truth(value: Any) -> bool | None:
    """A cell as true or false; None if it is neither."""
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    try:
        number = float(word)
    except ValueError:
        return {"true": True, "yes": True, "false": False, "no": False}.get(word)
    return {1.0: True, 0.0: False}.get(number)


def is_text(value: Any) -> bool:
    """Whether a part's value is text, be it empty, and no missing one in JSON's spelling."""
    return isinstance(value, str) and not is_missing(value)


def content_text(value: Any, note: Note) -> str:
    """A message's content: text, or the text of its parts, whose other keys are told to ``note``.

    Raises Unusable for any other, and for a part that is a draft, or not to be trained as the rest is.
    """
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple):
        try:
            return text_of(value)
        except NotText as error:
            raise Unusable(f"a message's content is {error}, not text") from error
    texts = []
    for part in value:
        if is_text(part):
            texts.append(part)
            continue
        part = plainly(part) if isinstance(part, Mapping) else {"type": None}
        kind = part.get("type", "text")
        if not isinstance(kind, str) or kind not in PART_KINDS or not is_text(part.get("text")):
            raise Unusable(f"a content part of the type {str(kind)[:30]!r}, which is no text")
        if is_filled(part.get("thought")) and truth(part["thought"]) is not False:
            raise Unusable("a content part that is a thought, which is no answer")
        if not is_trained(part):
            raise Unusable("a content part with weight 0 or train false")
        for key, found in part.items():
            if key not in PART_KEYS and is_filled(found):
                note(text_key(key))
        texts.append(part["text"])
    return "".join(texts)


def is_message(value: Mapping[str, Any]) -> bool:
    """Whether an object is a chat message: by its keys' usual names, or by a role that is known beside a text."""
    keys = {plain_name(str(key)) for key in value}
    if any(pair <= keys for pair in ({"role", "content"}, {"from", "value"}, {"role", "parts"})):
        return True
    return speaker(value) in ROLES and any(key in keys for key in CONTENT_KEYS)
