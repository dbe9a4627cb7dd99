"""What a chat template can do, found by rendering small conversations of marked words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tuning.data.jinja import Rendering, Turn
from tuning.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SYSTEM, QUESTION, ANSWER, SECOND, LATER = "sysmarkqz", "questmarkqz", "answermarkqz", "secondmarkqz", "latermarkqz"
ROLES = ("system", "user", "assistant", "tool")
SHOWN_CHARACTERS = 120


@dataclass(frozen=True)
class Traits:
    """What a template does. ``notes`` are the sentences that a user must read.

    ``header`` is the assistant's header where the template leaves it out of the prompt, ``opening`` the white space
    that it writes before an answer, ``closing`` what it writes after one, up to the token ``closing_token`` or string
    that ends it. ``without_system`` says what it writes where no system text is given; "" for nothing.
    """

    parts: bool = False
    system: bool = True
    later_system: bool = True
    repeated_roles: bool = True
    generation_prompt: str = ""
    header: str = ""
    opening: str = ""
    closing: str = ""
    closing_token: int | None = None
    without_system: str = ""
    notes: list[str] = field(default_factory=list)


def turn(role: str, content: str, parts: bool = False) -> Turn:
    """One message; ``parts`` for templates that read a list of parts instead of a text."""
    return {"role": role, "content": [{"type": "text", "text": content}] if parts else content}


def prepared(messages: Sequence[Mapping[str, object]], traits: Traits) -> list[Turn]:
    """The conversation in the shape that the template understands; no text is lost.

    Raises UserError for an empty conversation or an unknown role.
    """
    if not messages:
        raise UserError("The conversation is empty: type a question first.")
    turns: list[tuple[str, str]] = []
    pending: list[str] = []
    for place, message in enumerate(messages):
        role = "system" if message["role"] == "developer" else str(message["role"])
        text = str(message["content"])
        if role not in ROLES:
            raise UserError(f"A message has the role {message['role']!r}: use one of {', '.join(ROLES)}.")
        if role == "system" and not (traits.system if place == 0 else traits.later_system):
            pending.append(text)
            continue
        if role == "user" and pending:
            text = "\n\n".join(part for part in [*pending, text] if part)
            pending = []
        turns.append((role, text))
    if pending:
        turns.append(("user", "\n\n".join(pending)))
    if not traits.repeated_roles:
        turns = merged(turns)
    return [turn(role, text, traits.parts) for role, text in turns]


def merged(turns: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Turns of one role in a row put together, with a blank line between them."""
    result: list[tuple[str, str]] = []
    for role, text in turns:
        if result and result[-1][0] == role:
            result[-1] = (role, f"{result[-1][1]}\n\n{text}")
        else:
            result.append((role, text))
    return result


def traits_of(rendering: Rendering, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str]) -> Traits:
    """Look at a template from all sides. Raises UserError if it cannot write even one question."""
    probe = Probe(rendering)
    notes: list[str] = []
    system, without_system = True, ""
    if not probe.shows([("system", SYSTEM), ("user", QUESTION)]):
        system = False
        notes.append(
            "This model's template has no system role: the system text stands at the start of the user's turn."
        )
    elif (system_text := probe.default_system()) != "":
        shown = system_text if len(system_text) <= SHOWN_CHARACTERS else system_text[:SHOWN_CHARACTERS] + "…"
        without_system = f"Without a system text this model's template writes its own: “{' '.join(shown.split())}”"
    later = system and probe.shows(
        [("user", QUESTION), ("assistant", ANSWER), ("system", LATER), ("user", SECOND)], also=[LATER]
    )
    repeated = probe.shows([("user", QUESTION), ("user", SECOND)], also=[SECOND])
    if not probe.shows([("user", QUESTION), ("assistant", ANSWER), ("user", SECOND)], also=[ANSWER, SECOND]):
        notes.append("This model's template leaves earlier turns out of the prompt: only the last question is asked.")
    if not repeated:
        notes.append("This model's template wants question and answer by turns: two in a row are put together.")
    prompt = probe.text([("user", QUESTION)], generation_prompt=True) or ""
    header, opening = probe.before_answer(prompt)
    if header:
        notes.append("This model's template leaves out the assistant's header: it is put after the question here.")
    closing, token, written = closing_of(probe, tokenizer, stops)
    if not written:
        notes.append(
            "This model's template writes nothing that ends an answer: the tokenizer's end token does."
            if token is not None
            else "Nothing ends an answer of this model but the token cap: it has no end token, nor has its template."
        )
    prompt_end = prompt[prompt.rfind(QUESTION) + len(QUESTION) :] + header
    around = prompt_end, header, opening, closing, token
    return Traits(probe.parts, system, later, repeated, *around, without_system, notes)


