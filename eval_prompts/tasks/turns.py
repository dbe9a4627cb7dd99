"""Conversations among a task's questions: what is given, and which turns are asked one after the other.

A user's turn is asked where nobody answers it in the file; with ``turns: own`` in the task every one is, and the
answers that the file gives are references. Each side goes on from its own answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from eval_prompts.tasks.task import Question, as_text
from tuning.data.chat import Message, check_question, is_message
from tuning.errors import UserError

Turns = Literal["given", "own"]
ROLES = ("system", "user", "assistant")
TESTED = ("tests", "setup")
"""Columns that are for the last turn's answer alone."""


NONE = " (if this column means something else, choose none for {part})"


@dataclass
class Turn:
    """What is said up to a turn that is asked, that turn included, and the answers that are good."""

    messages: list[Message] = field(default_factory=list)
    references: list[str] = field(default_factory=list)
    checks: Any = None

    @property
    def text(self) -> str:
        """The user's words."""
        return self.messages[-1]["content"].strip()


def read_messages(value: Any, where: str) -> list[Message]:
    """A cell's conversation, which may be JSON. Raises UserError for what is none."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise UserError(
                f"{where}: a conversation is a list of turns in JSON{NONE.format(part='messages')}."
            ) from None
    if not value:
        return []
    if not isinstance(value, list) or not all(is_message(turn) and turn["role"] in ROLES for turn in value):
        raise UserError(f"{where}: each turn has a role ({', '.join(ROLES)}) and a content.")
    return [Message(role=turn["role"], content=turn["content"]) for turn in value]


def divided(messages: Sequence[Message], mode: Turns, where: str) -> list[Turn]:
    """A conversation as the turns that are asked. Raises UserError where it ends otherwise than with the user's turn or
    the answer to it."""
    found: list[Turn] = []
    pending: list[Message] = []
    for place, message in enumerate(messages):
        after = messages[place + 1]["role"] if place + 1 < len(messages) else ""
        is_last = place == len(messages) - 1
        if message["role"] == "assistant" and found and not pending:
            found[-1].references.append(message["content"])
            continue
        pending.append(message)
        if message["role"] == "user" and (mode == "own" or after != "assistant" or place == len(messages) - 2):
            found.append(Turn(pending))
            pending = []
        elif is_last:
            raise UserError(f"{where}: a conversation ends with the user's turn, or with the answer to it.")
    return found


def read_turns(value: Any, where: str) -> list[Turn]:
    """A cell's turns: a list, in a table as JSON, of texts or of {question: …, answer: …}. Raises UserError for what is
    none."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, list):
            raise UserError(f"{where}: turns are a list of texts in JSON{NONE.format(part='turns')}.")
    found = []
    for item in value if isinstance(value, list) else [value] if value else []:
        known = item if isinstance(item, Mapping) else {"question": item}
        if unknown := known.keys() - {"question", "messages", "answer", "checks"}:
            raise UserError(
                f"{where}: a turn has question, answer and checks, and no {sorted(map(str, unknown))[0]!r}."
            )
        messages = read_messages(known.get("messages"), where)
        if not messages:
            messages = [Message(role="user", content=as_text(known.get("question")).strip())]
        if messages[-1]["role"] != "user":
            raise UserError(f"{where}: a turn is the user's.")
        answer = known.get("answer")
        answers = answer if isinstance(answer, list) else [answer]
        references = [text for one in answers if (text := as_text(one)).strip()]
        found.append(Turn(messages, references, known.get("checks")))
    for turn in found:
        try:
            check_question(turn.text)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
    return found


def references_by_turn(value: Any, count: int) -> list[Any] | None:
    """The answer to each turn where a cell has as many as there are turns, more than one; else None."""
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, list) and count > 1 and len(value) == count else None


def with_turns(first: Question, later: Sequence[Turn]) -> list[Question]:
    """A question and those that go on from it, each with an id of its own; the first one's references, checks and tests
    are those of the last turn unless that one brings its own."""
    if not later:
        return [first]
    plain = {name: value for name, value in first.columns.items() if name not in TESTED}
    found = [replace(first, columns=plain, thread=first.id)]
    for number, turn in enumerate(later, 2):
        tested = first.columns if number == len(later) + 1 else plain
        found.append(
            Question(
                id=f"{first.id}/{number}",
                text=turn.text,
                title=first.title and f"{first.title}, turn {number}",
                columns={**tested, "question": turn.text},
                references=tuple(turn.references),
                messages=tuple(turn.messages) if len(turn.messages) > 1 else (),
                tags=first.tags,
                after=found[-1].id,
                thread=first.id,
                turn=number,
            )
        )
    return found
