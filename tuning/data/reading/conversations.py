"""Lists of chat messages in their many spellings -> turns, or the reason why a row cannot be trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tuning.data.reading.layouts import MEDIA, plain_name
from tuning.data.reading.values import DECODER, NotText, Spelled, is_filled, is_missing, text_of, trimmed
from tuning.data.rows import RawRow, Role, Turn, Turns

ROLES: dict[str, Role] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter", "usr", "question", "instruction"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "model", "ai", "chatgpt", "chatbot", "answer", "output"), "assistant"),
}
TOOL_ROLES = frozenset(("tool", "function", "function_call", "function_response", "observation", "tool_call"))
ROLE_KEYS = ("role", "from", "speaker")
CONTENT_KEYS = ("content", "value", "text", "message", "parts")
ASKED = ("human", "user", "input", "prompt", "question")
ANSWERED = ("assistant", "gpt", "output", "response", "answer")
CALL_KEYS = ("tool_calls", "function_call")
TRAIN_KEYS = ("weight", "train", "training")
PART_KINDS = {"text": "text", "input_text": "text", "output_text": "text"}
TWO_SYSTEMS = "a system column beside a conversation's own system message (which is used)"
ROWLESS = "no question followed by an answer"
UNANSWERED = "a closing question without an answer (the rest of the conversation is used)"
GREETING = "a greeting before the first question (kept before it, not trained)"
NOTHING_TRAINED = "no turn of the assistant is to be trained (weight 0 or train false)"
UNTRAINED = "an answer with weight 0 or train false (kept before the next, not trained)"
AFTERWARDS = "turns after the last trained one (the rest of the conversation is used)"


class Unusable(ValueError):
    """A row that cannot be trained on; its message is the reason under which it is counted."""


Note = Callable[[str], None]


def message_list(value: Any) -> list[Any] | None:
    """A cell as a list of messages, also where it is JSON in a text, or an object of lists (roles, contents), as some
    Arrow files have it; None if it is neither."""
    if isinstance(value, str) and value.lstrip().startswith("[") and not isinstance(value, Spelled):
        try:
            value = DECODER.decode(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, Mapping) and any(key in value for key in ROLE_KEYS):
        lists = [cells for cells in value.values() if isinstance(cells, list)]
        if len(lists) == len(value) and len(set(map(len, lists))) == 1:
            return [dict(zip(value, cells, strict=True)) for cells in zip(*lists, strict=True)]
    return list(value) if isinstance(value, list | tuple) else None


def is_messages(value: Any) -> bool:
    """Whether a cell is a list of chat messages rather than text; in JSON that is a text, only with roles that are
    known."""
    found = message_list(value) or []
    if not found or not all(isinstance(item, Mapping) and any(key in item for key in ROLE_KEYS) for item in found):
        return False
    return not isinstance(value, str) or all(speaker(item) in (*ROLES, *TOOL_ROLES) for item in found)


def only_answers(value: Any) -> bool:
    """Whether every message of a list is the assistant's."""
    return all(ROLES.get(speaker(message)) == "assistant" for message in message_list(value) or [])


def speaker(message: Mapping[str, Any]) -> str:
    """The name of who speaks, in small letters; '' for none."""
    found = next((message[key] for key in ROLE_KEYS if is_filled(message.get(key))), "")
    return found.strip().lower() if isinstance(found, str) else ""


def turn_of(message: Any, note: Note) -> Turn:
    """One chat message. Raises Unusable if it is none, calls a tool, or holds anything but text."""
    if not isinstance(message, Mapping):
        raise Unusable("a message is no object with role and content")
    role_key = next((key for key in ROLE_KEYS if is_filled(message.get(key))), None)
    if role_key is None:
        raise Unusable("a message has no role")
    role = role_of(message[role_key])
    if any(is_filled(message.get(key)) for key in CALL_KEYS):
        raise Unusable("a tool call")
    content_key = next((key for key in CONTENT_KEYS if key in message and key != role_key), None)
    if content_key is None:
        raise Unusable("a message has no content")
    for key, value in message.items():
        if key not in (role_key, content_key, *TRAIN_KEYS, *CALL_KEYS) and is_filled(value):
            note(text_key(key))
    text = content_text(message[content_key], lambda key: note(f"{content_key}.{key}"))
    return Turn(role, text, role == "assistant" and is_trained(message))


def text_key(key: Any) -> str:
    """The name of a key beside a message's text. Raises Unusable for one that holds more than text."""
    if plain_name(str(key)) in MEDIA:
        raise Unusable(f"an image, sound or film (the key {str(key)!r} of a message)")
    return str(key)


