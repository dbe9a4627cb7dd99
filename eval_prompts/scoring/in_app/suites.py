"""Suites that came through the page: kept in the data folder for as long as scorings may need them."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from eval_prompts.judging.suite import load_suite
from tuning.errors import UserError
from tuning.files import data_root, write_whole


def folder() -> Path:
    """Where they lie, each in a folder that is called by its content."""
    return data_root() / "suites"


def keep(sent: Path, received_in: Path) -> tuple[str, int]:
    """Bring a suite that the web server has received to the others; by which name it is found, and how many questions
    it has. The same file again is the same suite. Raises UserError for what was not uploaded or is no suite, and for a
    full disk."""
    place = sent.resolve()
    if not place.is_file() or not place.is_relative_to(received_in.resolve()):
        raise UserError("That file was not uploaded: choose it again.")
    name = re.sub(r"[^\w.-]+", "_", place.name).lstrip(".-")[-80:] or "suite.jsonl"
    try:
        count = len(load_suite(place))
        content = place.read_bytes()
        target = folder() / hashlib.sha256(content).hexdigest()[:16] / name
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            write_whole(target, content)
    except OSError as error:
        raise UserError(f"{name} cannot be kept ({error.strerror}): free some space.") from error
    except UserError as error:
        raise UserError(str(error).replace(str(place), name)) from None
    finally:
        place.unlink(missing_ok=True)
    return f"{target.parent.name}/{target.name}", count


def find(name: str) -> Path:
    """The suite of that name among those that came through the page, else the file on this machine. A missing one is
    told where it is read."""
    path = folder() / name
    if re.fullmatch(r"[0-9a-f]{16}/[\w.-]+", name) and path.is_file():
        return path
    return Path(name).expanduser()
