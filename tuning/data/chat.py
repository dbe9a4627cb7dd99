"""The one way from a question to tokens, for training, asking and previews alike.

What is trained is what is asked: both go through :func:`encode_prompt`. User text is only ever text:
``<|im_start|>`` typed into a question becomes the characters, never the control token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from tuning.data.reading.values import is_broken, trimmed
from tuning.data.template import chat_template
from tuning.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SYSTEM_PROMPT = (
    "You are a Python coding expert and a helpful coding tutor. "
    "Your task is to answer Python coding questions accurately and clearly."
)
USER_PREFIX = "Solve this problem using Python coding language."
MAX_QUESTION_CHARACTERS = 20_000
FIELD = re.compile(r"\{\{|\}\}|\{([^\W\d]\w*)\}")
"""A field of a template: ``{column}``; ``{{`` and ``}}`` are the braces themselves, and so is any other brace."""


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True)
class PromptFormat:
    """How a question becomes a conversation: a system prompt or none, the user's turn, turns that go before.

    ``user`` is a template over the question's columns (``{column}``); None stands for the question and, on the next
    line, its input. ``shots`` are example turns between the system prompt and the question.
    """

    system: str | None = None
    user: str | None = None
    shots: tuple[Message, ...] = ()

    def messages(self, columns: Mapping[str, str]) -> list[Message]:
        """The conversation that an answer to these columns follows. Raises UserError for a column that is missing."""
        first: list[Message] = [Message(role="system", content=self.system)] if self.system else []
        return [*first, *self.shots, Message(role="user", content=self.user_turn(columns))]

    def user_turn(self, columns: Mapping[str, str]) -> str:
        """The user's turn alone, without blank lines before and white space after it.

        Raises UserError for a column that is missing.
        """
        if self.user is None:
            parts = (trimmed(columns.get(name, "")) for name in ("question", "input"))
            return "\n".join(part for part in parts if part)

        def value(field: re.Match[str]) -> str:
            name = field.group(1)
            if name is None:
                return field.group()[0]
            if name not in columns:
                known = ", ".join(columns) or "there are none"
                raise UserError(f"The template names the column {name!r}, which is not there: {known}.")
            return trimmed(columns[name])

        return trimmed(FIELD.sub(value, self.user))

    @property
    def fields(self) -> tuple[str, ...]:
        """The columns that the template names, in order."""
        return tuple(dict.fromkeys(name for name in FIELD.findall(self.user or "") if name))

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {"system": self.system, "user": self.user, "shots": [dict(shot) for shot in self.shots]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> PromptFormat:
        """What :meth:`to_dict` gave. Raises UserError for anything else."""
        system, user, shots = content.get("system"), content.get("user"), content.get("shots") or []
        if not all(text is None or isinstance(text, str) for text in (system, user)):
            raise UserError("A prompt format's system prompt and user template are texts, or left out.")
        if not isinstance(shots, list) or not all(is_message(shot) for shot in shots):
            raise UserError("A prompt format's shots are a list of turns, each with a role and a content.")
        return cls(system, user, tuple(Message(role=shot["role"], content=shot["content"]) for shot in shots))


def is_message(value: object) -> bool:
    """Whether a value is one turn: a role and a content, both texts."""
    return isinstance(value, dict) and all(isinstance(value.get(key), str) for key in ("role", "content"))


PYTHON_FORMAT = PromptFormat(SYSTEM_PROMPT, f"{USER_PREFIX}\n{{question}}\n{{input}}")
"""The original experiment's."""
PLAIN_FORMAT = PromptFormat()
"""No system prompt, and the question as it is."""


@dataclass(frozen=True)
class Example:
    """One training example as token ids.

    ``prompt_ids`` is everything before the first trained token; ``answer_ids`` is the rest: the answer and what closes
    it, which carries a label. In a conversation of several turns the others' words stand in between: ``labelled`` then
    says which of ``answer_ids`` carry one, the last always. ``truncated`` says that the answer was cut to fit.
    """

    prompt_ids: list[int]
    answer_ids: list[int]
    truncated: bool = False
    labelled: tuple[bool, ...] = ()

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.answer_ids)

    @property
    def label_places(self) -> Sequence[int]:
        """The places within ``answer_ids`` that carry a label, ascending."""
        if not self.labelled:
            return range(len(self.answer_ids))
        return [place for place, trained in enumerate(self.labelled) if trained]

    @property
    def label_count(self) -> int:
        """How many tokens carry a label."""
        return sum(self.labelled) if self.labelled else len(self.answer_ids)

    def followed_by(self, others: list[int], answer: list[int]) -> Example:
        """The example with what others say next and the answer to that."""
        before = self.labelled or (True,) * len(self.answer_ids)
        labelled = (*before, *[False] * len(others), *[True] * len(answer))
        return Example(self.prompt_ids, [*self.answer_ids, *others, *answer], self.truncated, labelled)


@dataclass(frozen=True)
class Pair:
    """A better and a worse answer to one prompt; ``reference`` are log p of both under the model as the run begins."""

    chosen: Example
    rejected: Example
    reference: tuple[float, float] | None = None

    def __len__(self) -> int:
        return len(self.chosen) + len(self.rejected)

    @property
    def prompt_ids(self) -> list[int]:
        """The prompt's tokens, the same for both answers."""
        return self.chosen.prompt_ids

    @property
    def label_count(self) -> int:
        """How many tokens of both carry a label."""
        return self.chosen.label_count + self.rejected.label_count

    @property
    def truncated(self) -> bool:
        """Whether an answer was cut to fit."""
        return self.chosen.truncated or self.rejected.truncated


Unit = Example | Pair
"""What a step counts: an example, or a pair of answers."""


def check_question(text: str) -> str:
    """The question without surrounding white space; raises UserError if it cannot be asked."""
    if not isinstance(text, str) or not text.strip():
        raise UserError("The question is empty: type a question first.")
    if "\x00" in text:
        raise UserError("The question holds a NUL byte: remove it and ask again.")
    if len(text) > MAX_QUESTION_CHARACTERS:
        raise UserError(
            f"The question has {len(text):,} characters; at most {MAX_QUESTION_CHARACTERS:,} fit: shorten it."
        )
    check_whole(text, "question")
    return text.strip()


def check_whole(text: str, what: str) -> None:
    """Raise UserError if a text, which is called ``what``, holds half a character: no tokenizer reads that."""
    if is_broken(text):
        raise UserError(f"The {what} holds half a character (a lone surrogate): remove it.")


def user_turn(question: str, input: str = "") -> str:
    """The Python task's user turn: the fixed lead-in, the question, and the question's input where it has one."""
    return PYTHON_FORMAT.user_turn({"question": question, "input": input})


def prompt_messages(question: str, input: str = "") -> list[Message]:
    """The Python task's conversation that an answer follows: the turns of system and user."""
    return PYTHON_FORMAT.messages({"question": question, "input": input})


def encode_prompt(tokenizer: PreTrainedTokenizerBase, question: str, input: str = "") -> list[int]:
    """Token ids of the Python task's system prompt and user turn, and the assistant header; as ``encode_messages``."""
    return encode_messages(tokenizer, prompt_messages(question, input))


def encode_messages(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """Token ids of a conversation and the assistant header. Raises UserError for a broken chat template."""
    return chat_template(tokenizer).encode(messages)
