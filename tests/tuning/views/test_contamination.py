"""Rows near a suite's questions: by the names of the embedded ones, and from files of every usual kind."""

from __future__ import annotations

import gzip
import json

import pytest

from tuning.data.dataset import load
from tuning.data.probe_questions import PROBE_QUESTIONS
from tuning.errors import UserError
from tuning.views.contamination import Index, near_suite, near_test
from tuning.views.preview import facts
from tuning.views.suite_questions import questions_of, suite_of

CIRCLES = "Write a function that computes the area of a circle with a given radius in Python"


def lines(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_the_embedded_questions_have_names():
    assert questions_of("python") == list(PROBE_QUESTIONS.values())
    tested = questions_of("python-suite")
    assert tested == [f"{row.question} {row.input}".strip() for row in load().test if row.check]
    assert len(tested) > 10


@pytest.mark.parametrize(
    ("row", "question"),
    [
        ({"task_id": 1, "text": CIRCLES, "code": "pass", "test_list": ["assert f()"]}, CIRCLES),
        ({"task_id": 1, "text": CIRCLES, "test_list": ["assert f()"]}, CIRCLES),
        ({"task_id": "T/0", "prompt": f'def f():\n    """{CIRCLES}"""\n', "entry_point": "f", "test": "x"}, CIRCLES),
        ({"Question ": CIRCLES, "expected": ["4"]}, CIRCLES),
        ({"instruction": CIRCLES, "input": "radius 4", "output": "50"}, f"{CIRCLES} radius 4"),
        ({"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": CIRCLES}]}, CIRCLES),
        ({"conversations": [{"from": "human", "value": CIRCLES}, {"from": "gpt", "value": "x"}]}, CIRCLES),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": CIRCLES}]}]}, CIRCLES),
        ({"prompt": [{"role": "user", "content": CIRCLES}], "chosen": "a", "rejected": "b"}, CIRCLES),
        ({"contents": [{"role": "user", "parts": [{"text": CIRCLES}]}]}, CIRCLES),
        ({"chat": [{"question": CIRCLES, "answer": "x"}]}, CIRCLES),
        ({"dialog": [{"speaker": "Human", "text": CIRCLES}]}, CIRCLES),
        (
            {"messages": f'[{{"role": "user", "content": "{CIRCLES}"}}, {{"role": "system", "content": "Be short."}}]'},
            CIRCLES,
        ),
        ({"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": CIRCLES}]}]}, CIRCLES),
        ({"messages": {"role": ["user"], "content": [CIRCLES]}}, CIRCLES),
    ],
)
def test_questions_are_found_with_or_without_answers(tmp_path, row, question):
    found = questions_of(lines(tmp_path / "suite.jsonl", row))
    assert len(found) == 1
    assert question in found[0]
    assert "Be short" not in found[0]


def test_arrays_gzip_tables_and_tasks_are_read(tmp_path):
    (tmp_path / "s.json").write_text(json.dumps([{"question": CIRCLES}]))
    (tmp_path / "s.jsonl.gz").write_bytes(gzip.compress(json.dumps({"prompt": CIRCLES, "entry_point": "f"}).encode()))
    (tmp_path / "s.csv").write_text(f'id,question\n1,"{CIRCLES}"\n')
    (tmp_path / "beside.yaml").write_text("questions: s.csv\n")
    (tmp_path / "named.yaml").write_text(
        "questions: [{ask: inline circle question}, a second one]\ncolumns: {question: ask}"
    )
    for name in ("s.json", "s.jsonl.gz", "s.csv", "beside.yaml"):
        assert questions_of(str(tmp_path / name)) == [CIRCLES]
    assert questions_of(str(tmp_path / "named.yaml")) == ["inline circle question", "a second one"]


