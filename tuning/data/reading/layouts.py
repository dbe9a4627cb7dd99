"""Rows of any supported layout, recognised row by row from their columns -> questions with answers, conversations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from tuning.data.options import NEEDED, Reading, kind_named
from tuning.data.reading.text_files import kind_of
from tuning.errors import UserError

QUESTIONS = ("instruction", "prompt", "question", "questionasked", "query", "user", "human")
ANSWERS = ("output", "completion", "answer", "outputanswer", "response", "assistant", "reply", "gpt")
USUAL = (
    ("instruction", "output"),
    ("prompt", "completion"),
    ("question", "answer"),
    ("questionasked", "outputanswer"),
    ("text", "code"),
)
PAIRS = (*USUAL, *((q, a) for a in ANSWERS for q in QUESTIONS if (q, a) not in USUAL), *(("input", a) for a in ANSWERS))
CONTEXTS = ("input", "questioninput", "context")


def joined_up(*names: str) -> tuple[str, ...]:
    """Names in small letters, each also as it is where it was written ``likeThis``."""
    return tuple(dict.fromkeys(spelling for name in names for spelling in (name, name.replace("_", ""))))


SYSTEMS = joined_up("system", "system_prompt", "system_message", "system_instruction")
HISTORIES = joined_up(
    *("history", "chat_history", "conversation_history", "dialog_history", "dialogue_history", "message_history"),
    *("previous_messages", "past_messages", "previous_turns", "past_turns"),
)
TRAINED = ("train", "training", "weight")
RATINGS = joined_up("kto_tag")
"""Columns that can be nothing but the rating of an answer."""
LABELS = ("label", *RATINGS)
MEDIA = frozenset(
    joined_up(
        *(
            "image",
            "images",
            "image_url",
            "image_path",
            "audio",
            "audios",
            "video",
            "videos",
            "inline_data",
            "file_data",
        )
    )
)
CHATS = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "contents")
MESSAGE_COLUMNS = frozenset(("message", "message_type", "conversation_id"))
CHECKS = ("check", "answercheck")
PREFERENCE = ("chosen", "rejected")
TURNS_COLUMN = "conversation"


@lru_cache(1024)
def plain_name(column: str) -> str:
    """A column's name without the differences that mean nothing: case, surrounding spaces, hyphens."""
    return column.strip().lower().replace("-", "_").replace(" ", "_")


