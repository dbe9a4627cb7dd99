"""JSON of any length is read through a window: the values, lines and refusals are those of the whole text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuning.data.reading import json_window
from tuning.data.reading.json_window import Window
from tuning.data.reading.readers import read_file
from tuning.data.reading.values import DECODER
from tuning.errors import UserError

SPELLED = st.sampled_from(
    ["-0", "2.50", "1e5", "147573952589676412928", "true", "null", "NaN", "-Infinity", '"\\ud83d\\ude00"']
)
SPACES = st.sampled_from(["", " ", "\n", "\r\n\t"])
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12).map(json.dumps)


def joined(opening: str, parts: list[str], space: str, closing: str) -> str:
    return opening + space + f"{space},{space}".join(parts) + space + closing


def lists(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(joined, st.just("["), st.lists(inner, max_size=4), SPACES, st.just("]"))


def objects(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    members = st.lists(inner, max_size=4).map(lambda values: [f'"k{at}" : {value}' for at, value in enumerate(values)])
    return st.builds(joined, st.just("{"), members, SPACES, st.just("}"))


VALUES = st.recursive(SPELLED | TEXTS, lambda inner: lists(inner) | objects(inner), max_leaves=12)


@settings(max_examples=150)
@given(
    text=lists(VALUES),
    size=st.integers(1, 9),
    at=st.integers(0, 400),
    change=st.sampled_from(["", "}", '"', "\n", ",", "x"]),
)
def test_a_windows_values_and_faults_are_those_of_the_whole_text(text, size, at, change):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_window, "LEAST", 5)
        for whole in (text, text[:at] + change + text[at + 1 :]):
            window = Window("w", (whole[start : start + size] for start in range(0, len(whole), size)))
            try:
                expected = DECODER.decode(whole)
            except ValueError:
                with pytest.raises(UserError, match="w is malformed in line"):
                    read_all(window)
            else:
                assert repr(read_all(window)) == repr(expected)


def read_all(window: Window) -> object:
    """The one array or object of a text, its elements read one by one."""
    if window.peek() == "{":
        found: object = {key: window.value() for key in window.members()}
    elif window.peek() == "[":
        found = [window.value() for _ in window.elements()]
    else:
        found = window.value()
    window.end("text")
    return found


ROWS = [{"question": f"q{at}", "answer": f"{at}"} for at in range(400)]


@pytest.mark.parametrize(
    "content",
    [
        ROWS,
        {"version": [1, 2], "data": ROWS},
        {"data": ROWS[:100], "more": ROWS[100:]},
        {key: [row[key] for row in ROWS] for key in ROWS[0]},
        {key: {str(at): row[key] for at, row in enumerate(ROWS)} for key in ROWS[0]},
        {"columns": list(ROWS[0]), "data": [list(row.values()) for row in ROWS]},
        {f"row {at}": row for at, row in enumerate(ROWS)},
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_every_shape_of_json_gives_the_rows_in_order(tmp_path, monkeypatch, content, indent):
    monkeypatch.setattr(json_window, "LEAST", 64)
    monkeypatch.setattr(json_window, "SPOOLED", 512)
    (tmp_path / "rows.json").write_text(json.dumps(content, indent=indent))
    found = list(read_file(tmp_path / "rows.json").rows)
    assert [row for _, row in found] == ROWS
    places = [place for place, _ in found]
    assert places == sorted(set(places))


def test_a_row_a_megabyte_in_is_named_with_its_line(tmp_path):
    lines = [json.dumps(row) for row in ROWS * 60]
    lines[20_000] = '{"question": "q" "answer": "a"}'
    (tmp_path / "rows.json").write_text("[\n" + ",\n".join(lines) + "\n]")
    with pytest.raises(UserError, match=r"line 20002: Expecting ',' delimiter, column 18"):
        list(read_file(tmp_path / "rows.json").rows)
    lines[20_000] = '{"question": "q", "answer": "\xff"}'
    (tmp_path / "rows.json").write_bytes(("[\n" + ",\n".join(lines) + "\n]").encode("latin-1"))
    with pytest.raises(UserError, match=r"line 20002: it is not UTF-8 .byte 0xFF, column 30.: with --encoding cp1252"):
        list(read_file(tmp_path / "rows.json").rows)
