"""From a data source by its name to questions with answers and conversations."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tuning.data.chat import PLAIN_FORMAT, PromptFormat
from tuning.data.options import Reading
from tuning.data.own_sets import OWN_SETS
from tuning.data.place import EMBEDDED_SETS
from tuning.data.reading.bundles import entries
from tuning.data.reading.layouts import plain_name
from tuning.data.reading.records import Record
from tuning.data.reading.row_maker import RowMaker
from tuning.data.reading.text_files import kind_of
from tuning.data.rows import LeftOut, RawRow
from tuning.errors import UserError

EMBEDDED_FOLDER = Path(__file__).parents[1] / "datasets"
REVISION_DIGITS = 12
SPLIT_COLUMNS = frozenset(("split", "data_split", "dataset_split", "subset", "partition", "fold"))
PLAIN_READING = Reading()


@dataclass
class Source:
    """What a source holds. ``unusable`` counts, by reason, what could not even be read as a question with an answer;
    ``used`` names its columns with their roles, ``unused`` the others."""

    name: str
    rows: list[RawRow]
    revision: str = ""
    unusable: LeftOut = field(default_factory=LeftOut)
    used: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    format: PromptFormat = PLAIN_FORMAT


def source_of(
    name: str,
    records: Iterator[Record],
    reading: Reading,
    revision: str,
    prompt_format: PromptFormat,
    empty: UserError | None = None,
) -> Source:
    """All rows of a stream. Raises UserError if it holds none, or none with columns that are understood."""
    maker = RowMaker(name, reading)
    rows = list(maker.rows(records))
    maker.count_beside()
    if not maker.read:
        raise empty or UserError(f"The data source {name} holds no rows.")
    unused = maker.unused()
    return Source(name, rows, revision, maker.left_out, maker.used, unused, split_words(unused), prompt_format)


def split_words(unused: Iterable[str]) -> list[str]:
    """What must be said of columns that give rows a split: it is not theirs here."""
    return [
        f"The column {column!r} does not decide the split, the text of the question does: a row marked for a test may "
        "be trained."
        for column in unused
        if plain_name(column) in SPLIT_COLUMNS
    ]


def format_of(name: str) -> PromptFormat:
    """The prompt format of a source's rows: that of its task for a set of ours, else none."""
    return OWN_SETS[name].format if name in OWN_SETS else PLAIN_FORMAT


def local_file(name: str) -> Path | None:
    """The file of a source's name; None if it names a Hub data set. Raises UserError if it can be neither."""
    if name in EMBEDDED_SETS:
        return EMBEDDED_FOLDER / f"{name}.jsonl"
    if "://" in name:
        raise UserError(
            f"{name.partition('://')[0]}:// is not read: download the file, or name a Hub data set (OWNER/NAME)."
        )
    path = Path(name).expanduser()
    if path.exists() or kind_of(path) is not None:
        return path
    on_hub = name.partition("?")[0]
    if on_hub.count("/") == 1 and not name.startswith((".", "/", "~")):
        return None
    embedded = ", ".join(EMBEDDED_SETS)
    raise UserError(
        f"There is no data source {on_hub!r}: name {embedded}, a file, a Hub data set (OWNER/NAME, with "
        "?config=CONFIG&split=SPLIT where it has several), or a table (duckdb:FILE?table=TABLE)."
    )


def file_revision(path: Path) -> str:
    """The first digits of the SHA-256 of a file's bytes; of a folder, of the names and bytes of its files."""
    if path.is_dir():
        found = hashlib.sha256()
        for name in sorted(entries(path)):
            found.update(f"{len(name)}:{name}{file_revision(path / name)}".encode("utf-8", "surrogateescape"))
        return found.hexdigest()[:REVISION_DIGITS]
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:REVISION_DIGITS]