def test_a_hub_set_and_a_table_need_no_answers_and_say_which_column_is_the_question(tmp_path, monkeypatch):
    import datasets
    import duckdb

    rows = {"id": [1, 2, 3], "problem_statement": [CIRCLES, None, "What is tea?"], "test": ["a", "b", "c"]}
    asked = []

    def load_dataset(name, config, split):
        asked.append((name, config, split))
        table = datasets.Dataset.from_dict(rows)
        return table if split else datasets.DatasetDict(test=table, train=table)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr("tuning.data.hub_data.revision_of", lambda name: "")
    suite = suite_of("someone/suite?config=main&split=test")
    assert suite.questions == [CIRCLES, "What is tea?"]
    assert suite.words() == "its column problem_statement, 1 rows of it hold no question"
    assert len(suite_of("someone/suite").questions) == 4
    assert asked == [("someone/suite", "main", "test"), ("someone/suite", None, None)]
    assert suite_of("someone/suite?split=test", "test").questions == ["a", "b", "c"]
    with pytest.raises(
        UserError, match=r"someone/suite holds no question .id, problem_statement, test.: name its column"
    ):
        suite_of("someone/suite", "nothing")
    with pytest.raises(UserError, match="come config=CONFIG and split=SPLIT"):
        suite_of("someone/suite?splits=test")
    with duckdb.connect(str(tmp_path / "s.duckdb")) as connection:
        connection.execute(f"CREATE TABLE asked AS SELECT 'x' AS tag, '{CIRCLES}' AS prompt, 'more' AS context")
    table = suite_of(f"duckdb:{tmp_path / 's.duckdb'}?table=asked")
    assert table.questions == [f"{CIRCLES} more"]
    assert table.words() == "its columns prompt and context"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.jsonl", None, "There is no data file"),
        ("other.jsonl", '{"colour": "red"}\n', "line 1 of other.jsonl holds no question (colour)"),
        ("late.jsonl", '{"question": "a"}\n{"question": null}\n', "line 2 of late.jsonl holds no question"),
        ("broken.yaml", "questions: [", "broken.yaml is no task"),
        ("empty.yaml", "name: x\n", "empty.yaml is no task"),
        ("odd.yaml", "questions: 7\n", "odd.yaml is no task"),
        ("pythom", None, "There is no suite 'pythom'"),
    ],
)
def test_what_is_no_suite_is_refused_in_one_line(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError) as caught:
        questions_of(str(path) if "." in name else name)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_near_a_question_are_counted_with_an_example(tmp_path):
    rows = [{"question": f"{CIRCLES} number {at}", "answer": f"{at}"} for at in range(3)]
    rows += [{"question": f"What is the capital of land number {at}?", "answer": f"{at}"} for at in range(9)]
    data = load(lines(tmp_path / "rows.jsonl", *rows))
    suite = lines(tmp_path / "suite.jsonl", {"text": CIRCLES, "test_list": []})
    found = near_suite(data, suite, questions_of(suite))
    assert (found.count, found.of) == (3, 12)
    assert found.examples[0][0] == 1
    assert "3 of 12 rows" in str(found)
    assert near_suite(data, "python", questions_of("python")).count == 0
    assert near_test(data).of == len(data.train)


def test_common_runs_of_words_alone_make_no_two_texts_near():
    index = Index([f"{CIRCLES} and then the number {at}" for at in range(3)])
    assert index.nearest("Something else altogether that has nothing of it") is None


def test_the_preview_tells_of_rows_near_the_embedded_suite(tmp_path):
    taken = questions_of("python-suite")[:2]
    rows = [{"question": text, "answer": "pass"} for text in taken]
    rows += [{"question": f"What is the capital of land number {at}?", "answer": f"{at}"} for at in range(9)]
    told = facts(load(lines(tmp_path / "rows.jsonl", *rows)), examples=9)
    assert "2 rows are near questions of python-suite, such as “" in told
    assert "(line 1)" in told
    assert "python-suite" not in facts(load(lines(tmp_path / "rows.jsonl", *rows[2:])), examples=9)