@dataclass(frozen=True)
class Layout:
    """Which column has which role. ``kind`` is 'pair', 'chat', 'turn', 'text' or 'preference'; ``media`` are columns of
    what is no text: a row that fills one cannot be trained on."""

    kind: str
    roles: dict[str, str]
    media: tuple[str, ...] = ()

    @cached_property
    def columns(self) -> Mapping[str, str]:
        """The first column of each role."""
        return {role: name for name, role in reversed(self.roles.items())}

    def column(self, role: str) -> str | None:
        """The column of a role."""
        return self.columns.get(role)

    @cached_property
    def wanted(self) -> tuple[str, ...]:
        """The columns that say whether a row is to be trained."""
        return self.named("trained")

    @cached_property
    def by_role(self) -> Mapping[str, tuple[str, ...]]:
        """All columns of each role."""
        return {role: tuple(name for name, each in self.roles.items() if each == role) for role in self.columns}

    def named(self, role: str) -> tuple[str, ...]:
        """All columns of a role."""
        return self.by_role.get(role, ())

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The columns that may say whether an answer is good."""
        return self.named("label")

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """The columns without which a row is nothing."""
        return tuple(name for name, role in self.roles.items() if role in NEEDED[self.kind])


def layouts(columns: tuple[str, ...], reading: Reading) -> list[Layout]:
    """The layouts that a row with these columns can have, the likeliest first."""
    if reading.preference:
        return preference_layouts(columns, reading.columns)
    if reading.columns:
        return chosen_layout(columns, reading.columns)
    named: dict[str, str] = {}
    for column in columns:
        named.setdefault(plain_name(column), column)
    extras = {named[name]: "context" if name == "context" else "input" for name in CONTEXTS if name in named}
    beside = all_of(SYSTEMS, named, "system") | all_of(HISTORIES, named, "history")
    wanted = {named[name]: "trained" for name in TRAINED if name in named}
    labels = {named[name]: "label" for name in LABELS if name in named}
    media = tuple(named[name] for name in sorted(MEDIA & named.keys()))
    checks = {named[name]: "check" for name in CHECKS if name in named}
    found = []
    if named.keys() >= MESSAGE_COLUMNS:
        roles = {"message": "content", "message_type": "role", "conversation_id": "conversation"}
        found.append(Layout("turn", {named[name]: role for name, role in roles.items()} | wanted | labels, media))
    if {"questionasked", TURNS_COLUMN} <= named.keys():
        chats: tuple[str, ...] = ()
    else:
        chats = tuple(name for name in CHATS if name in named)
    found += [Layout("chat", {named[name]: "messages"} | beside | checks | wanted | labels, media) for name in chats]
    for question, answer in PAIRS:
        if question not in named or answer not in named:
            continue
        roles = {named[question]: "question", named[answer]: "answer"} | checks | wanted | labels
        if (question, answer) != ("text", "code"):
            roles = {column: role for column, role in extras.items() if column not in roles} | roles | beside
        if question == "questionasked" and TURNS_COLUMN in named:
            roles |= {named[TURNS_COLUMN]: "turns"}
        found.append(Layout("pair", roles, media))
    if named.keys() >= set(PREFERENCE):
        found.append(Layout("preference", {named[name]: name for name in PREFERENCE}))
    if "text" in named and all(layout.kind in ("turn", "chat") for layout in found):
        rated = {column: role for column, role in labels.items() if plain_name(column) in RATINGS}
        found.append(Layout("text", {named["text"]: "text"} | wanted | rated, media))
    return found


def all_of(names: Iterable[str], named: Mapping[str, str], role: str) -> dict[str, str]:
    """Those of some columns that are there, with their role: a row uses the first that it fills."""
    return {named[name]: role for name in names if name in named}


def preference_layouts(columns: tuple[str, ...], asked: Mapping[str, str]) -> list[Layout]:
    """The layout of pairs that a row with these columns can have, if any: as named, or by the columns' usual names."""
    if asked:
        return [layout for layout in chosen_layout(columns, asked) if layout.kind == "preference"]
    named: dict[str, str] = {}
    for column in columns:
        named.setdefault(plain_name(column), column)
    if not named.keys() >= set(PREFERENCE):
        return []
    roles = {named[name]: name for name in PREFERENCE}
    asks = all_of((*QUESTIONS, *CHATS), named, "question")
    roles |= asks if any(name in named for name in QUESTIONS) else all_of(("input", *CHATS), named, "question")
    roles |= {named[name]: "context" for name in CONTEXTS if name in named and named[name] not in roles}
    roles |= all_of(SYSTEMS, named, "system") | all_of(HISTORIES, named, "history")
    roles |= {named[name]: "trained" for name in TRAINED if name in named}
    return [Layout("preference", roles, tuple(named[name] for name in sorted(MEDIA & named.keys())))]


def chosen_layout(columns: tuple[str, ...], asked: Mapping[str, str]) -> list[Layout]:
    """The layout that ``--columns`` names, if these columns have what it needs. What says that a row is not to be
    trained, or that it holds more than text, is heeded under its usual name, too."""
    roles = {found: role for role, column in asked.items() if (found := meant(column, columns)) is not None}
    kind = kind_named(asked) or "pair"
    if not set(NEEDED[kind]) <= set(roles.values()):
        return []
    free = [column for column in columns if column not in roles]
    roles |= {column: "trained" for column in free if plain_name(column) in TRAINED}
    if kind != "preference" and "label" not in roles.values():
        heeded = RATINGS if kind == "text" else LABELS
        roles |= {column: "label" for column in free if plain_name(column) in heeded}
    return [Layout(kind, roles, tuple(column for column in free if plain_name(column) in MEDIA))]


