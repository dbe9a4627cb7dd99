"""What is known of the data sets that LoRA Lens itself speaks of, whose rows bring no prompt of their own."""

from __future__ import annotations

from dataclasses import dataclass

from tuning.data.chat import PYTHON_FORMAT, PromptFormat
from tuning.data.place import BOOKINGS, EMBEDDED, HUB_DATA, QUERIES


@dataclass(frozen=True)
class OwnSet:
    """The prompt format of a set's rows, and for a model card what they are in words and as tags."""

    format: PromptFormat
    about: str
    tags: tuple[str, ...]


PYTHON = OwnSet(PYTHON_FORMAT, "Python questions, each answered in one short block of code", ("python", "code"))
OWN_SETS = {
    EMBEDDED: PYTHON,
    HUB_DATA: PYTHON,
    BOOKINGS: OwnSet(
        PromptFormat(
            "Read the message and answer with one JSON object and nothing else: "
            '{"name": text, "guests": number, "day": day of the week, "time": "HH:MM", "outside": true or false}'
        ),
        "guests' messages, each answered with one JSON object",
        ("json",),
    ),
    QUERIES: OwnSet(
        PromptFormat("You write SQLite. Answer with one SELECT statement and nothing else.", "{input}\n{question}"),
        "questions about a table, each answered with one SELECT statement",
        ("sql", "code"),
    ),
}
