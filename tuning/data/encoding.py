"""Rows -> training examples: the tokens that the model's own chat template writes, a label on what the assistant says.

What is trained is what is asked: before every trained turn stands the prompt that asking would give, token by token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tuning.data.chat import Example, Message, Pair, PromptFormat, Unit
from tuning.data.cleaning import Row
from tuning.data.reading.values import trimmed
from tuning.data.template import ChatTemplate, chat_template
from tuning.data.thinking import continued, without_thinking
from tuning.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROBE = [Message(role="user", content="questmarkqz"), Message(role="assistant", content="  answermarkqz")]
DRAFTS = ("<think", "</think")
CHANGED = "answers that the chat template changes (leading white space or drafts; trained as the template writes them)"
FORGOTTEN = "conversations of which the chat template leaves out a turn (the rows are used as it writes them)"
PLAIN_TURNS = 3
"""A system text, a question and its answer: what every template has been seen to write."""
NO_INPUT = "inputs that --user-template leaves out (it names neither {input} nor {context}; the rows are used)"


class Encoder:
    """Encodes rows for one tokenizer in one prompt format, examples of at most ``max_tokens`` tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt_format: PromptFormat, max_tokens: int) -> None:
        """Raises UserError for a template that names other columns than question, input and context."""
        self.tokenizer, self.format, self.max_tokens = tokenizer, prompt_format, max_tokens
        unknown = [name for name in prompt_format.fields if name not in ("question", "input", "context")]
        if unknown:
            raise UserError(
                f"--user-template names {{{unknown[0]}}}, but has {{question}} and {{input}} (or {{context}}): say "
                "with --columns which columns they are."
            )
        self.template = chat_template(tokenizer)
        self._plain: bool | None = None
        self._changed = False
        self._forgotten = False

    def encode(self, row: Row) -> tuple[Example, ...] | None:
        """A row as one example, or as one for each trained turn where the template shows earlier turns otherwise than
        it has them trained. None if the prompt alone leaves no room. Raises UserError if the template refuses it."""
        self._changed = self._forgotten = False
        if row.turns and row.turns[0].role == "text":
            return (self.text_example(row.turns[0].text),)
        messages, trained = conversation(row, self.format)
        examples: list[Example] = []
        closing = self.template.closing_ids
        for at in trained:
            prompt = self.template.encode(messages[:at])
            answer = [*self.template.encode_answer(*self.written(messages, at)), *closing]
            if len(prompt) + len(closing) + 1 > self.max_tokens:
                return None
            before = examples[-1] if examples else None
            if before is not None and prompt[: len(before)] == before.prompt_ids + before.answer_ids:
                examples[-1] = before.followed_by(prompt[len(before) :], answer)
            else:
                examples.append(Example(prompt, answer))
        if trained and len(messages) > PLAIN_TURNS:
            self._forgotten = leaves_out(self.template, messages[: trained[-1]])
        return tuple(self.cut(example) for example in examples)

    def encode_pair(self, row: Row) -> Pair | None:
        """A preference row as a pair of examples with one prompt. None if the prompt alone leaves no room.

        Raises UserError if the template refuses it.
        """
        chosen = self.encode(row)
        changed = self._changed
        rejected = self.encode(with_rejected(row))
        self._changed |= changed
        if chosen is None or rejected is None:
            return None
        return Pair(chosen[-1], rejected[-1])

    def cut(self, example: Example) -> Example:
        """The example, its answer cut to fit if it must be: it loses its tail but never what closes it."""
        if len(example) <= self.max_tokens:
            return example
        closing = self.template.closing_ids
        room = self.max_tokens - len(example.prompt_ids) - len(closing)
        if example.labelled:
            return Example(example.prompt_ids, example.answer_ids, True, example.labelled)
        return Example(example.prompt_ids, [*example.answer_ids[:room], *closing], truncated=True)

    def text_example(self, text: str) -> Example:
        """A text to be continued: all but its first token is trained, and then the end."""
        found = self.tokenizer(text, add_special_tokens=True, split_special_tokens=True).input_ids
        end = self.tokenizer.eos_token_id
        if end is None:
            raise UserError("This tokenizer has no end token: choose another model.")
        ids = [*(found[:-1] if found and found[-1] == end else found), end]
        return self.cut(Example(ids[:1], ids[1:]))

    def written(self, messages: Sequence[Message], at: int) -> tuple[str, str]:
        """An answer as the template writes it, and what it writes before it; what it changes is noted."""
        text = messages[at]["content"]
        if self.keeps_text() and not any(mark in text for mark in DRAFTS):
            return text, ""
        found = written_answer(self.template, messages[: at + 1])
        if found is None and self.template.opening:
            found = continued(text, self.template.traits.generation_prompt)
        if found is None or found == text:
            return text, ""
        lead = found.removesuffix(text)
        self._changed |= lead == found or any(mark in lead for mark in DRAFTS)
        return (found, "") if lead == found else (text, lead)

    def keeps_text(self) -> bool:
        """Whether the template writes an answer as it is, with the white space before it."""
        if self._plain is None:
            self._plain = written_answer(self.template, PROBE) == PROBE[-1]["content"]
        return self._plain

    def notes(self, row: Row) -> Iterator[str]:
        """What must be said of the row that was just encoded, to be counted."""
        if self._changed:
            yield CHANGED
        if self._forgotten:
            yield FORGOTTEN
        if row.input and self.format.user is not None and not {"input", "context"} & set(self.format.fields):
            yield NO_INPUT


