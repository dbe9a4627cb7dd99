"""Held-out questions to compare an artefact on: a run's own, or those of the built-in data."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from tuning.data.chat import Message, PromptFormat
from tuning.data.cleaning import Row, digest
from tuning.data.encoding import conversation
from tuning.data.place import EMBEDDED
from tuning.errors import UserError
from tuning.exports.kinds import QUESTIONS
from tuning.exports.subject import Subject

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """A question as a conversation, and the data's own answer where there is one."""

    name: str
    messages: tuple[Message, ...]
    gold: str = ""


def held_out(subject: Subject, most: int = QUESTIONS) -> tuple[list[Asked], str]:
    """At most ``most`` questions that the adapter was not trained on, chosen by their ids, and where they are from.

    Raises UserError if there are none at all.
    """
    source = str((subject.record.get("config") or {}).get("data") or "")
    if source:
        try:
            found, where = of_source(source, subject, most)
        except UserError as error:
            log.info("The adapter's own data cannot be read for its certificate: %s", error)
            where = f"the built-in Python questions, because the adapter's data cannot be read ({error})"
        else:
            if found:
                return found, where
            where = f"the built-in Python questions, because {Path(source).name} holds no usable held-out rows"
    else:
        where = "the built-in Python questions, because the adapter does not say what it was trained on"
    found, _ = of_source(EMBEDDED, subject, most)
    return found, where


def of_source(source: str, subject: Subject, most: int) -> tuple[list[Asked], str]:
    """Questions of the held-out splits of a data set. Raises UserError if it cannot be read."""
    from tuning.data import dataset

    config = subject.run.config() if subject.run else None
    if config is not None and source == config.data:
        rows = dataset.load(source, empty_input_only=config.empty_input_only, reading=config.reading)
    else:
        rows = dataset.load(source)
    for split in ("test", "validation"):
        held = rows.split(split)
        chosen = sorted(held, key=lambda row: digest("certificate", row.id))[:most]
        asked = [found for row in chosen if (found := as_asked(row, subject.prompt_format)) is not None]
        if asked:
            return asked, f"{len(asked)} of {len(held):,} {split} rows of {Path(source).name}"
    return [], source


def as_asked(row: Row, format: PromptFormat) -> Asked | None:
    """A row as a question, asked as it was trained; None for a text to be continued, which is no conversation."""
    if row.turns and row.turns[0].role == "text":
        return None
    messages, trained = conversation(row, format)
    return Asked(row.question[:80], tuple(messages[: trained[-1]]), messages[trained[-1]]["content"])
