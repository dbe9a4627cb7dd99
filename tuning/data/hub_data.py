"""Data sets of the Hub: ``OWNER/NAME``, or ``OWNER/NAME?config=CONFIG&split=SPLIT`` where there are several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tuning.data.place import EMBEDDED
from tuning.data.reading.arrow_rows import rows_of_batch
from tuning.data.reading.readers import rows_per_chunk
from tuning.data.reading.records import Record
from tuning.data.sources import REVISION_DIGITS
from tuning.errors import UserError
from tuning.hub_errors import hub_errors
from tuning.quiet import quiet

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset


@dataclass(frozen=True)
class HubName:
    """A data set of the Hub, and which of its configurations and splits; empty for the only one and for all."""

    data: str
    config: str = ""
    split: str = ""


@dataclass(frozen=True)
class HubData:
    """The rows of a data set, its commit, and what must be said of how it was read."""

    table: Dataset
    revision: str
    notes: list[str] = field(default_factory=list)


def parse(name: str) -> HubName:
    """A data set by its name. Raises UserError for options that it does not have."""
    data, _, options = name.partition("?")
    given: dict[str, str] = {}
    for option in filter(None, options.split("&")):
        key, _, value = option.partition("=")
        if key not in ("config", "split") or key in given or not value:
            raise UserError(f"After the ? of {data} come config=CONFIG and split=SPLIT, each once, and nothing else.")
        given[key] = value
    return HubName(data, given.get("config", ""), given.get("split", ""))


def load(name: str) -> HubData:
    """The rows of a data set, all splits together unless its name gives one. Raises UserError if it cannot be had."""
    from datasets import Dataset, concatenate_datasets, load_dataset

    asked = parse(name)
    found = quietly(lambda: load_dataset(asked.data, asked.config or None, split=asked.split or None), asked.data)
    notes = []
    if not isinstance(found, Dataset):
        if len(found) > 1:
            told = ", ".join(found)
            notes.append(f"Its splits {told} are put together: {asked.data}?split={next(iter(found))} names one.")
        splits = list(found.values())
        found = quietly(lambda: concatenate_datasets(splits), asked.data)
    return HubData(found, revision_of(name), notes)


def batches_of(table: Dataset) -> Iterator[pyarrow.RecordBatch]:
    """The rows of a data set, which lies in a memory-mapped file, in small pieces."""
    rows = rows_per_chunk(table.data.nbytes / max(1, len(table)))
    return (batch for chunk in table.with_format("arrow").iter(rows) for batch in chunk.to_batches())


def rows_of(name: str, table: Dataset) -> Iterator[Record]:
    """The rows of a data set."""
    read = 0
    for batch in batches_of(table):
        yield from rows_of_batch(name, batch, read)
        read += batch.num_rows


def revision_of(name: str) -> str:
    """The commit of a data set, or '' where the Hub cannot be asked (the data then comes from the cache)."""
    from huggingface_hub import HfApi

    try:
        return (HfApi().dataset_info(parse(name).data, timeout=10).sha or "")[:REVISION_DIGITS]
    except hub_errors():
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
        if "onfig name is missing" in reason or "onfig is missing" in reason:
            reason = (
                f"it has several configurations: name one, as in {name}?config=CONFIG. {' '.join(str(error).split())}"
            )
        if type(error).__name__ == "DatasetNotFoundError":
            reason = "the Hub knows no such data set, or it is private or out of reach"
        raise UserError(f"The data source {name} cannot be read: {reason}") from error
