"""Data files that were uploaded through the page: kept in a folder of their own under the data folder."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tuning.data.reading.text_files import kind_of, no_data_file
from tuning.errors import UserError
from tuning.files import data_root

MOST_FILES = 50


def folder() -> Path:
    """Where uploads lie."""
    return data_root() / "uploads"


def names() -> list[str]:
    """The files there are, newest first, as the form names them."""
    return [str(path) for path in sorted(kept(), key=lambda path: path.stat().st_mtime, reverse=True)]


def kept() -> list[Path]:
    """The files there are."""
    return [path for path in folder().glob("*") if kind_of(path) is not None] if folder().is_dir() else []


def keep(sent: Path, received_in: Path) -> Path:
    """Move a file that the web server has received into the uploads; a file of the same name is replaced.

    ``received_in`` is where the server puts what it receives: nothing else is taken. Raises UserError for another
    place or kind, for one file too many, and if the disk is full.
    """
    place = sent.resolve()
    if not place.is_file() or not place.is_relative_to(received_in.resolve()):
        raise UserError("That file was not uploaded: choose it again.")
    if kind_of(place) is None:
        place.unlink(missing_ok=True)
        raise no_data_file(place)
    target = folder() / (re.sub(r"[^\w.-]+", "_", place.name).lstrip(".") or f"data{place.suffix}")
    if len(kept()) >= MOST_FILES and not target.exists():
        place.unlink(missing_ok=True)
        raise UserError(f"{MOST_FILES} uploads are kept, and no more: delete some in {folder()}.")
    try:
        folder().mkdir(parents=True, exist_ok=True)
        shutil.move(place, target)
    except OSError as error:
        place.unlink(missing_ok=True)
        raise UserError(f"{target.name} cannot be kept ({error.strerror}): free some space.") from error
    return target
