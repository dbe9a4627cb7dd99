"""Missing values, merged cells and nested ones: what a cell holds is trained as it is written, or named."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from tests.tuning.data.test_as_written import loaded, pairs
from tuning.data.dataset import load

NAN = float("nan")
PAIR = {"question": "q", "answer": "a"}


@pytest.mark.parametrize("column", ["image", "messages", "history", "weight", "label", "conversation"])
def test_nan_is_a_missing_value_in_every_column(tmp_path, column):
    data = loaded(tmp_path, PAIR | {column: NAN})
    assert pairs(data) == [("q", "a")]
    assert not data.dropped


def test_messages_without_a_number_belong_to_no_conversation(tmp_path):
    rows = [
        {"conversation_id": identity, "message_type": kind, "message": kind}
        for identity in (NAN, 1)
        for kind in ("instruction", "output")
    ]
    data = loaded(tmp_path, *rows)
    assert pairs(data) == [("instruction", "output")]
    assert dict(data.dropped) == {"a message without a conversation_id": 2}


def test_merged_cells_give_each_of_their_rows_their_value(tmp_path):
    from openpyxl import Workbook

    book = Workbook()
    rows = [("context", "question", "answer"), ("C", "a", "1"), (None, "b", "2"), (), ("D", "c", "3"), (None, "d", "4")]
    for row in [*rows, (None, None, None), ("E", "both", None)]:
        book.active.append(row)
    for area in ("A2:A3", "B8:C8"):
        book.active.merge_cells(area)
    book.save(tmp_path / "b.xlsx")
    data = load(str(tmp_path / "b.xlsx"))
    assert pairs(data) == [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]
    assert [row.input for row in data.rows()] == ["C", "C", "D", ""]
    assert list(data.notes) == [
        "Merged cells whose value is used in every row that they span: 1.",
        "Merged cells that span columns, whose value is used in the first of them alone: 1.",
    ]
    assert dict(data.dropped) == {"empty answer": 1}


def test_a_workbooks_duration_is_no_text(tmp_path):
    from openpyxl import Workbook

    book = Workbook()
    for row in (("question", "answer"), ("a", timedelta(hours=26, minutes=30)), ("b", datetime(2024, 7, 16))):
        book.active.append(row)
    book.save(tmp_path / "b.xlsx")
    data = load(str(tmp_path / "b.xlsx"))
    assert pairs(data) == [("b", "2024-07-16")]
    assert dict(data.dropped) == {"the column 'answer' holds a duration, not text": 1}


def typed():
    """A value of each Arrow type that Python would spell otherwise, with its text."""
    import pyarrow

    return [
        (pyarrow.array([0.1], "float32"), "0.1"),
        (pyarrow.array([1e16], "float64"), "1e+16"),
        (pyarrow.array([Decimal("0.0000000")], pyarrow.decimal128(12, 7)), "0.0000000"),
        (pyarrow.array([datetime(2024, 7, 16, 9)], pyarrow.timestamp("ns")), "2024-07-16 09:00:00"),
        (pyarrow.array(["x"]).dictionary_encode(), "x"),
        (pyarrow.array([True]), "true"),
    ]


@pytest.mark.parametrize("at", range(6))
def test_a_value_is_spelled_alike_in_columns_and_in_messages(tmp_path, at):
    import pyarrow
    from pyarrow import parquet

    cell, text = typed()[at]
    parquet.write_table(pyarrow.table({"question": ["q"], "answer": cell}), tmp_path / "flat.parquet")
    assert pairs(load(str(tmp_path / "flat.parquet"))) == [("q", text)]
    said = pyarrow.StructArray.from_arrays(
        [pyarrow.array(["user", "assistant"]), cell.take([0, 0])], ["role", "content"]
    )
    whole = pyarrow.concat_arrays([said, said])
    for kind in (pyarrow.ListArray, pyarrow.LargeListArray):
        column = kind.from_arrays([0, 2, None, 4], whole)[
            1:
        ]  # a null, and a list that does not begin at the first item
        parquet.write_table(pyarrow.table({"messages": column}), tmp_path / "nested.parquet")
        data = load(str(tmp_path / "nested.parquet"))
        assert pairs(data) == [(text, text)]
        assert dict(data.dropped) == {"no messages": 1}


def test_a_nested_value_that_has_no_text_is_named_with_its_row(tmp_path):
    import pyarrow

    from tuning.errors import UserError

    far = pyarrow.array([0, 0, 0, 1 << 62], "int64").cast(pyarrow.timestamp("s"))
    said = pyarrow.StructArray.from_arrays([pyarrow.array(["user", "assistant"] * 2), far], ["role", "content"])
    table = pyarrow.table({"messages": pyarrow.ListArray.from_arrays([0, 2, 4], said)})
    with pyarrow.ipc.new_file(str(tmp_path / "r.arrow"), table.schema) as out:
        out.write_table(table)
    with pytest.raises(UserError, match=r"row 2: the column 'messages'"):
        load(str(tmp_path / "r.arrow"))


@pytest.mark.parametrize("spaced", [2, 60])
def test_a_line_of_csv_is_read_alike_wherever_it_stands(tmp_path, spaced):
    lines = [f'q{at},{" " if at == spaced else ""}"a{at}"' for at in range(2, 70)]
    path = tmp_path / "s.csv"
    path.write_text("\n".join(["question,answer", *lines]))
    data = load(str(path))
    assert pairs(data) == [(f"q{at}", f"a{at}") for at in range(2, 70)]
    assert list(data.notes) == ["Spaces between a separator and a quotation mark are left out."]


@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_zstd_files_of_lines_may_have_several_frames(tmp_path, kind, frames):
    import pyarrow

    lines = [json.dumps({"question": f"q{at}", "answer": "a"}) for at in range(4)]
    if kind == "csv":
        lines = ["question,answer", *(f"q{at},a" for at in range(4))]
    pieces = ["\n".join(lines) + "\n"] if frames == 1 else [line + "\n" for line in lines]
    packed = b"".join(pyarrow.compress(piece.encode(), codec="zstd", asbytes=True) for piece in pieces)
    (tmp_path / f"s.{kind}.zst").write_bytes(packed)
    assert pairs(load(str(tmp_path / f"s.{kind}.zst"))) == [(f"q{at}", "a") for at in range(4)]


def test_a_file_of_one_conversation_in_exchanges_is_one_row(tmp_path):
    first = {"system": "S", "input": "q", "output": "a"}
    path = tmp_path / "one.json"
    path.write_text(json.dumps({"conversation": [first, {"input": "q2", "output": "a2"}]}))
    data = load(str(path))
    (row,) = data.rows()
    assert [turn.text for turn in row.turns] == ["S", "q", "a", "q2", "a2"]
    assert "one conversation" in data.notes[0]
    path.write_text(json.dumps({"data": [first, {"input": "q2", "output": "a2"}]}))
    assert len(load(str(path))) == 2
