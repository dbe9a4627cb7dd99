"""Files of questions that came through the page: kept for a while under the data folder, each by a name of its own."""

from __future__ import annotations

import csv
import io
import json
import re
import secrets
import shutil
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from eval_prompts.tasks.questions import NAMES
from eval_prompts.tasks.tables import ENDINGS, Table, is_table, read_table
from tuning.errors import UserError
from tuning.files import data_root

MOST = 30
"""Files that are kept; a task that is saved holds its questions itself."""
PASTED = ".txt"
PLACE = re.compile(r"[0-9a-f]{16}/[\w-][\w.-]*")
LONGEST_NAME = 80
SEPARATORS = ",;\t|"
LONGEST_HEADER = 40


def folder() -> Path:
    """Where they lie."""
    return data_root() / "tasks" / "uploads"


def keep(sent: Path, received_in: Path) -> str:
    """Move a file that the web server has received to the others, and tell by which name it is found again.

    A text file is what was pasted: one question a line, a table with a header, or JSON. Raises UserError for a file
    that was not uploaded, or is of another kind, and for a full disk.
    """
    place = sent.resolve()
    if not place.is_file() or not place.is_relative_to(received_in.resolve()):
        raise UserError("That file was not uploaded: choose it again.")
    if not is_table(place) and place.suffix.lower() != PASTED:
        place.unlink(missing_ok=True)
        raise UserError(f"{place.name} is not a file of questions: use one of {', '.join(ENDINGS)}.")
    try:
        target = new_place(place.name)
        if place.suffix.lower() == PASTED:
            text = received(place, received_in)
            ending, content = pasted(text)
            target = target.with_suffix(ending)
            target.write_text(content, encoding="utf-8", newline="")
        else:
            shutil.move(place, target)
    except OSError as error:
        raise UserError(f"{place.name} cannot be kept ({error.strerror}): free some space.") from error
    return f"{target.parent.name}/{target.name}"


def received(sent: Path, received_in: Path) -> str:
    """The text of a task file that the web server has received, which goes. Raises UserError for a file that was not
    uploaded, or holds no text."""
    place = sent.resolve()
    if not place.is_file() or not place.is_relative_to(received_in.resolve()):
        raise UserError("That file was not uploaded: choose it again.")
    try:
        return place.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The task file {place.name} cannot be read: {error}.") from None
    finally:
        place.unlink(missing_ok=True)


def keep_rows(rows: Iterable[Mapping[str, Any]], name: str) -> str:
    """Keep rows as a file of questions, and tell by which name it is found again. Raises UserError for a full disk."""
    try:
        target = new_place(f"{name}.jsonl")
        target.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    except OSError as error:
        raise UserError(f"The questions cannot be kept ({error.strerror}): free some space.") from error
    return f"{target.parent.name}/{target.name}"


def new_place(name: str) -> Path:
    """A path for another file; the oldest ones go."""
    kept = sorted(folder().glob("*"), key=lambda path: path.stat().st_mtime)
    for old in kept[: max(0, len(kept) - MOST + 1)]:
        shutil.rmtree(old, ignore_errors=True)
    own = folder() / secrets.token_hex(8)
    own.mkdir(parents=True)
    plain = re.sub(r"[^\w.-]+", "_", name).lstrip(".-")
    return own / (plain[-LONGEST_NAME:].lstrip(".-") or "questions")


def find(name: str) -> Path:
    """The file of that name. Raises UserError if there is none any more."""
    path = folder() / name
    if not PLACE.fullmatch(name) or not path.is_file():
        raise UserError("The questions are no longer there: give them again.")
    return path


def table_of(name: str) -> Table:
    """The rows of the file of that name. Raises UserError for what is wrong with it."""
    path = find(name)
    return _read(path)


@lru_cache(maxsize=4)
def _read(path: Path) -> Table:
    return read_table(path)


def pasted(text: str) -> tuple[str, str]:
    """What was pasted as the ending and the content of a file: JSON, a table with a header, or one question a line."""
    first = next((line.strip() for line in text.split("\n") if line.strip()), "")
    if first.startswith("["):
        return ".json", text
    if first.startswith("{"):
        return ".jsonl", text
    separator = max(SEPARATORS, key=first.count)
    if first.lower() == "question" or is_pasted_table(text, separator):
        return (".tsv" if separator == "\t" else ".csv"), text
    lines = [line.strip() for line in text.split("\n")]
    rows = [json.dumps({"question": line}, ensure_ascii=False) if line else "" for line in lines]
    return ".jsonl", "\n".join(rows)


def is_pasted_table(text: str, separator: str) -> bool:
    """Whether the first line is a header: it names a part of a question, or every line has as many cells as it and it
    has short names where questions have sentences."""
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True) if any(row)]
    except csv.Error:
        rows = list(csv.reader([text.lstrip().split("\n", 1)[0]], delimiter=separator))
    header = [cell.strip() for cell in rows[0]] if rows else []
    if len(header) < 2:
        return False
    known = {name for names in NAMES.values() for name in names}
    if known & {cell.lower() for cell in header}:
        return True
    names = all(0 < len(cell) <= LONGEST_HEADER and not cell.endswith((".", "?", "!", ":")) for cell in header)
    return names and len(set(header)) == len(header) and len(rows) > 1 and {len(row) for row in rows} == {len(header)}
