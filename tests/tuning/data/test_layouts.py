"""Layouts and values: what a file says is what is trained, or it is named as left out; damage is one clear line."""

from __future__ import annotations

import gzip
import io
import json
import random
from datetime import datetime

import pytest

from tuning.data.dataset import load
from tuning.data.options import Reading, column_roles
from tuning.errors import UserError

PAIR = [("What is tea?", "a drink"), ("What is 7?", "007"), ("None?", "None")]


def turns(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


CHAT = [turns(("user", question), ("assistant", answer)) for question, answer in PAIR]
JSON_ROWS = {
    "alpaca": [{"instruction": q, "input": "", "output": a} for q, a in PAIR],
    "dolly": [{"instruction": q, "context": None, "response": a, "category": "x"} for q, a in PAIR],
    "input": [{"input": q, "output": a} for q, a in PAIR],
    "query": [{" Query": q, "RESPONSE ": a} for q, a in PAIR],
    "kto": [{"prompt": q, "completion": a, "label": True} for q, a in PAIR],
    "openai": [{"messages": messages} for messages in CHAT],
    "parts": [{"messages": turns(("user", [{"type": "text", "text": q}]), ("assistant", a))} for q, a in PAIR],
    "text": [{"messages": json.dumps(messages)} for messages in CHAT],
    "sharegpt": [{"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]} for q, a in PAIR],
    "gemini": [
        {"contents": [{"role": "user", "parts": [{"text": q}]}, {"role": "model", "parts": [{"text": a}]}]}
        for q, a in PAIR
    ],
    "trl": [{"prompt": turns(("user", q)), "completion": turns(("assistant", a))} for q, a in PAIR],
    "by message": [
        {"conversation_id": at, "message_type": kind, "message": text}
        for at, pair in enumerate(PAIR)
        for kind, text in zip(("user", "assistant"), pair, strict=True)
    ],
}


def found(path, **options):
    data = load(str(path), reading=Reading(**options))
    return [(row.question, row.answer) for row in data.rows()]


@pytest.mark.parametrize("layout", JSON_ROWS)
def test_every_layout_gives_the_same_rows(tmp_path, layout):
    rows = JSON_ROWS[layout]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text(lines)
    (tmp_path / "rows.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "pretty.jsonl").write_text(json.dumps(rows, indent=1))
    (tmp_path / "spread.jsonl").write_text("\n".join(json.dumps(row, indent=2) for row in rows))
    (tmp_path / "under.json").write_text(json.dumps({"version": 1, "data": rows}))
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt") as file:
        file.write(lines)
    (tmp_path / "wide.jsonl").write_text(lines, encoding="utf-16")
    files = ("rows.jsonl", "rows.json", "pretty.jsonl", "spread.jsonl", "under.json", "rows.jsonl.gz", "wide.jsonl")
    for name in files:
        assert found(tmp_path / name) == PAIR


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_cells_are_text_whatever_separates_them(tmp_path, separator):
    values = ["047", "3.10", "true", "1e5", "None", "NA", "2024-07-16", "nan", "null", "  indented"]
    lines = [f"Question{separator}Answer", *(f"q{n}?{separator}{value}" for n, value in enumerate(values))]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    assert [answer for _, answer in found(tmp_path / "rows.csv")] == values


@pytest.mark.parametrize("spelling", ["147573952589676412928", "4.50", "1e5", "true", "-0.0", '"2024-07-16"', '" x"'])
def test_json_scalars_keep_their_spelling(tmp_path, spelling):
    (tmp_path / "rows.jsonl").write_text(f'{{"question": "q", "answer": {spelling}}}\n')
    assert found(tmp_path / "rows.jsonl") == [("q", spelling.strip('"'))]


def test_a_conversation_keeps_every_turn_and_what_is_not_to_be_trained_is_not(tmp_path):
    messages = turns(("developer", "s"), ("user", "a"), ("assistant", "bad"), ("user", "b"), ("assistant", "good"))
    messages[2]["weight"] = 0
    messages.append({"role": "user", "content": "and?"})
    (tmp_path / "c.jsonl").write_text(json.dumps({"messages": messages, "tools": []}) + "\n")
    data = load(str(tmp_path / "c.jsonl"))
    (row,) = data.rows()
    assert [(turn.role, turn.text, turn.trained) for turn in row.turns] == [
        ("system", "s", False),
        ("user", "a", False),
        ("assistant", "bad", False),
        ("user", "b", False),
        ("assistant", "good", True),
    ]
    assert [reason for reason in data.dropped if "closing question" in reason]
    assert (
        data.dropped["an answer with weight 0, train false or a false label (kept before the next, not trained)"] == 1
    )
    assert data.unused == ("tools",)


def test_a_greeting_goes_before_the_question_untrained_and_counted(tmp_path, tiny_tokenizer):
    path = tmp_path / "greeting.jsonl"
    greeted = turns(("assistant", "Welcome!"), ("user", "q"), ("assistant", "a"))
    path.write_text(json.dumps({"messages": greeted}) + "\n")
    data = load(str(path), tokenizer=tiny_tokenizer, max_tokens=200)
    (row,) = data.rows()
    assert [(turn.text, turn.trained) for turn in row.turns] == [("Welcome!", False), ("q", False), ("a", True)]
    assert dict(data.dropped) == {"a greeting before the first question (kept before it, not trained)": 1}
    assert data.dropped.lines == {"a greeting before the first question (kept before it, not trained)": 1}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": turns(("user", "a"), ("tool", "b"), ("assistant", "c"))}, "a tool call"),
        ({"messages": turns(("user", "a"), ("narrator", "b"))}, "the role 'narrator' is not known"),
        ({"messages": turns(("user", [{"type": "image_url"}]), ("assistant", "c"))}, "image_url"),
        ({"messages": ["a", "b"]}, "a message is no object"),
        ({"messages": {"role": "user"}}, "no list of messages"),
        ({"prompt": "p", "chosen": "c", "rejected": "r"}, "preference training"),
        ({"prompt": "p", "completion": "c", "label": False}, "a bad answer"),
        ({"question": "q", "answer": ["a"]}, "the column 'answer' holds a list"),
        ({"question": "q", "answer": {"text": "a"}}, "the column 'answer' holds an object"),
        ({"question": "q", "answer": "\ud800"}, "half a character"),
    ],
)
def test_what_cannot_be_trained_is_named_with_its_line(tmp_path, row, reason):
    good = {"question": "fine?", "answer": "yes"}
    (tmp_path / "r.jsonl").write_text(json.dumps(good) + "\n" + json.dumps(row) + "\n")
    data = load(str(tmp_path / "r.jsonl"))
    (told,) = data.dropped
    assert reason in told
    assert data.dropped.lines[told] == 2
    assert len(data) == 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("r.csv", b"question,answer\na,b,c\n", "line 2: it has 3 fields, but the header has 2"),
        ("q.csv", b'question,answer\na,"b\n', "line 2: a quotation mark is not closed"),
        ("h.csv", b"question,answer,answer\na,b,c\n", "'answer' stands twice"),
        ("l.csv", "question,answer\nWie z\u00e4hle ich?,x\n".encode("cp1252"), "--encoding cp1252"),
        ("k.jsonl", b'{"question": "a", "question": "b", "answer": "c"}\n', "'question' stands twice"),
        ("d.jsonl", b'{"question": ' + b"[" * 100_000 + b"\n", "line 1"),
        ("a.jsonl", b'[{"question": "a", "answer": "b"},\n{"question": "c" "answer": "d"}]\n', "line 2: Expecting ','"),
        ("s.csv", b"sep=;\n\nquestion;answer\na;b\nc\n", "line 5: it has 1 fields"),
        ("t.jsonl.gz", gzip.compress(b'{"question": "a", "answer": "b"}\n' * 999, mtime=0)[:-20], "no whole gzip file"),
        ("z.jsonl.zst", b"not zstd", "no whole zstd file"),
        ("w.jsonl", '{"question": "a"}\n'.encode("utf-16")[:-1], "not UTF-16"),
        ("c.json", b'{"question": ["a", "b"], "answer": ["c"]}', "columns of different lengths"),
        ("b.jsonl", b'{"question": "a", "answer": "b"}\n\xef\xbb\xbf{"question": "c"}\n', "line 2: a byte order mark"),
        ("g.jsonl", gzip.compress(b"{}", mtime=0), "g.jsonl is no text but compressed with gzip: end its name in .gz"),
        ("p.csv", b"PAR1....", "p.csv is no text but a Parquet file"),
        ("x.xlsx", b"PK\x03\x04", "x.xlsx is no Excel file that can be read"),
        ("a.arrow", b"ARROW1\x00\x00....", "it is no whole Arrow file"),
    ],
)
def test_damage_is_one_line_that_names_it(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as refusal:
        load(str(tmp_path / name))
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_workbook_is_read_as_its_values_and_says_what_it_leaves_out(tmp_path):
    from openpyxl import Workbook

    book = Workbook()
    sheet = book.active
    rows = [("question", None, "Answer"), ("a", None, "047"), ("b", None, datetime(2024, 7, 16)), (None,) * 3]
    for row in [*rows, ("c", None, True), ("d", None, 7.0), ("e", None, 0.05)]:
        sheet.append(row)
    sheet["C7"].number_format = "0%"
    book.create_sheet("more").append(["question"])
    book.save(tmp_path / "b.xlsx")
    data = load(str(tmp_path / "b.xlsx"))
    found = [(row.line, row.question, row.answer) for row in data.rows()]
    assert found == [(2, "a", "047"), (3, "b", "2024-07-16"), (5, "c", "true"), (6, "d", "7"), (7, "e", "0.05")]
    assert data.notes == (
        "Only the sheet 'Sheet' is read, not 'more'.",
        "Numbers are written without the sheet's format (5% as 0.05), dates as 2024-07-16.",
    )
    for cell, value, said in (
        ("C2", "=1+1", "row 2: a formula's value is not in the file"),
        ("B2", "x", "row 2: a cell"),
    ):
        sheet[cell] = value
        book.save(tmp_path / "b.xlsx")
        with pytest.raises(UserError, match=said):
            load(str(tmp_path / "b.xlsx"))
        sheet[cell] = "x" if cell == "C2" else None
    front = book.create_sheet("front", 0)
    book.save(tmp_path / "b.xlsx")
    with pytest.raises(UserError, match=r"The first sheet of b\.xlsx, 'front', holds no rows, and 'Sheet', 'more'"):
        load(str(tmp_path / "b.xlsx"))
    book.remove(front)
    sheet["B1"] = "Answer"
    book.save(tmp_path / "b.xlsx")
    with pytest.raises(UserError, match="row 1: the column 'Answer' stands twice"):
        load(str(tmp_path / "b.xlsx"))


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_arrow_files_and_streams_are_read(tmp_path, kind):
    import pyarrow

    table = pyarrow.table({"question": [q for q, _ in PAIR], "answer": [a for _, a in PAIR]})
    made = pyarrow.ipc.new_file if kind == "file" else pyarrow.ipc.new_stream
    with made(str(tmp_path / "r.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    assert found(tmp_path / "r.arrow") == PAIR


@pytest.mark.parametrize(
    ("name", "said"),
    [("folder", "folder holds no data file"), ("https://example.org/x.jsonl", "https:// is not read: download")],
)
def test_what_is_no_file_is_said(tmp_path, monkeypatch, name, said):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        load(name)


def test_a_key_a_type_and_a_number_may_come_late(tmp_path):
    lines = [json.dumps({"question": f"q{n}", "answer": "a"}) for n in range(3000)]
    lines += [
        '{"question": "late", "answer": 5, "system": "s"}',
        '{"question": "later", "answer": ["x"]}',
        '{"new": 1, "question": "last", "answer": 2.50}',
    ]
    (tmp_path / "late.jsonl").write_text("\n".join(lines))
    data = load(str(tmp_path / "late.jsonl"))
    assert len(data) == 3002
    assert data.rows()[-1].answer == "2.50"
    assert dict(data.dropped.lines) == {"the column 'answer' holds a list, not text": 3002}
    assert data.unused == ("new",)


def test_one_message_a_row_and_names_in_other_case_can_be_named(tmp_path):
    rows = [
        {"Thread": at, "Who": who, " Said": text}
        for at, pair in enumerate(PAIR)
        for who, text in zip(("user", "assistant"), pair, strict=True)
    ]
    (tmp_path / "n.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert found(tmp_path / "n.jsonl", columns=column_roles("conversation=thread,role=WHO,content=said")) == PAIR
    with pytest.raises(UserError, match=r"n\.jsonl has the columns Thread, Who,  Said: --columns lacks Id\."):
        load(str(tmp_path / "n.jsonl"), reading=Reading(column_roles("conversation=Id,role=Who,content=Said")))


def test_named_columns_and_encoding(tmp_path):
    (tmp_path / "n.csv").write_bytes("Frage,Antwort,Zeile\nWie z\u00e4hle ich?,so,7\n".encode("cp1252"))
    roles = column_roles("question=Frage,answer=Antwort,context=Zeile")
    data = load(str(tmp_path / "n.csv"), reading=Reading(roles, "cp1252"))
    (row,) = data.rows()
    assert (row.question, row.input, row.answer) == ("Wie z\u00e4hle ich?", "7", "so")
    for wrong in ("x=1", "question=a", "question=a,answer=a", "question"):
        with pytest.raises(UserError, match="--columns"):
            column_roles(wrong)


def binary_rows(kind):
    """The rows as a file of a kind that is no text."""
    import pyarrow
    from openpyxl import Workbook
    from pyarrow import feather, parquet

    file, columns = io.BytesIO(), {"question": [q for q, _ in PAIR], "answer": [a for _, a in PAIR]}
    if kind == "xlsx":
        book = Workbook()
        for row in (columns, *PAIR):
            book.active.append(list(row))
        book.save(file)
    else:
        write = parquet.write_table if kind == "parquet" else feather.write_feather
        write(pyarrow.table(columns), file)
    return file.getvalue()


@pytest.mark.parametrize("layout", [*JSON_ROWS, "csv", "array", "parquet", "arrow", "xlsx"])
def test_a_mutated_file_is_read_or_refused_in_one_line(tmp_path, layout):
    rows = JSON_ROWS.get(layout, JSON_ROWS["alpaca"])
    text = "".join(json.dumps(row) + "\n" for row in rows)
    binary = layout in ("parquet", "arrow", "xlsx")
    name = f"m.{layout}" if binary else {"csv": "m.csv", "array": "m.json"}.get(layout, "m.jsonl")
    if layout == "csv":
        text = "question,answer\n" + "".join(f'"{q}","{a}"\n' for q, a in PAIR)
    elif layout == "array":
        text = json.dumps(rows)
    whole, draw = binary_rows(layout) if binary else text.encode(), random.Random(layout)
    for _ in range(60):
        mutant = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            at = draw.randrange(len(mutant) or 1)
            change = draw.randrange(4)
            if change == 0 and mutant:
                mutant[at] = draw.randrange(256)
            elif change == 1:
                del mutant[at : at + draw.randint(1, 20)]
            elif change == 2:
                mutant[at:at] = draw.choice([b"null", b"\x00", b"[]", b'"', b"{", b"\\ud800", b"\n", b"1e999", b"\xff"])
            else:
                mutant = mutant[: max(1, at)]
        (tmp_path / name).write_bytes(mutant)
        try:
            load(str(tmp_path / name))
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017 (most mutants are refused, and some are not)
