"""Rows of a file as a stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Record = tuple[int, Mapping[str, Any]]
"""A row's line (its number, from 1, in a Parquet file, a table, or a JSON text in one line) and its columns."""


@dataclass
class Records:
    """A file's rows as a stream. ``notes`` says how it is read, where that is not plain; ``ignored`` names what stands
    beside the rows. Both are complete once the last row was read."""

    rows: Iterator[Record]
    notes: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
