"""A folder that Ollama makes a model of: a GGUF and a Modelfile with the template, the system text and the stop strings
that the adapter was trained in.

Ollama does not read a GGUF's Jinja template; it wants one in Go's syntax. What a template writes around turns is found
out by rendering marks with it, and put together again here; conversations are rendered both ways and must be equal.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.data.chat import FIELD, Message, PromptFormat
from tuning.data.template import ChatTemplate, chat_template
from tuning.errors import UserError
from tuning.exports.certify.llama_engine import LlamaCpp
from tuning.exports.llama_cpp.vocabulary import ends_of
from tuning.exports.subject import Subject

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MARKS = ("sysmarkqz", "askmarkqz", "saymarkqz", "endmarkqz")
NOT_WRITTEN = "Ollama's template cannot say what this model's does ({reason}): export --as gguf."


@dataclass(frozen=True)
class Turns:
    """What a chat template writes around the turns of a conversation.

    ``with_system`` stands before and after the system text; ``without_system`` before the first question where there is
    none; ``to_answer`` between a question and its answer, ``to_question`` between an answer and the next question,
    ``last`` behind the last question. ``wrap`` stands around each question's text.
    """

    with_system: tuple[str, str]
    without_system: str
    to_answer: str
    to_question: str
    last: str
    wrap: tuple[str, str] = ("", "")

    def render(self, messages: Sequence[Message]) -> str:
        """A conversation as Ollama renders :meth:`go`, up to where the answer begins."""
        system = "\n\n".join(each["content"] for each in messages if each["role"] == "system")
        before, after = self.with_system
        text = f"{before}{system}{after}" if system else self.without_system
        turns = [each for each in messages if each["role"] in ("user", "assistant")]
        for number, each in enumerate(turns):
            final = number == len(turns) - 1
            if each["role"] == "user":
                text += self.wrap[0] + each["content"] + self.wrap[1] + (self.last if final else self.to_answer)
            else:
                text += each["content"] + ("" if final else self.to_question)
        return text

    def go(self) -> str:
        """The same in the syntax of Go's templates, as Ollama gives it messages."""
        before, after = map(literal, self.with_system)
        question = literal(self.wrap[0]) + "{{ .Content }}" + literal(self.wrap[1])
        return (
            f"{{{{ if .System }}}}{before}{{{{ .System }}}}{after}"
            f"{{{{ else }}}}{literal(self.without_system)}{{{{ end }}}}"
            "{{ range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}"
            f'{{{{ if eq .Role "user" }}}}{question}'
            f"{{{{ if $last }}}}{literal(self.last)}{{{{ else }}}}{literal(self.to_answer)}{{{{ end }}}}"
            f'{{{{ else if eq .Role "assistant" }}}}{{{{ .Content }}}}'
            f"{{{{ if not $last }}}}{literal(self.to_question)}{{{{ end }}}}{{{{ end }}}}{{{{ end }}}}"
        )


def literal(text: str) -> str:
    """Text that a Go template writes as it stands."""
    return text.replace("{{", '{{ "{{" }}')


def turns_of(tokenizer: PreTrainedTokenizerBase, format: PromptFormat) -> Turns:
    """What the tokenizer's template writes around turns. Raises UserError if that depends on more than their roles."""
    template = chat_template(tokenizer)
    system, ask, say, end = MARKS
    talk = [Message(role="user", content=ask), Message(role="assistant", content=say)]
    talk.append(Message(role="user", content=end))
    whole = cut(template.render([Message(role="system", content=system), *talk]), MARKS)
    bare = cut(template.render(talk), MARKS[1:])
    begin = begin_of(tokenizer)
    found = Turns(
        (whole[0].removeprefix(begin), whole[1]),
        bare[0].removeprefix(begin),
        bare[1],
        bare[2],
        bare[3],
        wrap_of(format),
    )
    check(found, template, begin)
    return found


