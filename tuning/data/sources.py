"""From a data source by its name to questions with answers and conversations."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.data.chat import PLAIN_FORMAT, PYTHON_FORMAT, PromptFormat
from tuning.data.options import Reading
from tuning.data.place import EMBEDDED, PYTHON_SOURCES
from tuning.data.reading.arrow_rows import rows_of_batch
from tuning.data.reading.readers import rows_per_chunk
from tuning.data.reading.records import Record
from tuning.data.reading.row_maker import RowMaker
from tuning.data.reading.text_files import kind_of
from tuning.data.rows import LeftOut, RawRow
from tuning.errors import UserError
from tuning.quiet import quiet

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset

EMBEDDED_FILE = Path(__file__).parents[1] / "datasets" / "python_qa.jsonl"
REVISION_DIGITS = 12
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
    if not maker.read:
        raise empty or UserError(f"The data source {name} holds no rows.")
    return Source(name, rows, revision, maker.left_out, maker.used, maker.unused(), format=prompt_format)


def python_format(name: str) -> PromptFormat:
    """The prompt format of a source's rows: that of the Python task for its own sets, else none."""
    return PYTHON_FORMAT if name in PYTHON_SOURCES else PLAIN_FORMAT


def local_file(name: str) -> Path | None:
    """The file of a source's name; None if it names a Hub data set. Raises UserError if it can be neither."""
    if name == EMBEDDED:
        return EMBEDDED_FILE
    path = Path(name).expanduser()
    if path.exists() or kind_of(path) is not None:
        return path
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return None
    raise UserError(
        f"There is no data source {name.partition('?')[0]!r}: name {EMBEDDED}, a file, a Hub data set (OWNER/NAME), or "
        "a table (duckdb:FILE?table=TABLE)."
    )


def file_revision(path: Path) -> str:
    """The first digits of the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:REVISION_DIGITS]


def load_from_hub(name: str) -> tuple[Dataset, str]:
    """All splits of a Hub data set as one table, and its revision. Raises UserError if it cannot be had."""
    from datasets import concatenate_datasets, load_dataset

    splits = quietly(lambda: load_dataset(name), name)
    return concatenate_datasets(list(splits.values())), hub_revision(name)


def dataset_batches(table: Dataset) -> Iterator[pyarrow.RecordBatch]:
    """The rows of a Hub data set, which lies in a memory-mapped file, in small pieces."""
    rows = rows_per_chunk(table.data.nbytes / max(1, len(table)))
    return (batch for chunk in table.with_format("arrow").iter(rows) for batch in chunk.to_batches())


def dataset_rows(name: str, table: Dataset) -> Iterator[Record]:
    """The rows of a Hub data set."""
    read = 0
    for batch in dataset_batches(table):
        yield from rows_of_batch(name, batch, read)
        read += batch.num_rows


def hub_revision(name: str) -> str:
    """The commit of a Hub data set, or '' where the Hub cannot be asked (the data then comes from the cache)."""
    from huggingface_hub import HfApi

    try:
        return (HfApi().dataset_info(name, timeout=10).sha or "")[:REVISION_DIGITS]
    except Exception:
        return ""


def quietly(load: Callable[[], Any], name: str) -> Any:
    """Call a loader of the ``datasets`` library without its bars; its errors become one line for the user."""
    import datasets  # noqa: F401, so that its bars are there to be switched off

    try:
        with quiet():
            return load()
    except (ConnectionError, TimeoutError) as error:
        raise UserError(f"The data set {name} could not be fetched: check the network, or use {EMBEDDED}.") from error
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if "corresponds to no data" in reason:
            reason = "it holds no rows"
        if type(error).__name__ == "DatasetNotFoundError":
            reason = "the Hub knows no such data set, or it is private or out of reach"
        raise UserError(f"The data source {name} cannot be read: {reason}") from error
