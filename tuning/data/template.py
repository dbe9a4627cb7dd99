"""Chat templates: the one place where a conversation becomes a prompt, whatever the model's template can and cannot.

A template is a program that the model brings. What it lacks is made up for here and said in :attr:`ChatTemplate.notes`:
a system role, turns of one role in a row, plain text as content, an assistant's header, an end.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.data import plain_format
from tuning.data.jinja import Rendering
from tuning.data.template_traits import Traits, prepared, traits_of
from tuning.data.thinking import opened_thinking
from tuning.errors import UserError

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase

CHOICE = "chat_template_choice"
LISTED_ENDS = "listed_end_ids"
MAX_TEMPLATE_BYTES = 1 << 20


class ChatTemplate:
    """A tokenizer's chat template, with what it lacks made up for. Made by :func:`chat_template`."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, text: str, thinking: bool | None, remarks: Sequence[str] = ()
    ) -> None:
        """``text`` is Jinja. Raises UserError if it is broken or writes no question."""
        self.text = text
        self.thinking = thinking
        self.stop_strings = plain_format.stop_strings(text)
        self._tokenizer = tokenizer
        self._rendering = Rendering(tokenizer, text, thinking)
        self.traits: Traits = traits_of(self._rendering, tokenizer, self.stop_strings)
        self._remarks = [*remarks, *self._rendering.notes, *self.traits.notes]

    @property
    def notes(self) -> list[str]:
        """What the user must be told of this template, in sentences."""
        return list(self._remarks)

    def notes_for(self, system: str | None) -> list[str]:
        """What is to be told where all is asked behind the system text ``system``, or none."""
        return [*self._remarks, *([self.traits.without_system] if self.traits.without_system and not system else [])]

    @property
    def closing(self) -> str:
        """What closes an assistant's turn, up to and with the token or string that ends it; "" if nothing does."""
        return self.traits.closing

    @cached_property
    def closing_ids(self) -> tuple[int, ...]:
        """The tokens of :attr:`closing`. Raises UserError if nothing ends an answer, as training cannot do without."""
        if not self.closing:
            raise UserError(
                "This model has no end token and its chat template writes none, so an answer could never end: "
                "choose an instruction-tuned (chat) model, or give a format with a stop string (--chat-template)."
            )
        return tuple(self._in_context(self.closing, split_special=False))

    @property
    def opening(self) -> str:
        """The tag with which every prompt opens a draft, so that the answer begins inside it; '' where none does."""
        return opened_thinking(self.traits.generation_prompt)

    def render(
        self,
        messages: Sequence[Mapping[str, object]],
        *,
        add_generation_prompt: bool = True,
        continue_final: bool = False,
    ) -> str:
        """The conversation as the template writes it. With ``continue_final`` the last turn stays open.

        Raises UserError if the template refuses the conversation.
        """
        turns = prepared(messages, self.traits)
        text = self._rendering.render(turns, add_generation_prompt and not continue_final, continue_final)
        return text + (self.traits.header if add_generation_prompt and not continue_final else "")

    def encode(self, messages: Sequence[Mapping[str, object]], generation_prompt: bool = True) -> list[int]:
        """The token ids of :meth:`render`. Control tokens that stand in a message become plain characters.

        Raises UserError if the template refuses the conversation.
        """
        ids = self._rendering.encode(prepared(messages, self.traits), generation_prompt)
        if generation_prompt and self.traits.header:
            ids += self._in_context(self.traits.header, split_special=False)
        return ids

    def encode_answer(self, answer: str, lead: str = "") -> list[int]:
        """The token ids of an answer as they follow the prompt, without what closes them; never a control token but
        in ``lead``, which the template writes before it."""
        head = self.traits.opening + lead
        controls = [token.content for token in self._tokenizer.added_tokens_decoder.values() if token.special]
        cut = max((head.rfind(token) + len(token) for token in controls if token in head), default=0)
        text = head[cut:] + answer
        return [*self._in_context(head[:cut], split_special=False), *self._plain_ids(text)]

    def _plain_ids(self, text: str) -> list[int]:
        """The token ids of a text within a conversation; what looks like a control token becomes plain characters."""
        ids = self._in_context(text, split_special=True)
        control = self.end_ids() | set(self._tokenizer.all_special_ids)
        if control.isdisjoint(ids):
            return ids
        # An end token that is not marked as special is found even in plain text: broken up, it is characters again.
        for token in sorted(control):
            content = self._tokenizer.convert_ids_to_tokens(token)
            if isinstance(content, str) and len(content) > 1 and content in text:
                first, *rest = text.split(content)
                ids = self._in_context(first, split_special=True)
                for piece in rest:
                    ids += self._in_context(content[0], split_special=True)
                    ids += self._in_context(content[1:] + piece, split_special=True)
                if control.isdisjoint(ids):
                    return ids
        return ids

    def end_ids(self, generation_config: GenerationConfig | None = None) -> frozenset[int]:
        """Every token that ends an answer: the tokenizer's end, the template's, and the model's own list of ends."""
        listed = ids_of(getattr(generation_config, "eos_token_id", None)) | getattr(self._tokenizer, LISTED_ENDS, set())
        return frozenset(listed | ids_of([self._tokenizer.eos_token_id, self.traits.closing_token]))

    def _in_context(self, text: str, *, split_special: bool) -> list[int]:
        """``text`` as tokens in the middle of a conversation: no space is put before it, as some tokenizers do."""
        if not text:
            return []
        encode = self._tokenizer.encode
        newline = encode("\n", add_special_tokens=False, split_special_tokens=split_special)
        ids = encode("\n" + text, add_special_tokens=False, split_special_tokens=split_special)
        if ids[: len(newline)] == newline:
            return list(ids[len(newline) :])
        return list(encode(text, add_special_tokens=False, split_special_tokens=split_special))


