"""One survey as it stands, and as it is kept when it is over: what visitors may see of it, and its file."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from eval_prompts.models.adapters import public_name
from eval_prompts.surveys import texts
from eval_prompts.tasks.catalogue import all_tasks
from tuning.errors import UserError
from tuning.files import data_root, first_line, write_json

log = logging.getLogger(__name__)

Kind = Literal["set", "curve"]
State = Literal["running", "finished", "stopped", "failed"]
FAILED = "It failed on the server, and its log says why: start it again."
WITHHELD = "The questions are hidden from visitors, so what tells of them is left out."
FAILED_HIDDEN = "It failed, and why is told to the server's owner: it may quote questions."
SAID_TO_ALL = (FAILED, texts.CHANGED)
"""Reasons of a failure that quote nothing."""
TELLING = ("most_changed_questions", "most_changed_tokens", "ends_that_rose", "skipped")
"""Figures that quote questions or answers."""


@dataclass
class Survey:
    """One run: what is measured over what, how far it is, and its result once there is one.

    ``hidden`` is whether visitors may not read the questions; ``details`` are notes that tell of their source.
    """

    name: str
    kind: Kind
    about: str
    adapter: str
    hidden: bool = False
    state: State = "running"
    done: int = 0
    total: int = 0
    words: str = "beginning"
    notes: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    result: dict[str, Any] | None = None
    problem: str = ""
    began: float = field(default_factory=time.time)
    models: str = ""
    """Tells the models of a curve, the adapter as trained, from all others."""

    def view(self, everything: bool) -> dict[str, Any]:
        """For page and scripts; hidden questions, and where they are from, are for the owner alone (``everything``)."""
        told = {name: value for name, value in vars(self).items() if name not in ("details", "models")}
        if everything or not self.hidden:
            return told | {"notes": [*self.details, *self.notes]}
        if self.result is not None:
            told["result"] = {name: value for name, value in self.result.items() if name not in TELLING}
        if self.state == "failed" and self.problem not in SAID_TO_ALL:
            told["problem"] = FAILED_HIDDEN
        return told | {"notes": [*self.notes, WITHHELD]}


def folder() -> Path:
    """Where surveys that are over are kept."""
    return data_root() / "surveys"


def kept() -> list[Path]:
    """The files of surveys, newest first."""
    return sorted(folder().glob("*.json"), reverse=True) if folder().is_dir() else []


def keep(survey: Survey) -> None:
    """Write a survey that is over to its file, in one move; where that fails, its notes say so."""
    try:
        folder().mkdir(parents=True, exist_ok=True)
        write_json(folder() / f"{survey.name}.json", vars(survey))
    except (OSError, ValueError) as error:
        log.error("A survey was not kept", exc_info=error)
        survey.notes.append(f"It was not kept on disk ({getattr(error, 'strerror', None) or first_line(error)}).")


def read(file: Path) -> Survey:
    """A survey from its file. Raises UserError for a file that is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        survey = Survey(**content)
        return survey if "details" in content else of_before(survey)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"The survey {file.stem} cannot be read.") from error


def of_before(survey: Survey) -> Survey:
    """A survey whose file is from before it said of which set visitors may read: open where its questions are the
    held-out rows, or those of a task that is listed and shown. Else what tells of its source is the owner's alone."""
    about = survey.about
    named = [task.show for task in all_tasks()[0] if task.words == about]
    if not survey.hidden and (about == texts.HELD_OUT or (named and all(named))):
        return survey
    return replace(survey, about=public_name(about), hidden=True, details=survey.notes, notes=[])


def read_or_log(file: Path) -> Survey | None:
    """A survey from its file; None, and a word in the log, for a file that is none."""
    try:
        return read(file)
    except UserError as error:
        log.error("%s", error, exc_info=error)
        return None


def line(file: Path) -> dict[str, Any] | None:
    """A kept survey in one line, without its result; None, and a word in the log, for a file that is none. Raises
    OSError where the file cannot be reached."""
    try:
        survey = read(file)
    except UserError as error:
        log.error("%s", error, exc_info=error)
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None
        return None
    return {key: getattr(survey, key) for key in ("name", "kind", "about", "adapter", "state", "began")}
