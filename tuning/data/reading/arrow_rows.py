"""Arrow chunks (Parquet files, tables, Hub data sets) as rows: numbers and dates as text, nested values as they are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from tuning.data.reading.values import Spelled
from tuning.errors import UserError

if TYPE_CHECKING:
    import pyarrow

LISTS = ("list", "large_list", "fixed_size_list", "list_view", "large_list_view")
"""The kinds of lists, as pyarrow calls them."""


def rows_of_batch(name: str, batch: pyarrow.RecordBatch, before: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a chunk, numbered on from ``before``. Raises UserError naming row and column of text that is none."""
    names = column_names(name, batch.schema)
    twice = next((column for column in names if names.count(column) > 1), None)
    if twice is not None:
        raise UserError(f"{name} has the column {twice!r} twice: rename one of them.")
    columns = [cells(name, batch.column(at), column, before) for at, column in enumerate(names)]
    for number, values in enumerate(zip(*columns, strict=True), start=before + 1):
        yield number, dict(zip(names, values, strict=True))


def column_names(name: str, schema: pyarrow.Schema) -> list[str]:
    """The columns' names. Raises UserError if one is no text, as in a damaged file."""
    try:
        return list(schema.names)
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is malformed: a column's name is not UTF-8.") from error


def cells(name: str, column: pyarrow.Array, title: str, before: int) -> list[Any]:
    """A column as :func:`written` has it. Raises UserError naming the row of what cannot be written."""
    from pyarrow import ArrowException

    try:
        return written(column)
    except UnicodeDecodeError as error:
        raise not_text(name, column, title, before) from error
    except (ArrowException, OverflowError, ValueError) as error:
        raise unreadable(name, column, title, before) from error


def written(column: pyarrow.Array) -> list[Any]:
    """A column as Python values, scalars other than text and truth as they are written, also within lists and objects.

    Raises UnicodeDecodeError for text that is not UTF-8, and ArrowException, OverflowError or ValueError for other
    values that have no text.
    """
    import pyarrow
    from pyarrow import compute, types

    kind = column.type
    if types.is_dictionary(kind):
        return written(column.dictionary_decode())
    if types.is_struct(kind):
        return objects(column)
    if types.is_map(kind):
        return maps(column)
    if any(getattr(types, f"is_{name}")(kind) for name in LISTS):
        return lists(column)
    if types.is_run_end_encoded(kind):
        return written(compute.run_end_decode(column))
    if types.is_union(kind):
        members = (scalar.value for scalar in column)
        return [None if each is None else written(pyarrow.array([each.as_py()], each.type))[0] for each in members]
    if types.is_duration(kind):
        return [None if value is None else timedelta() for value in column.cast("int64").to_pylist()]
    if types.is_temporal(kind) and not types.is_date(kind):
        return temporal(column)
    values: list[Any] = column.to_pylist()
    if types.is_float16(kind) or types.is_float32(kind):
        import numpy

        narrow = numpy.float16 if types.is_float16(kind) else numpy.float32
        return [None if value is None or value != value else Spelled(str(narrow(value))) for value in values]
    if types.is_floating(kind):
        return [None if value is None or value != value else Spelled(repr(value)) for value in values]
    if types.is_decimal(kind):
        return [None if value is None else Spelled(format(value, "f")) for value in values]
    if types.is_integer(kind) or types.is_date(kind):
        return [None if value is None else Spelled(value) for value in values]
    return values


def objects(column: pyarrow.StructArray) -> list[Any]:
    """Objects as dictionaries."""
    names = [field.name for field in column.type]
    if len(set(names)) < len(names):
        raise ValueError("a key that stands twice in one object")
    if not names:
        return list(column.to_pylist())
    filled = column.is_valid().to_pylist()
    members = zip(*map(written, column.flatten()), strict=True)
    return [
        dict(zip(names, values, strict=True)) if there else None for there, values in zip(filled, members, strict=True)
    ]


def maps(column: pyarrow.MapArray) -> list[Any]:
    """Maps as dictionaries. Raises ValueError if a key stands twice in one."""
    import pyarrow

    parts = [pyarrow.field("key", column.type.key_type, nullable=False), pyarrow.field("value", column.type.item_type)]
    found = [
        None if members is None else {member["key"]: member["value"] for member in members}
        for members in lists(column.cast(pyarrow.list_(pyarrow.struct(parts))))
    ]
    if any(len(each or ()) < len(pairs or ()) for each, pairs in zip(found, column.to_pylist(), strict=True)):
        raise ValueError("a key that stands twice in one object")
    return found


def lists(column: pyarrow.ListArray) -> list[Any]:
    """Lists as lists."""
    from pyarrow import compute

    lengths = compute.list_value_length(column).to_pylist()
    items = iter(written(column.flatten()))
    filled = column.is_valid().to_pylist()
    return [list(islice(items, length)) if there else None for there, length in zip(filled, lengths, strict=True)]


def temporal(column: pyarrow.Array) -> list[Any]:
    """Times as text: whole seconds without a fraction."""
    texts = column.cast("string").to_pylist()
    if any(text is not None and text.startswith("<") for text in texts):
        raise ValueError("out of range")  # pyarrow writes "<value out of range: …>"
    return [None if text is None else Spelled(whole(text)) for text in texts]


def whole(text: str) -> str:
    """A time without a fraction of zeros."""
    head, dot, rest = text.partition(".")
    fraction, mark = (rest[:-1], "Z") if rest.endswith("Z") else (rest, "")
    return head + mark if dot and not fraction.strip("0") else text


def unreadable(name: str, column: pyarrow.Array, title: str, before: int) -> UserError:
    """The error for a column with a date or another value that cannot be written as text."""
    told = f"the column {title!r} ({column.type}) holds a value that cannot be written as text: make it text"
    if len(column) == 1:
        return UserError(f"{name} is malformed in row {before + 1}: {told}.")
    for at in range(len(column)):
        try:
            cells(name, column.slice(at, 1), title, before + at)
        except UserError as error:
            return error
    return UserError(f"{name} is malformed: {told}.")


def not_text(name: str, column: pyarrow.Array, title: str, before: int) -> UserError:
    """The error for a column of text that is not UTF-8."""
    for at in range(len(column)):
        try:
            column[at].as_py()
        except UnicodeDecodeError:
            return UserError(f"{name} is malformed in row {before + at + 1}: the column {title!r} is not UTF-8.")
    return UserError(f"{name} is malformed: the column {title!r} is not UTF-8.")