def ids_of(listed: object) -> set[int]:
    """The token ids in what a configuration holds: one, a list of some, or none."""
    several = listed if isinstance(listed, list | tuple) else [listed]
    return {token for token in several if isinstance(token, int) and not isinstance(token, bool) and token >= 0}


def list_ends(tokenizer: PreTrainedTokenizerBase, listed: object) -> None:
    """Note the end tokens that the model's own configuration lists, for every :meth:`ChatTemplate.end_ids`."""
    setattr(tokenizer, LISTED_ENDS, ids_of(listed))


_KNOWN: weakref.WeakKeyDictionary[Any, dict[object, ChatTemplate]] = weakref.WeakKeyDictionary()


def chat_template(
    tokenizer: PreTrainedTokenizerBase,
    *,
    jinja: str | None = None,
    name: str | None = None,
    thinking: bool | None = None,
) -> ChatTemplate:
    """The tokenizer's template, or the Jinja text ``jinja``, or the one called ``name`` (``plain`` is always there).

    ``thinking`` switches a thinking model's draft on or off; None leaves it as the template has it. What is not given
    is as :func:`choose` said for this tokenizer. A model without any template is asked in the plain format. Made once
    for each tokenizer and choice. Raises UserError for a broken template or an unknown name.
    """
    chosen, thought = getattr(tokenizer, CHOICE, (None, None))
    name = name if name is not None or jinja is not None else chosen
    thinking = thought if thinking is None else thinking
    own = tokenizer.chat_template
    key = (str(own) if isinstance(own, dict) else own, jinja, name, thinking, tokenizer.eos_token, tokenizer.bos_token)
    made = _KNOWN.setdefault(tokenizer, {})
    if key not in made:
        remarks: list[str] = []
        text = jinja if jinja is not None else template_text(tokenizer, name, remarks)
        made[key] = ChatTemplate(tokenizer, text, thinking, remarks)
    return made[key]


def choose(tokenizer: PreTrainedTokenizerBase, template: str | None = None, thinking: bool | None = None) -> None:
    """Settle which template this tokenizer uses from now on, wherever it is used.

    ``template`` is ``plain``, the name of one of its templates, or the path of a Jinja file. Raises UserError for one
    that is none of these, or is broken.
    """
    setattr(tokenizer, CHOICE, (template, thinking))
    chat_template(tokenizer)


def template_text(tokenizer: PreTrainedTokenizerBase, name: str | None, remarks: list[str]) -> str:
    """The Jinja text that ``name`` (see :func:`choose`) stands for; what is to be said of it goes into ``remarks``."""
    own = tokenizer.chat_template
    named: dict[str, str] = own if isinstance(own, dict) else {}
    if name is not None and name in named:
        return named[name]
    if name == plain_format.NAME:
        remarks.append("Asked in the plain format (question and answer headings), as --chat-template says.")
        return plain_format.PLAIN_TEMPLATE
    if name is not None:
        remarks.append(f"Asked in the chat template of the file {Path(name).name}, as --chat-template says.")
        return read_template(name, sorted(named))
    if named:
        if "default" not in named and len(named) > 1:
            raise UserError(
                f"This model has several chat templates and no default: choose one of {', '.join(sorted(named))} "
                "with --chat-template."
            )
        return named["default"] if "default" in named else next(iter(named.values()))
    if isinstance(own, str) and own.strip():
        return own
    remarks.append(
        "This model has no chat template: it is asked in the plain format (question and answer headings). "
        "--chat-template gives another."
    )
    return plain_format.PLAIN_TEMPLATE


def read_template(path: str, names: Sequence[str] = ()) -> str:
    """The text of a Jinja file. Raises UserError if it cannot be read."""
    file = Path(path).expanduser()
    known = ", ".join([*names, plain_format.NAME])
    if not file.is_file():
        raise UserError(f"There is no chat template {path!r}: give a Jinja file or one of these names: {known}.")
    if file.stat().st_size > MAX_TEMPLATE_BYTES:
        raise UserError(f"The file {file.name} is too large for a chat template: give a Jinja file.")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The chat template {file.name} cannot be read ({error}): save it as UTF-8 text.") from error
    if not text.strip():
        raise UserError(f"The chat template {file.name} is empty: give another.")
    return text