class Probe:
    """Renders marked conversations; ``parts`` is whether the template reads lists of parts only."""

    def __init__(self, rendering: Rendering) -> None:
        self._rendering = rendering
        self.parts = False
        if self.shows([("user", QUESTION)]):
            return
        self.parts = True
        if not self.shows([("user", QUESTION)]):
            rendering.render([turn("user", QUESTION)], True)  # raises with the template's own reason, if it has one
            raise UserError(
                "The chat template of this model leaves the question out: give another with --chat-template."
            )

    def text(self, turns: Sequence[tuple[str, str]], generation_prompt: bool) -> str | None:
        """The rendered conversation, or None if the template refuses it."""
        try:
            return self._rendering.render([turn(*one, self.parts) for one in turns], generation_prompt)
        except UserError:
            return None

    def shows(self, turns: Sequence[tuple[str, str]], also: Sequence[str] = ()) -> bool:
        """Whether the prompt holds the first turn's text and those in ``also``."""
        text = self.text(turns, generation_prompt=True)
        return text is not None and all(mark in text for mark in (turns[0][1], turns[-1][1], *also))

    def default_system(self) -> str:
        """The system text that the template writes by itself where none is given."""
        given = self.text([("system", SYSTEM), ("user", QUESTION)], generation_prompt=False) or ""
        bare = self.text([("user", QUESTION)], generation_prompt=False) or ""
        before, _, rest = given.partition(SYSTEM)
        between = rest.partition(QUESTION)[0]
        if not between or not bare.startswith(before):
            return ""
        start = bare[len(before) :].partition(QUESTION)[0]
        return start[: -len(between)].strip() if start.endswith(between) and start != between else ""

    def before_answer(self, prompt: str) -> tuple[str, str]:
        """The header that the prompt lacks, and the white space before an answer."""
        whole = self.text([("user", QUESTION), ("assistant", ANSWER)], generation_prompt=False) or ""
        bare = self.text([("user", QUESTION)], generation_prompt=False)
        at = whole.rfind(ANSWER)
        if at < 0 or not whole.startswith(prompt):
            return "", ""
        between = whole[len(prompt) : at]
        if not between.strip():
            return "", between
        return (between, "") if prompt == bare else ("", "")


def closing_of(probe: Probe, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str]) -> tuple[str, int | None, bool]:
    """What closes an answer, the token that ends it (None for a stop string), and whether the template writes it."""
    controls = {
        token.content: number for number, token in tokenizer.added_tokens_decoder.items() if token.content.strip()
    }
    end = tokenizer.eos_token
    if end is not None and tokenizer.eos_token_id is not None:
        controls[end] = tokenizer.eos_token_id
    last = probe.text([("user", QUESTION), ("assistant", ANSWER)], generation_prompt=False) or ""
    inner = probe.text([("user", QUESTION), ("assistant", ANSWER), ("user", SECOND)], generation_prompt=False) or ""
    after = last.rpartition(ANSWER)[2] if ANSWER in last else ""
    between = inner.partition(ANSWER)[2].partition(SECOND)[0] if ANSWER in inner else ""
    ends = {end: controls[end]} if end in controls else {}
    for text, tokens in ((after, controls), (between, ends)):
        found = earliest(text, [*tokens, *stops])
        if found is not None:
            return text[: text.index(found) + len(found)], tokens.get(found), True
    if end is None or tokenizer.eos_token_id is None:
        return "", None, False
    return end, tokenizer.eos_token_id, False


def earliest(text: str, marks: Sequence[str]) -> str | None:
    """The mark that stands first in ``text``, the longest of those that begin there."""
    found = [(text.index(mark), -len(mark), mark) for mark in marks if mark in text]
    return min(found)[2] if found else None