def role_of(value: Any) -> Role:
    """The role that a name stands for. Raises Unusable for a tool's and for unknown ones."""
    name = value.strip().lower() if isinstance(value, str) else repr(value)
    if name in TOOL_ROLES:
        raise Unusable("a tool call")
    if name not in ROLES:
        raise Unusable(f"the role {name[:40]!r} is not known")
    return ROLES[name]


def is_trained(message: Mapping[str, Any]) -> bool:
    """Whether an assistant's turn is to be learned: not with weight 0 or train false. Raises Unusable for others."""
    for key in TRAIN_KEYS:
        value = message.get(key)
        if is_missing(value):
            continue
        found = truth(value)
        if found is None:
            raise Unusable(f"{key} is {str(value)[:20]!r}, neither 0 nor 1")
        if not found:
            return False
    return True


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
        kind = part.get("type", "text") if isinstance(part, Mapping) else None
        if not isinstance(kind, str) or kind not in PART_KINDS or not is_text(part.get("text")):
            raise Unusable(f"a content part of the type {str(kind)[:30]!r}, which is no text")
        if is_filled(part.get("thought")) and truth(part["thought"]) is not False:
            raise Unusable("a content part that is a thought, which is no answer")
        if not is_trained(part):
            raise Unusable("a content part with weight 0 or train false")
        for key, found in part.items():
            if key not in ("type", "text", "thought", *TRAIN_KEYS) and is_filled(found):
                note(text_key(key))
        texts.append(part["text"])
    return "".join(texts)


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


def is_exchange(message: Any) -> bool:
    """Whether a value is an object that holds a question and its answer under the names of their speakers."""
    names = {str(key).strip().lower() for key in message} if isinstance(message, Mapping) else set()
    return bool(names & set(ASKED) and names & set(ANSWERED)) and not {"role", "from"} & names


def exchange(message: Any, note: Callable[[str], None]) -> list[Turn]:
    """A message, or an object that holds a question and its answer under the names of their speakers."""
    if isinstance(message, Mapping):
        named = {str(key).strip().lower(): value for key, value in message.items()}
        asked = next((name for name in ASKED if name in named), None)
        answered = next((name for name in ANSWERED if name in named), None)
        if asked and answered and not {"role", "from"} & named.keys():
            if len(named) < len(message):
                raise Unusable("two keys of a message that differ in case alone")
            if any(is_filled(named.get(key)) for key in CALL_KEYS):
                raise Unusable("a tool call")
            system = content_text(named.pop("system", ""), note)
            for key, value in named.items():
                if key not in (asked, answered, *TRAIN_KEYS) and is_filled(value):
                    note(text_key(key))
            opening = [Turn("system", system)] if system.strip() else []
            return [
                *opening,
                Turn("user", content_text(named[asked], note)),
                Turn("assistant", content_text(named[answered], note), is_trained(named)),
            ]
    return [turn_of(message, note)]


def after_history(earlier: Turns, turns: list[Turn]) -> list[Turn]:
    """A conversation with what went before it, behind its system prompt; as it is where it begins with that already."""
    begun = next((at for at, turn in enumerate(turns) if turn.role != "system"), len(turns))
    told = [(turn.role, trimmed(turn.text)) for turn in earlier]
    whole = [(turn.role, trimmed(turn.text)) for turn in turns]
    if told in (whole[: len(told)], whole[begun:][: len(told)]):
        return turns
    return [*turns[:begun], *earlier, *turns[begun:]]


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
    tidy = [replace(turn, text=trimmed(turn.text)) for turn in turns]
    tidy = [turn for turn in tidy if turn.role != "system" or turn.text]
    roles = [turn.role for turn in tidy]
    asked = roles.index("user") if "user" in roles else len(roles)
    if "assistant" not in roles[asked:]:
        raise Unusable(ROWLESS)
    for at, turn in enumerate(tidy[:asked]):
        if turn.trained and turn.text:
            tidy[at] = replace(turn, trained=False)
            note_part(GREETING)
    final = max(at for at, role in enumerate(roles) if role == "assistant")
    if last_only:
        tidy = [replace(turn, trained=turn.trained and at == final) for at, turn in enumerate(tidy)]
    trained = [at for at, turn in enumerate(tidy) if turn.trained]
    if not trained:
        raise Unusable(NOTHING_TRAINED)
    if trained[-1] < final:
        note_part(AFTERWARDS)
    elif final < len(tidy) - 1:
        note_part(UNANSWERED)
    kept = tidy[: trained[-1] + 1]
    for turn in kept:
        if not turn.text:
            raise Unusable("empty answer" if turn.role == "assistant" else "empty question")
    said = "\n".join(turn.text for turn in kept if turn.role == "user")
    plain = [turn.role for turn in kept] == ["user", "assistant"]
    return RawRow(said, "", kept[-1].text, check, () if plain else tuple(kept), line)