def check_named(name: str, columns: Iterable[str], asked: Mapping[str, str]) -> None:
    """Raise UserError for a column that ``--columns`` names and no row of the data has."""
    strange = next((each for each in asked.items() if meant(each[1], columns) is None), None)
    if strange is not None:
        role, column = strange
        there = ", ".join(columns)
        raise UserError(f"{name} has no column {column!r}, which --columns names as {role}: it has {there}.")


def meant(column: str, columns: Iterable[str]) -> str | None:
    """The one of ``columns`` that a name stands for: itself, or the first that differs in case and spaces alone."""
    if column in columns:
        return column
    return next((each for each in columns if plain_name(each) == plain_name(column)), None)


def understood(columns: list[str]) -> bool:
    """Whether a table with these columns can be trained on."""
    return any(layout.kind != "preference" for layout in layouts(tuple(columns), Reading()))


class UnknownColumns(UserError):
    """A source's columns are not understood. ``guess`` gives some of ``columns`` a role, to be corrected.

    ``on_page`` is the message for the page, where roles are chosen rather than written.
    """

    def __init__(self, message: str, on_page: str, columns: list[str], guess: dict[str, str]) -> None:
        super().__init__(message)
        self.on_page, self.columns, self.guess = on_page, columns, guess


GUESSES = {
    "question": (*QUESTIONS, "ask", "request", "problem", "title", "source", "article", "input", "sentence", "text"),
    "answer": (*ANSWERS, "solution", "target", "summary", "label", "translation", "result", "code", "text"),
    "context": (*CONTEXTS, "passage", "background", "document"),
}


def guess_roles(columns: list[str]) -> dict[str, str]:
    """Which columns may be question, answer and context, by words in their names."""
    found: dict[str, str] = {}
    for role, words in GUESSES.items():
        free = [column for column in columns if column not in found]
        chosen = next((column for word in words for column in free if word in plain_name(column)), None)
        if chosen is not None:
            found[chosen] = role
    return found


def no_columns(name: str, columns: list[str], reading: Reading) -> UserError:
    """The error for a source of which nothing is understood."""
    shown = Path(name).name if kind_of(Path(name)) is not None else name
    have = ", ".join(columns)
    if reading.preference:
        return UnknownColumns(
            f"{shown} has the columns {have}: preference training needs chosen and rejected, and a prompt (or both as "
            "whole conversations); name others with --columns question=COLUMN,chosen=COLUMN,rejected=COLUMN.",
            f"{shown} has the columns {have}: preference training needs chosen and rejected answers beside a prompt.",
            columns,
            {},
        )
    choose = "say below which column is the question and which its answer, or which holds messages or a text"
    if reading.columns:
        missing = [column for column in reading.columns.values() if meant(column, columns) is None]
        told = f"lacks {', '.join(missing)}" if missing else "needs question and answer, messages, or text"
        message = f"{shown} has the columns {have}: --columns {told}."
        lacking = f"not {', '.join(missing)}, as “Columns by role” says" if missing else "those named are not enough"
        on_page = f"{shown} has the columns {have}, {lacking}: {choose}."
    else:
        message = (
            f"{shown} has no usable columns ({have}): it needs a question and its answer (such as instruction/output, "
            "question/answer, prompt/completion), messages, conversations or text; name others with "
            "--columns question=COLUMN,answer=COLUMN, and look whether the first line is a header."
        )
        on_page = f"{shown} has no columns that are understood ({have}): {choose}, and look whether line 1 is a header."
    return UnknownColumns(message, on_page, columns, guess_roles(columns))
