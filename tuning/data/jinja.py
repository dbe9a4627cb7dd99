"""Rendering a chat template through transformers, with a fixed date, and every error as one sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from tuning.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Turn = Mapping[str, Any]
# The date that Llama 3.1's template falls back on; any other would do as well, as long as it stays.
DATE = date(2024, 7, 26)
DIRECTIVES = {"%" + code: DATE.strftime("%" + code) for code in "aAbBdmyYjUWwuGVDFxhe"}
DIRECTIVES |= {f"%-{code}": DATE.strftime(f"%{code}").lstrip("0") for code in "dmj"}
DIRECTIVES |= {f"%{code}": time for code, time in {"H": "12", "I": "12", "M": "00", "S": "00", "p": "PM"}.items()}
THINKING_SWITCHES = ("enable_thinking", "thinking")
REMEDY = "choose another model, or give a template with --chat-template"


class Rendering:
    """One Jinja text of one tokenizer. ``notes`` says what was fixed or could not be switched."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, text: str, thinking: bool | None) -> None:
        self._tokenizer = tokenizer
        self.text = text
        self.notes: list[str] = []
        variables = undeclared(text)
        self._text = text
        if "strftime_now" in variables:
            self._text = fixed_date(text)
            self.notes.append(
                f"This model's template writes the date: it is always {DATE:%d %B %Y} here, "
                "so that prompts and answers stay the same from day to day."
            )
        switches = [name for name in THINKING_SWITCHES if name in variables]
        if thinking is not None and not switches:
            self.notes.append("This model's template has no switch for thinking: the setting changes nothing.")
        self._options: dict[str, Any] = {name: thinking for name in switches if thinking is not None}
        # A template that writes one of these where the tokenizer has none would fail on an undefined variable.
        for token in ("bos_token", "eos_token"):
            if getattr(tokenizer, token) is None:
                self._options[token] = ""
        if "{# stop:" in text and not writes_start(tokenizer):
            self._options["bos_token"] = ""

    def render(self, turns: Sequence[Turn], generation_prompt: bool, continue_final: bool = False) -> str:
        """The conversation as text. Raises UserError if the template refuses it."""
        return str(self._apply(turns, generation_prompt, continue_final_message=continue_final, tokenize=False))

    def encode(self, turns: Sequence[Turn], generation_prompt: bool) -> list[int]:
        """The conversation as tokens; control tokens in its contents become characters. Raises UserError likewise."""
        return list(
            self._apply(turns, generation_prompt, tokenize=True, return_dict=False, sanitize_control_tokens=True)
        )

    def _apply(self, turns: Sequence[Turn], generation_prompt: bool, **options: Any) -> Any:
        try:
            return self._tokenizer.apply_chat_template(
                [dict(turn) for turn in turns],
                chat_template=self._text,
                add_generation_prompt=generation_prompt,
                **options,
                **self._options,
            )
        except Exception as error:
            raise UserError(sentence(error)) from error


def undeclared(text: str) -> frozenset[str]:
    """The variables that a template reads and does not set. Raises UserError if it is no Jinja."""
    from jinja2 import Environment, TemplateSyntaxError, meta
    from jinja2.ext import Extension
    from jinja2.nodes import Node
    from jinja2.parser import Parser

    class Generation(Extension):
        """The block with which templates mark what the assistant wrote; to be read here, not to be followed."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Parser) -> list[Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    try:
        tree = Environment(extensions=[Generation, "jinja2.ext.loopcontrols"], autoescape=False).parse(text)
        return frozenset(meta.find_undeclared_variables(tree))
    except TemplateSyntaxError as error:  # of a filter or test that there is not, too
        raise UserError(sentence(error)) from error


def fixed_date(text: str) -> str:
    """The template with ``strftime_now`` bound to :data:`DATE`, whatever format it is called with."""
    body = "format"
    for directive, value in sorted(DIRECTIVES.items(), key=lambda item: -len(item[0])):
        body += f"|replace({directive!r}, {value!r})"
    # Jinja swallows one line break after the macro's end: a template that begins with one keeps it.
    line = "\n" if text.startswith("\n") else ""
    return "{%- macro strftime_now(format) -%}{{ " + body + " }}{%- endmacro %}" + line + text


def writes_start(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer itself puts its start token before a text, as a base model was trained with."""
    start = tokenizer.bos_token_id
    return start is not None and tokenizer("a", add_special_tokens=True).input_ids[:1] == [start]


def sentence(error: Exception) -> str:
    """One sentence of what is wrong with a template, with its line where there is one."""
    from jinja2 import TemplateError, TemplateSyntaxError, UndefinedError
    from jinja2.exceptions import SecurityError

    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    if isinstance(error, TemplateSyntaxError):
        message = (error.message or text).rstrip(".")
        return f"The chat template of this model is broken in line {error.lineno} ({message}): {REMEDY}."
    line = failing_line(error)
    where = f" in line {line}" if line else ""
    if isinstance(error, TemplateError) and not isinstance(error, UndefinedError | SecurityError):
        return f"The chat template of this model refuses the conversation{where} ({text}): {REMEDY}."
    if isinstance(error, ValueError) and (control := re.match(r"Can't sanitize (.+?): ", str(error))):
        return (
            f"The text holds {control[1]}, which this model's tokenizer cannot write as plain text: write it otherwise."
        )
    return f"The chat template of this model fails{where} ({type(error).__name__}: {text}): {REMEDY}."


def failing_line(error: BaseException) -> int | None:
    """The template's line in which it failed; Jinja names the frames of a template made from text so."""
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename in ("<template>", "<unknown>"):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