def begin_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """The begin token's text where llama.cpp puts it before every text by itself, so that no template may; else ''."""
    ids = tokenizer.encode("x")
    return str(tokenizer.bos_token) if ids and ids[0] == tokenizer.bos_token_id else ""


def cut(text: str, marks: Sequence[str]) -> list[str]:
    """What stands around marks. Raises UserError unless each is there once, in their order."""
    pieces = []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found or mark in text:
            raise UserError(NOT_WRITTEN.format(reason="it leaves a turn out, or moves it"))
        pieces.append(before)
    return [*pieces, text]


def check(turns: Turns, template: ChatTemplate, begin: str) -> None:
    """Render conversations of several shapes both ways. Raises UserError if one differs."""
    plain = Turns(turns.with_system, turns.without_system, turns.to_answer, turns.to_question, turns.last)
    system = Message(role="system", content="Be brief.")
    asked = Message(role="user", content="How many?\nTell me {{ all }}.")
    said = Message(role="assistant", content="Three.")
    for talk in ([asked], [system, asked], [asked, said, asked], [system, asked, said, asked, said, asked]):
        if begin + plain.render(talk) != begin + template.render(talk).removeprefix(begin):
            raise UserError(NOT_WRITTEN.format(reason=f"it differs for {len(talk)} turns"))


def wrap_of(format: PromptFormat) -> tuple[str, str]:
    """What the prompt format writes around a question that has no further columns."""
    if format.user is None or "question" not in format.fields:
        return "", ""
    before, _, after = format.user.partition("{question}")
    blank = [FIELD.sub(lambda field: "" if field.group(1) else field.group()[0], part) for part in (before, after)]
    return blank[0].lstrip(), blank[1].rstrip()


def modelfile(
    subject: Subject, tokenizer: PreTrainedTokenizerBase, gguf: str, adapter: str = ""
) -> tuple[str, list[str]]:
    """The Modelfile, and what is to be said of it. Raises UserError if the template cannot be written."""
    turns = turns_of(tokenizer, subject.prompt_format)
    ends = [str(tokenizer.convert_ids_to_tokens(number)) for number in ends_of(tokenizer)]
    stops = list(dict.fromkeys([*ends, *chat_template(tokenizer).stop_strings]))
    system = subject.prompt_format.system or ""
    if '"""' in turns.go() + system:
        raise UserError(NOT_WRITTEN.format(reason="three quotes in a row end a Modelfile's text"))
    lines = [f"FROM ./{gguf}", *([f"ADAPTER ./{adapter}"] if adapter else []), f'TEMPLATE """{turns.go()}"""']
    if system:
        lines.append(f'SYSTEM """{system}"""')
    lines += [f"PARAMETER stop {json.dumps(stop, ensure_ascii=False)}" for stop in stops]
    notes = []
    if any(turns.wrap):
        notes.append(
            f"Every question is put into the words of training ({''.join(turns.wrap).strip()[:60]!r}) by the template."
        )
    if subject.prompt_format.shots:
        notes.append(
            "The example turns of the prompt format are left out: a Modelfile's template has no place for them."
        )
    return "\n".join(lines) + "\n", notes


class Ollama(LlamaCpp):
    """llama.cpp asked in the prompts of a Modelfile, as Ollama runs it."""

    def __init__(self, turns: Turns, model: Path, adapter: Path | None = None) -> None:
        super().__init__(model, adapter)
        self.name, self._turns = "llama.cpp with the Modelfile's template", turns

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """As :class:`Engine` says: what a user types is the question without the words around it."""
        before, after = self._turns.wrap
        typed: list[Any] = []
        for each in messages:
            text = each["content"]
            if each["role"] == "user" and text.startswith(before) and text.endswith(after):
                text = text[len(before) : len(text) - len(after)]
            typed.append(Message(role=each["role"], content=text))
        return self.tokens_of(self._turns.render(typed))
