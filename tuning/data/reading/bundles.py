"""Folders and zip archives of data files as one source: their files' rows one after the other."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory, gettempdir

from tuning.data.reading.records import Record, Records
from tuning.data.reading.text_files import endings, kind_of
from tuning.errors import UserError
from tuning.files import is_full

MOST_ENTRIES = 10_000
MOST_UNPACKED = 8 << 30
SHOWN = 5
DESCRIPTIONS = frozenset(
    ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "dataset-metadata.json", "state.json")
)
"""Files that tell of a data set, and hold no rows."""
LATER = (re.compile("val|dev|eval"), re.compile("test"))
Reader = Callable[[Path], Records]


def folder_rows(folder: Path, records: Records, read: Reader) -> Iterator[Record]:
    """The rows of all data files in a folder, numbered on from file to file. Raises UserError if it holds none."""
    names = chosen(folder.name, entries(folder), records)
    yield from numbered((read(folder / name) for name in names), records)


def zip_rows(path: Path, records: Records, read: Reader) -> Iterator[Record]:
    """The rows of all data files in an archive, numbered on; one file at a time lies unpacked on the disk.

    Raises UserError if it holds none, or is damaged, locked or too large.
    """
    with TemporaryDirectory() as folder, path.open("rb") as file:
        with intact(path.name):
            archive = zipfile.ZipFile(file)
            listed = [info for info in archive.infolist() if not info.is_dir()]
        infos = {info.filename: info for info in listed}
        if len(infos) < len(listed):
            raise UserError(f"{path.name} holds two files of one name: pack it again.")
        names = chosen(path.name, list(infos), records)
        if any(infos[name].flag_bits & 1 for name in names):
            raise UserError(f"{path.name} is locked with a password: unpack it.")
        if sum(infos[name].file_size for name in names) > MOST_UNPACKED:
            raise UserError(f"{path.name} holds more than {MOST_UNPACKED >> 30} GiB: unpack it.")
        yield from numbered((read(unpacked(archive, infos[name], Path(folder))) for name in names), records)


@contextmanager
def intact(name: str) -> Iterator[None]:
    """Raise UserError for an archive that is damaged, which shows itself in many ways, or that cannot be unpacked, and
    where the disk is full."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and is_full(error):
            raise UserError(
                f"The disk is full: free some space in {gettempdir()}, where {name} is unpacked."
            ) from error
        raise UserError(f"{name} is damaged ({type(error).__name__}): copy or pack it again, or unpack it.") from error


def unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path) -> Path:
    """A file of an archive, alone in a folder."""
    for earlier in folder.iterdir():
        earlier.unlink()
    target = folder / PurePosixPath(info.filename).name
    with intact(f"{info.filename} in the archive"), archive.open(info) as packed, target.open("wb") as file:
        shutil.copyfileobj(packed, file)
    return target


def entries(folder: Path) -> list[str]:
    """The files below a folder, by their paths in it. Raises UserError for a folder with very many."""
    found: list[str] = []
    for place, inner, names in os.walk(folder):
        inner[:] = [name for name in inner if not name.startswith(".")]
        found += [(Path(place) / name).relative_to(folder).as_posix() for name in names]
        if len(found) > MOST_ENTRIES:
            raise UserError(
                f"{folder.name} holds more than {MOST_ENTRIES:,} files: name one, or a folder of data alone."
            )
    return found


def chosen(name: str, found: list[str], records: Records) -> list[str]:
    """The data files among some, those of training first; what is read and what is not goes into the notes."""
    seen = [each for each in found if not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(each).parts)]
    data = sorted((each for each in seen if holds_rows(PurePosixPath(each))), key=lambda each: (order(each), each))
    if not data:
        raise UserError(f"{name} holds no data file: use some of {endings()}.")
    told = listing(data)
    if len(data) > 1:
        records.notes.append(
            f"The files {told} are put together, their rows numbered on and split as all others are. Name one of them "
            "to leave out the others."
        )
    else:
        records.notes.append(f"The rows are those of {told}.")
    others = sorted(set(seen) - set(data))
    if others:
        records.notes.append(f"Not read: {listing(others)}.")
    return data


def holds_rows(path: PurePosixPath) -> bool:
    """Whether a file of a bundle is a data file by its name."""
    return kind_of(Path(path)) not in (None, "zip") and path.name.lower() not in DESCRIPTIONS


def order(name: str) -> int:
    """0 for files of training rows and those that do not say, 1 for validation, 2 for test."""
    return next((at for at, words in enumerate(LATER, start=1) if words.search(name.lower())), 0)


def listing(names: list[str]) -> str:
    """Some names in words."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def numbered(files: Iterator[Records], records: Records) -> Iterator[Record]:
    """The rows of several files, numbered on; what is said of each file is said once."""
    number = 0
    for file in files:
        for _, row in file.rows:
            number += 1
            yield number, row
        records.notes += [note for note in file.notes if note not in records.notes]
        records.ignored += [name for name in file.ignored if name not in records.ignored]
