"""The turns before a question: read from what somebody gives, and put before what is asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval_prompts.rows import Prompt
from eval_prompts.tasks.turns import read_messages
from tuning.data.chat import Message, check_question
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.tasks.task import Task


def behind(history: Sequence[Message], prompt: Prompt) -> Prompt:
    """A question as it is put after the turns of ``history``, whose system prompt takes the place of the task's."""
    if not history or prompt.after is not None:
        return prompt
    *first, asked = prompt.messages
    prompt = replace(prompt, size=prompt.size + sum(len(turn["content"]) for turn in history))
    if history[0]["role"] == "system":
        first = [message for message in first if message["role"] != "system"]
        return replace(prompt, messages=(history[0], *first, *history[1:], asked))
    return replace(prompt, messages=(*first, *history, asked))


def conversation_of(
    task: Task, question: str, further: Sequence[str] = (), history: Sequence[Message] = ()
) -> list[Prompt]:
    """A question behind the turns of ``history``, and what is asked ``further``, each side going on from its own
    answers. Raises UserError if one cannot be asked."""
    if history:
        text = check_question(question)
        task = replace(task, format=replace(task.format, user=None))
        first = behind(history, Prompt(text, tuple(task.format.messages({"question": text})), len(text)))
    else:
        first = task.own_prompt(question)
    prompts = [first]
    for text in map(check_question, further):
        said = (Message(role="user", content=text),)
        prompts.append(Prompt(text, said, len(text), after=len(prompts) - 1))
    return prompts


def history_of(value: Any, where: str = "messages") -> tuple[Message, ...]:
    """The turns before a question, which end with an answer; '' and none are no turns. Raises UserError for what is no
    conversation."""
    given = read_messages(value, where)
    turns = [message["role"] for message in given if message["role"] != "system"]
    if "system" in [message["role"] for message in given[1:]]:
        raise UserError(f"{where}: a system prompt stands first, or nowhere.")
    if turns and (turns[0] != "user" or turns[-1] != "assistant"):
        raise UserError(f"{where}: the turns before a question begin with the user's and end with the answer to it.")
    if given and not turns:
        raise UserError(f"{where}: there is a system prompt alone: put it into a task.")
    return tuple(given)


def read_history(path: Path | None) -> tuple[Message, ...]:
    """The turns before a question, from a file: a JSON list of messages, an object with ``messages``, or one message a
    line. Raises UserError, naming the file, for what is none."""
    if path is None:
        return ()
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The conversation {path.name} cannot be read: {error}.") from None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = [json.loads(line) for line in text.splitlines() if line.strip()]
        except (ValueError, RecursionError):
            raise UserError(f"{path.name}: a conversation is a list of turns in JSON, or one a line.") from None
    if isinstance(value, dict):
        value = value.get("messages", [value])
    found = history_of(value, path.name)
    if not found:
        raise UserError(f"{path.name} holds no turns.")
    return found
