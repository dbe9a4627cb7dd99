"""Data: every layout gives the same rows, nothing is dropped silently, and a row never changes its split."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuning.data.cleaning import SPLITS, Row, clean, row_id, split_of
from tuning.data.dataset import load
from tuning.data.probe_questions import PROBE_QUESTIONS
from tuning.data.rows import RawRow
from tuning.errors import UserError
from tuning.views.describe import describe, samples

ROWS = [(f"Question number {n}?", "x = 1" if n % 3 == 0 else "", f"answer {n}") for n in range(40)]


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def as_alpaca():
    return [{"instruction": q, "input": i, "output": a} for q, i, a in ROWS]


def as_messages_by_row():
    rows = []
    for number, (question, given_input, answer) in enumerate(ROWS):
        for kind, text in (("output", answer), ("input", given_input), ("instruction", question)):
            message = {"message": text, "message_type": kind, "message_id": len(rows), "conversation_id": number}
            rows.append(message)
    random.Random(0).shuffle(rows)
    return rows


def triples(dataset):
    return {(r.question, r.input, r.answer) for name in SPLITS for r in dataset.split(name)}


def test_alpaca_columns_and_one_message_per_row_give_the_same_rows(tmp_path):
    alpaca = load(write_jsonl(tmp_path / "a.jsonl", as_alpaca()))
    joined = load(write_jsonl(tmp_path / "m.jsonl", as_messages_by_row()))
    assert triples(alpaca) == triples(joined) == set(ROWS)
    assert alpaca.fingerprint == joined.fingerprint
    assert alpaca.dropped == joined.dropped == {}


@pytest.mark.parametrize(("question", "answer"), [("prompt", "completion"), ("QuestionAsked", "OutputAnswer")])
def test_other_column_names_are_recognised(tmp_path, question, answer):
    rows = [{question: q, answer: a} for q, _, a in ROWS]
    assert triples(load(write_jsonl(tmp_path / "p.jsonl", rows))) == {(q, "", a) for q, _, a in ROWS}


def test_chat_messages_are_read_and_what_is_left_out_is_counted(tmp_path):
    def turn(role, content):
        return {"role": role, "content": content}

    rows = [
        {"messages": [turn("system", "s"), turn("user", "Q1"), turn("assistant", "A1")]},
        {"messages": [turn("user", "Q2"), turn("assistant", "A2"), turn("user", "more")]},
        {"messages": [turn("assistant", "alone")]},
    ]
    dataset = load(write_jsonl(tmp_path / "chat.jsonl", rows))
    assert triples(dataset) == {("Q1", "", "A1"), ("Q2", "", "A2")}
    assert sum(dataset.dropped.values()) == 2


@pytest.mark.parametrize("suffix", ["csv", "parquet", "json"])
def test_other_file_types_give_the_same_rows(tmp_path, suffix):
    from datasets import Dataset

    table, path = Dataset.from_list(as_alpaca()), tmp_path / f"rows.{suffix}"
    if suffix == "json":
        path.write_text(json.dumps(as_alpaca()))
    else:
        getattr(table, f"to_{suffix}")(path)
    assert triples(load(str(path))) == set(ROWS)


def test_what_is_dropped_is_counted_by_reason(tmp_path, tiny_tokenizer):
    rows = [
        {"instruction": "Fine?", "input": "", "output": "yes"},
        {"instruction": "\nFine?  \n", "input": "", "output": "yes\n"},
        {"instruction": "", "input": "", "output": "x"},
        {"instruction": "No answer?", "input": "", "output": "  "},
        {"instruction": "With input?", "input": "1", "output": "x"},
        {"instruction": "Long?", "input": "", "output": "x" * 900},
        {"instruction": "Broken?", "input": "", "output": "a\x00b"},
        {"instruction": "please " + PROBE_QUESTIONS["average"].lower(), "input": "", "output": "x"},
    ]
    path = write_jsonl(tmp_path / "rows.jsonl", rows)
    dataset = load(path, empty_input_only=True, tokenizer=tiny_tokenizer, max_tokens=700)
    assert triples(dataset) == {("Fine?", "", "yes")}
    assert dataset.dropped == {
        "duplicate row": 1,
        "empty question": 1,
        "empty answer": 1,
        "has an input": 1,
        "over 700 tokens": 1,
        "NUL byte": 1,
        "repeats a probe question": 1,
    }


@pytest.mark.parametrize("probe", PROBE_QUESTIONS.values())
def test_a_probe_is_recognised_inside_other_words_and_a_related_question_is_not(probe):
    dropped = Counter()
    raw = [RawRow(f"Hello! {probe.upper()} Thanks.", "", "x"), RawRow("Write a function in Python to sort.", "", "x")]
    assert [row.question for row in clean(raw, dropped, PROBE_QUESTIONS.values())] == [raw[1].question]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.text(min_size=1), st.text()), min_size=1, max_size=30), st.randoms())
def test_membership_survives_reordering_growth_case_and_white_space(pairs, shuffler):
    def splits(items):
        return {(q, i): split_of(Row(row_id(q, i), q, i, "a")) for q, i in items}

    before = splits(pairs[: len(pairs) // 2])
    shuffled = list(pairs)
    shuffler.shuffle(shuffled)
    after = splits(shuffled)
    assert all(after[key] == split for key, split in before.items())
    question, given_input = pairs[0]
    assert row_id(f"  {question}\n", given_input) == row_id(question, given_input)


def test_the_shares_are_eighty_ten_ten():
    counts = Counter(split_of(Row(row_id(f"q{n}", ""), "", "", "")) for n in range(20_000))
    assert abs(counts["train"] / 20_000 - 0.8) < 0.01
    assert abs(counts["validation"] / 20_000 - 0.1) < 0.01


def test_a_limit_takes_the_same_training_rows_whatever_their_order(tmp_path):
    rows = as_alpaca()
    first = load(write_jsonl(tmp_path / "a.jsonl", rows), limit=7)
    second = load(write_jsonl(tmp_path / "b.jsonl", rows[::-1]), limit=7)
    assert {row.id for row in first.train} == {row.id for row in second.train}
    assert len(first.train) == 7
    assert first.validation
    assert first.dropped["over the limit"] > 0


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("columns.jsonl", b'{"a": 1, "b": 2}\n', "no usable columns .a, b."),
        ("empty.jsonl", b"", "is empty"),
        ("broken.jsonl", b'{"instruction": "q", "output": "a"}\n\n{"instruction": \n', "malformed in line 3"),
        ("header.csv", b"instruction,output\n", "holds no rows"),
        ("list.jsonl", b"[1]\n", "malformed in line 1"),
        ("latin.jsonl", b'{"instruction": "\xe9", "output": "a"}\n', "malformed in line 1"),
        ("broken.parquet", b"not parquet at all", "cannot be read"),
        ("picture.png", b"x", "no data file"),
        ("hollow.jsonl", b'{"instruction": "", "output": "a"}\n', "No row of .* can be used"),
    ],
)
def test_bad_files_get_one_clear_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as refusal:
        load(str(tmp_path / name))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("source", ["/no/such/file.jsonl", "no-such-source"])
def test_a_missing_source_is_said(source):
    with pytest.raises(UserError, match="There is no data"):
        load(source)


def test_the_description_counts_everything_and_marks_what_is_trained(tmp_path, tiny_tokenizer):
    dataset = load(write_jsonl(tmp_path / "a.jsonl", as_alpaca()), tokenizer=tiny_tokenizer, max_tokens=400)
    text = describe(dataset, tiny_tokenizer, 400)
    assert f"{len(dataset)} rows" in text
    assert text.count("‹answer") == 3
    assert text.count("<|im_end|>›") == 3
    for spans in samples(dataset, tiny_tokenizer, 400):
        assert [span.trained for span in spans] == [False, True]


def test_the_command_line_exports_the_original_small_file(tmp_path):
    source, out = write_jsonl(tmp_path / "a.jsonl", as_alpaca()), tmp_path / "training_data.parquet"
    command = [sys.executable, "-m", "tuning", "data", "export", source, "--limit", "5", "--empty-input-only"]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    from pyarrow import parquet

    table = parquet.read_table(out)
    assert table.column_names == ["instruction", "input", "output"]
    assert set(table["input"].to_pylist()) == {""}
    assert table.num_rows == 5
    assert set(table["output"].to_pylist()) == {answer for _, _, answer in triples(load(str(out)))}
    sizes = {}
    for level in (1, 22):
        parquet.write_table(table, tmp_path / "again.parquet", compression="zstd", compression_level=level)
        sizes[level] = (tmp_path / "again.parquet").stat().st_size
    assert out.stat().st_size == sizes[22]
    assert parquet.ParquetFile(out).metadata.row_group(0).column(0).compression == "ZSTD"
