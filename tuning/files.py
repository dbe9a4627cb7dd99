"""Where the app keeps its files, how a file or folder is replaced in one move, and two small tests of texts that every
room needs: the first line of an error, and whether a name can be one of the Hub's."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DATA_VARIABLE = "LORA_LENS_DATA"
REPLACE_ATTEMPTS = 5
LFS_MARK = b"version https://git-lfs"
"""How a pointer of Git LFS begins, which lies where the file itself was not fetched."""
HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)


def data_root() -> Path:
    """Where runs and votes are kept: LORA_LENS_DATA, or the user's data folder."""
    if os.environ.get(DATA_VARIABLE):
        return Path(os.environ[DATA_VARIABLE]).expanduser()
    from platformdirs import user_data_dir

    return Path(user_data_dir("lora-lens", appauthor=False))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write a file or folder to; it takes ``path``'s place in one move once the block is
    over, so that a reader sees all of it or what was there before. What is half written goes when the block fails.

    Raises OSError if the disk is full or the place cannot be written to. A folder does not replace a folder that holds
    something: that is :func:`replace_folder`.
    """
    fresh = path.with_name(f".{path.name}.new")
    remove(fresh)
    try:
        yield fresh
        fresh.replace(path)
    except BaseException:
        remove(fresh)
        raise


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file (text in UTF-8) so that a reader sees all of it or what was there before. Raises OSError."""
    with replacing(path) as fresh:
        fresh.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, content: Any, indent: int | None = None) -> None:
    """Write JSON and a line's end as :func:`write_whole` does. Raises OSError, and ValueError for NaN or infinity."""
    write_whole(path, json.dumps(content, indent=indent, allow_nan=False) + "\n")


def replace_folder(fresh: Path, folder: Path) -> None:
    """Put ``fresh`` where ``folder`` is; a crash in between leaves one of both under a name that
    :func:`recover_folder` looks for.

    Another process may find the old folder set aside and put it back (``recover_folder``) before the new one is there:
    then it is set aside once more.
    """
    old = _set_aside(folder)
    for attempt in range(REPLACE_ATTEMPTS):
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        try:
            fresh.rename(folder)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or attempt == REPLACE_ATTEMPTS - 1:
                raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """As :func:`replacing`, for a folder whose place another one may hold already: see :func:`replace_folder`."""
    fresh = folder.with_name(f".{folder.name}.new")
    remove(fresh)
    try:
        yield fresh
        replace_folder(fresh, folder)
    except BaseException:
        remove(fresh)
        raise


def recover_folder(folder: Path) -> None:
    """Finish a replacement that a crash interrupted. Does nothing where the writer of the new folder was faster."""
    old = _set_aside(folder)
    if old.exists() and not folder.exists():
        try:
            old.rename(folder)
        except OSError:
            if not folder.exists():
                raise


def _set_aside(folder: Path) -> Path:
    return folder.with_name(folder.name + ".old")


def remove(path: Path) -> None:
    """Remove a file or a folder with all it holds, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def is_full(error: OSError) -> bool:
    """Whether what failed found no room left on the disk, or in its user's share of it."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def first_line(error: BaseException | str) -> str:
    """The first line of an error's text that says something, and the next where it announces one, or the error's
    name."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1]) if lines else type(error).__name__


def without_folder(place: str) -> str:
    """A setting that may be a file, as people read it: of a whole path the file's name."""
    return Path(place).name if Path(place).is_absolute() else place


def named_line(error: BaseException) -> str:
    """The error's name and the first line of its text: ``ValueError: not a number``."""
    name, line = type(error).__name__, first_line(error)
    return name if line == name else f"{name}: {line}"


def is_hub_name(name: str) -> bool:
    """Whether ``name`` can only be one of the Hub's, USER/NAME. A relative path such as ``models/mine`` looks the same:
    it counts as a path where that folder exists."""
    return HUB_NAME.fullmatch(name) is not None and not Path(name).exists()
