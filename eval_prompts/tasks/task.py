"""A task: what is asked, how it is put to the model, and what a good answer is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from eval_prompts.answers import Settings
from eval_prompts.rows import Prompt
from eval_prompts.tasks.scorers.base import Given, Scorer
from tuning.data.chat import PYTHON_FORMAT, Message, PromptFormat, check_question
from tuning.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from eval_prompts.lens.likelihood import Known
    from eval_prompts.lens.token_tree import Continuation

LETTERED = "options"
"""The column whose list is put into a template as lines A) …, B) …"""


@dataclass(frozen=True)
class Question:
    """One question of a task. ``text`` is what people see; ``columns`` are all its columns, of which ``references``
    are the good answers. ``messages`` is a whole conversation that takes the place of the template. ``probe`` names
    one of the five probes, whose check is built in. A conversation that is asked turn by turn is several questions:
    ``after`` is the id of the one whose answer this one goes on from, ``thread`` that of the first, ``turn`` which."""

    id: str
    text: str
    title: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)
    references: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()
    tags: tuple[str, ...] = ()
    checks: tuple[Scorer, ...] = ()
    probe: str | None = None
    after: str = ""
    thread: str = ""
    turn: int = 1

    def given(self, text: str, stopped: bool | None = None, read: Known | None = None, unread: str = "") -> Given:
        """An answer to it, for scorers; ``read`` and ``unread`` as :class:`Given` has them."""
        return Given(text, self.references, self.columns, stopped, read, unread)

    def to_dict(self) -> dict[str, Any]:
        """As it stands in a task file, by itself: see :meth:`Task.to_dict` for one of several turns."""
        own: dict[str, Any] = {"id": self.id, "title": self.title, "question": self.text}
        own |= {name: value for name, value in self.columns.items() if name not in ("id", "title", "question")}
        if self.references and not {"answer", "reference", "references"} & own.keys():
            own["answer"] = self.references[0] if len(self.references) == 1 else list(self.references)
        own |= {"messages": [dict(turn) for turn in self.messages], "tags": list(self.tags)}
        own["checks"] = [scorer.spec for scorer in self.checks]
        return {name: value for name, value in own.items() if value not in ("", [], {}, None)}


@dataclass(frozen=True)
class Task:
    """What is asked and what a good answer is. ``file`` is where it was read from; ``notes`` say what a reader of it
    should know, such as what was left out; ``show`` is whether visitors see it."""

    name: str
    title: str = ""
    description: str = ""
    format: PromptFormat = PYTHON_FORMAT
    questions: Sequence[Question] = ()
    scorers: tuple[Scorer, ...] = ()
    settings: Settings = field(default_factory=Settings)
    show: bool = True
    notes: tuple[str, ...] = ()
    file: Path | None = None
    battery: tuple[str, ...] = ()
    """Tasks, by name or file, that are scored beside it to see what got worse elsewhere."""
    adapter: str = ""
    """The adapter that was made for it, named as ``--adapter`` names one."""

    @property
    def words(self) -> str:
        """What it is called on the page."""
        return self.title or self.name

    @property
    def judges_python(self) -> bool:
        """Whether the judge of Python looks at its answers."""
        return any(scorer.name == "python" for scorer in self.scorers)

    def prompt(self, question: Question) -> Prompt:
        """A question as it is put to the model; one that goes on from another's answer behind that one's reference, as
        nobody has answered it. Raises UserError if it cannot be asked."""
        text = check_question(question.text)
        if question.after:
            said = question.messages or (Message(role="user", content=text),)
            return Prompt(text, (*self.behind(question), *said), len(text))
        if question.messages:
            led = question.messages[0]["role"] == "system" or not self.format.system
            first = () if led else (Message(role="system", content=self.format.system or ""),)
            return Prompt(text, (*first, *question.messages), len(text))
        columns = {name: as_text(value, name) for name, value in question.columns.items()}
        return Prompt(text, tuple(self.format.messages({"question": text, "input": "", **columns})), len(text))

    def behind(self, question: Question) -> tuple[Message, ...]:
        """The turns before a later turn of a conversation, with their references as answers. Raises UserError where one
        has none."""
        before = self._by_id[question.after]
        if not before.references:
            raise UserError(
                f"The question {question.id} goes on from the answer to {before.id}, which has no reference: it can "
                "only be asked turn by turn."
            )
        return (*self.prompt(before).messages, Message(role="assistant", content=before.references[0]))

    def prompts(self, questions: Sequence[Question]) -> list[Prompt]:
        """Questions as they are asked together: a later turn of a conversation goes on from the answer that each side
        gives to the one before it, where a conversation stands there several times, to the nearest. Raises UserError if
        one cannot be asked."""
        places: dict[str, int] = {}
        found = []
        for place, question in enumerate(questions):
            if question.after in places:
                text = check_question(question.text)
                said = question.messages or (Message(role="user", content=text),)
                found.append(Prompt(text, said, len(text), after=places[question.after]))
            else:
                found.append(self.put(question))
            if question.id:
                places[question.id] = place
        return found

    def put(self, question: Question) -> Prompt:
        """A question as it is put to the model, be it one of the task's or a visitor's own, which has no id. Raises
        UserError if it cannot be asked."""
        return self.prompt(question) if question.id else self.own_prompt(question.text)

    def own_question(self, text: str) -> Question:
        """What a visitor has typed, as a question of this task: one of its own where it is the same text."""
        return self._by_text.get(text.strip()) or Question("", text.strip(), columns={"question": text.strip()})

    def own_prompt(self, text: str) -> Prompt:
        """A visitor's own question in this task's format. Columns that the template names beside the question are
        empty. Raises UserError if it cannot be asked."""
        known = self._by_text.get(text.strip()) if isinstance(text, str) else None
        if known is not None:
            return self.prompt(known)
        text = check_question(text)
        columns = dict.fromkeys(self.format.fields, "") | {"question": text}
        if "question" not in self.format.fields and self.format.user is not None:
            return Prompt(text, tuple(replace(self.format, user=None).messages(columns)), len(text))
        return Prompt(text, tuple(self.format.messages(columns)), len(text))

    def wanted(self, question: Question) -> tuple[Continuation, ...]:
        """The texts whose likelihoods the scorers of a question go by; none where they go by what is written, and none
        of a later turn, which follows an answer that is still to come."""
        if question.after:
            return ()
        given = question.given("")
        every = (text for scorer in (*self.scorers, *question.checks) for text in scorer.wanted(given))
        return tuple(dict.fromkeys(every))

    def writes(self, question: Question) -> bool:
        """Whether an answer has to be written: not where all scorers go by likelihoods, unless it is a turn of a
        conversation."""
        if question.thread:
            return True
        scorers = (*self.scorers, *question.checks)
        return not scorers or any(scorer.reads is None for scorer in scorers)

    def question_of(self, text: str) -> Question | None:
        """The task's question with this text, if it has one."""
        return self._by_text.get(text)

    def find(self, id: str) -> Question | None:
        """The question with this id."""
        return self._by_id.get(id)

    def rows(self) -> list[dict[str, Any]]:
        """The questions as they stand in a task file, each with its later turns."""
        return [self._row(question) for question in self.questions if not question.after]

    def _row(self, question: Question) -> dict[str, Any]:
        later = self._later.get(question.id, [])
        row = question.to_dict()
        if not later:
            return row
        turns = [
            {
                "question": "" if one.messages else one.text,
                "messages": [dict(turn) for turn in one.messages],
                "checks": [scorer.spec for scorer in one.checks],
            }
            for one in later
        ]
        answers = [list(one.references) for one in (question, *later)]
        row |= {"answer": answers} if any(answers) else {}
        tested = {name: value for name, value in later[-1].columns.items() if name not in row and name != "answer"}
        return tested | row | {"turns": [{name: value for name, value in turn.items() if value} for turn in turns]}

    @cached_property
    def _later(self) -> dict[str, list[Question]]:
        found: dict[str, list[Question]] = {}
        for question in self.questions:
            if question.after:
                found.setdefault(question.thread, []).append(question)
        return found

    @cached_property
    def _by_text(self) -> dict[str, Question]:
        return {question.text: question for question in reversed(self.questions) if not question.after}

    @cached_property
    def _by_id(self) -> dict[str, Question]:
        return {question.id: question for question in self.questions}

    def to_dict(self) -> dict[str, Any]:
        """As it stands in a task file, its questions inline."""
        format = self.format
        settings = {
            name: value for name, value in self.settings.to_dict().items() if value != getattr(Settings(), name)
        }
        stop = settings.pop("stop", None)
        whole = {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "system": format.system,
            "user": format.user,
            "shots": [dict(shot) for shot in format.shots],
            "score": [scorer.spec for scorer in self.scorers],
            "settings": settings,
            "stop": stop,
            "battery": list(self.battery),
            "adapter": self.adapter,
            "show": None if self.show else False,
            "questions": self.rows(),
        }
        return {name: value for name, value in whole.items() if value not in ("", [], {}, None)}


def as_text(value: Any, name: str = "") -> str:
    """A column for a template: a list of options with letters, another list as lines, an object as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        if name == LETTERED:
            return "\n".join(f"{chr(ord('A') + at)}) {as_text(item)}" for at, item in enumerate(value))
        return "\n".join(as_text(item) for item in value)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return str(value).lower()  # as JSON and YAML write it
    return "" if value is None else str(value)
