"""What a file says of its own rows is heeded, and a value that only looks like something else stays what it is."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from tuning.data.dataset import load
from tuning.data.options import Reading
from tuning.errors import UserError

GOOD = {"question": "fine?", "answer": "yes"}
SAID = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def loaded(tmp_path, *rows, **options):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load(str(path), reading=Reading(**options))


def pairs(data):
    return [(row.question, row.answer) for row in data.rows()]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": "q", "answer": "bad", "train": False}, "train is false: not to be trained"),
        ({"question": "q", "answer": "bad", "Weight": 0}, "Weight is 0: not to be trained"),
        ({"messages": SAID, "train": "no"}, "train is no: not to be trained"),
        ({"text": "bad", "weight": 0.0}, "weight is 0.0: not to be trained"),
        (
            {"messages": [{"user": "q", "assistant": "bad", "train": False}]},
            "no turn of the assistant is to be trained",
        ),
        ({"prompt": "q", "completion": "a", "label": None}, "the label is missing, so that the answer may be bad"),
        ({"prompt": SAID[:1], "completion": SAID[1:], "label": ""}, "the label is missing"),
        ({"question": "q", "answer": "a", "image": "cat.png"}, "an image, sound or film (the column 'image')"),
        ({"messages": SAID, "audios": ["a.wav"]}, "an image, sound or film (the column 'audios')"),
    ],
)
def test_a_row_that_is_not_to_be_trained_is_left_out_and_counted(tmp_path, row, reason):
    data = loaded(tmp_path, GOOD, row)
    assert pairs(data) == [("fine?", "yes")]
    (told,) = data.dropped
    assert told.startswith(reason)
    assert data.dropped.lines[told] == 2


@pytest.mark.parametrize("wanted", [{"train": True}, {"weight": 1}, {"weight": None}, {"train": ""}, {"images": []}])
def test_a_row_that_may_be_trained_is(tmp_path, wanted):
    data = loaded(tmp_path, {"question": "q", "answer": "a"} | wanted)
    assert pairs(data) == [("q", "a")]
    assert not data.dropped


def test_a_weight_that_is_none_is_counted_and_the_row_is_trained(tmp_path):
    data = loaded(tmp_path, {"question": "q", "answer": "a", "weight": 72})
    assert pairs(data) == [("q", "a")]
    assert dict(data.dropped) == {"weight is neither 0 nor 1 (the rows are trained)": 1}


@pytest.mark.parametrize(
    "answer",
    [
        '[{"from": "Berlin", "to": "Paris"}]',
        '[{"role": "assistant", "content": "Hello"}]',
        '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]',
    ],
)
def test_an_answer_that_is_json_is_trained_as_the_text_that_it_is(tmp_path, answer):
    for row in ({"question": "Write JSON.", "answer": answer}, {"prompt": "Write JSON.", "completion": answer}):
        assert [(row.answer, row.turns) for row in loaded(tmp_path, row).rows()] == [(answer, ())]
    (row,) = loaded(tmp_path, {"question": answer, "answer": "It holds messages."}).rows()
    assert row.question == answer
    listed = {"prompt": json.dumps(SAID[:1]), "completion": json.dumps(SAID[1:])}
    assert pairs(loaded(tmp_path, listed)) == [("q", "a")]


@pytest.mark.parametrize("name", ["History", "chat_history", "conversation-history", "previous_messages"])
@pytest.mark.parametrize("earlier", [[["q", "a"]], SAID, [{"user": "q", "assistant": "a"}], json.dumps([["q", "a"]])])
def test_what_went_before_is_used_however_it_is_spelled(tmp_path, name, earlier):
    (row,) = loaded(tmp_path, {"instruction": "and?", "output": "so", name: earlier}).rows()
    assert [turn.text for turn in row.turns] == ["q", "a", "and?", "so"]


def test_of_two_columns_for_one_thing_the_second_is_named_as_unused(tmp_path):
    data = loaded(tmp_path, GOOD | {"system": "s", "system_prompt": "other"})
    assert data.unused == ("system_prompt",)
    assert data.rows()[0].turns[0].text == "s"


def test_what_other_rows_use_and_a_row_does_not_is_counted(tmp_path):
    data = loaded(
        tmp_path, GOOD | {"context": "c"}, {"messages": SAID, "context": "lost"}, {"text": "t", "answer": "x"}
    )
    assert dict(data.dropped) == {
        "the column 'context' beside messages (not used in those rows)": 1,
        "the column 'answer' beside a text (not used in those rows)": 1,
    }
    assert set(data.dropped.lines.values()) == {2, 3}


@pytest.mark.parametrize(
    ("text", "rows", "noted"),
    [
        ('"He said, ""yes"" to me",  deep\nb, "x, y"\n', [('He said, "yes" to me', "  deep"), ("b", "x, y")], True),
        ('a,"f(x, ""y""):\n    pass"\nb,    return 1\n', [("a", 'f(x, "y"):\n    pass'), ("b", "    return 1")], False),
        ('"a, ""b"", c", "d ""e"", f"\n', [('a, "b", c', 'd "e", f')], True),
        ('5" disk, "a"\n', [('5" disk', "a")], True),
    ],
)
def test_spaces_go_between_a_separator_and_a_quotation_mark_alone(tmp_path, text, rows, noted):
    path = tmp_path / "spaced.csv"
    path.write_text("question,answer\n" + text)
    data = load(str(path))
    assert pairs(data) == rows
    assert bool(data.notes) is noted


def test_an_arrow_value_that_has_no_text_is_named_with_its_row(tmp_path):
    import pyarrow

    days, seconds = pyarrow.array([0, 1 << 30], "int32"), pyarrow.array([0, 1 << 62], "int64")
    for far in (days.cast("date32"), seconds.cast(pyarrow.timestamp("s"))):
        table = pyarrow.table({"question": ["a", "b"], "answer": far})
        with pyarrow.ipc.new_file(str(tmp_path / "r.arrow"), table.schema) as out:
            out.write_table(table)
        with pytest.raises(UserError, match=r"row 2: the column 'answer' \("):
            load(str(tmp_path / "r.arrow"))
    table = pyarrow.table({"question": ["a"], "answer": [timedelta(seconds=5)]})
    with pyarrow.ipc.new_stream(str(tmp_path / "d.arrow"), table.schema) as out:
        out.write_table(table)
    with pytest.raises(UserError, match="the column 'answer' holds a duration, not text"):
        load(str(tmp_path / "d.arrow"))


def test_a_column_of_splits_is_said_to_decide_nothing(tmp_path):
    data = loaded(tmp_path, GOOD | {"Split": "test"})
    assert data.unused == ("Split",)
    assert "The column 'Split' does not decide the split" in data.notes[0]


def test_messages_as_an_object_of_lists_are_read(tmp_path):
    data = loaded(tmp_path, {"conversations": {"from": ["human", "gpt"], "value": ["q", "a"]}})
    assert pairs(data) == [("q", "a")]


def test_one_conversation_of_parts_is_one_row(tmp_path):
    path = tmp_path / "one.json"
    contents = [{"role": "user", "parts": [{"text": "q"}]}, {"role": "model", "parts": [{"text": "a"}]}]
    path.write_text(json.dumps({"contents": contents}))
    assert pairs(load(str(path))) == [("q", "a")]


def test_a_workbooks_errors_are_no_text_and_its_escapes_are_read(tmp_path):
    from openpyxl import Workbook

    book = Workbook()
    for row in (("question", "answer"), ("a", "#N/A"), ("b", "one_x000D_\ntwo_x005F_x000D_")):
        book.active.append(row)
    book.save(tmp_path / "b.xlsx")
    data = load(str(tmp_path / "b.xlsx"))
    assert pairs(data) == [("b", "one\r\ntwo_x000D_")]
    assert dict(data.dropped) == {"the column 'answer' holds the error #N/A, not text": 1}
