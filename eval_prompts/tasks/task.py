"""A task: what is asked, how it is put to the model, and what a good answer is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from eval_prompts.answers import Prompt, Settings
from eval_prompts.tasks.scorers.base import Given, Scorer
from tuning.data.chat import PYTHON_FORMAT, Message, PromptFormat, check_question

if TYPE_CHECKING:
    from pathlib import Path

LETTERED = "options"
"""The column whose list is put into a template as lines A) …, B) …"""


@dataclass(frozen=True)
class Question:
    """One question of a task. ``text`` is what people see; ``columns`` are all its columns, of which ``references``
    are the good answers. ``messages`` is a whole conversation that takes the place of the template. ``probe`` names
    one of the five probes, whose check is built in."""

    id: str
    text: str
    title: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)
    references: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()
    tags: tuple[str, ...] = ()
    checks: tuple[Scorer, ...] = ()
    probe: str | None = None

    def given(self, text: str, stopped: bool | None) -> Given:
        """An answer to it, for scorers."""
        return Given(text, self.references, self.columns, stopped)

    def to_dict(self) -> dict[str, Any]:
        """As it stands in a task file."""
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
        """A question as it is put to the model. Raises UserError if it cannot be asked."""
        text = check_question(question.text)
        if question.messages:
            led = question.messages[0]["role"] == "system" or not self.format.system
            first = () if led else (Message(role="system", content=self.format.system or ""),)
            return Prompt(text, (*first, *question.messages), len(text))
        columns = {name: as_text(value, name) for name, value in question.columns.items()}
        return Prompt(text, tuple(self.format.messages({"question": text, "input": "", **columns})), len(text))

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

    def question_of(self, text: str) -> Question | None:
        """The task's question with this text, if it has one."""
        return self._by_text.get(text)

    def find(self, id: str) -> Question | None:
        """The question with this id."""
        return self._by_id.get(id)

    @cached_property
    def _by_text(self) -> dict[str, Question]:
        return {question.text: question for question in reversed(self.questions)}

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
            "questions": [question.to_dict() for question in self.questions],
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
    return "" if value is None else str(value)