def units_of(encoder: Encoder, row: Row) -> tuple[Unit, ...] | None:
    """A row as what a step counts: its examples, or its pair. None if the prompt alone leaves no room.

    Raises UserError if the template refuses it.
    """
    if not row.rejected:
        return encoder.encode(row)
    pair = encoder.encode_pair(row)
    return None if pair is None else (pair,)


def with_rejected(row: Row) -> Row:
    """The row with its worse answer in place of the better one."""
    turns = (*row.turns[:-1], replace(row.turns[-1], text=row.rejected)) if row.turns else ()
    return replace(row, answer=row.rejected, turns=turns)


def conversation(row: Row, prompt_format: PromptFormat) -> tuple[list[Message], list[int]]:
    """A row as chat messages, and which of them are trained.

    ``prompt_format`` gives what the row does not bring: the system prompt, what goes before, and what stands around the
    first question.
    """
    if not row.turns:
        columns = {"question": row.question, "input": row.input, "context": row.input}
        messages = [*prompt_format.messages(columns), Message(role="assistant", content=trimmed(row.answer))]
        return messages, [len(messages) - 1]
    first = next((at for at, turn in enumerate(row.turns) if turn.role == "user"), 0)
    found = []
    for at, turn in enumerate(row.turns):
        text = turn.text
        if at == first and prompt_format.user is not None:
            text = prompt_format.user_turn({"question": text, "input": "", "context": ""})
        found.append(Message(role=turn.role, content=text))
    opening: list[Message] = []
    if prompt_format.system and not any(turn.role == "system" for turn in row.turns[:first]):
        opening = [Message(role="system", content=prompt_format.system)]
    at = next((place for place, turn in enumerate(row.turns) if turn.role != "system"), 0)
    found[at:at] = prompt_format.shots
    shift = len(opening) + len(prompt_format.shots)
    return [*opening, *found], [place + shift for place, turn in enumerate(row.turns) if turn.trained]


def written_answer(template: ChatTemplate, messages: Sequence[Message]) -> str | None:
    """The last message as the template writes it after the prompt, without what closes it; None if that cannot be told
    from the rendered conversation."""
    try:
        prompt = template.render(messages[:-1])
        whole = template.render(messages, add_generation_prompt=False)
    except UserError:
        return None
    if not whole.startswith(prompt):
        return None
    written = whole[len(prompt) :].removeprefix(template.traits.opening)
    answer, closed, _ = written.rpartition(template.closing)
    if closed:
        return answer
    # A template that closes no last answer: what it writes before one (an empty draft, say) is its own all the same.
    bare, said = written.rstrip(), without_thinking(messages[-1]["content"]).strip()
    return bare if said and bare.endswith(said) else None


def leaves_out(template: ChatTemplate, messages: Sequence[Message]) -> bool:
    """Whether a prompt lacks a text of its conversation; what a thinking model forgets of its drafts does not count."""
    prompt = template.render(messages)
    return any(without_thinking(message["content"]).strip() not in prompt for message in messages)
