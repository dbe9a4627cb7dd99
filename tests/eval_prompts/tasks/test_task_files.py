"""Task files: the schema of docs/tasks.md, questions in every format, and one line for what is wrong."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval_prompts.tasks.export import dump_task
from eval_prompts.tasks.files import parse_task, read_task
from eval_prompts.tasks.scorers.names import KINDS
from eval_prompts.tasks.verdicts import judge_answer
from tuning.errors import UserError

LEAST = """\
name: capitals
system: You are a geography teacher. Answer with one short sentence.
user: "In {continent}: {question}"     # over the question's columns; without it the question and its input
questions: capitals.csv                # beside this file, or an inline list; columns id, question, answer, continent
score: [contains]                      # names, or one-key mappings with options
settings: {max_new_tokens: 24}
"""
ROWS = [
    {"id": "ml", "question": "What is the capital of Mali?", "answer": "Bamako", "continent": "Africa"},
    {"id": "007", "question": "What is the capital of Peru?", "answer": "Lima", "continent": "South America"},
    {"id": "no", "question": "Is Oslo, in Norway, the capital of Sweden?", "answer": "no", "continent": "Europe"},
]


def csv_of(rows, delimiter=","):
    lines = [delimiter.join(rows[0])]
    lines += [delimiter.join(f'"{value}"' for value in row.values()) for row in rows]
    return "\n".join(lines) + "\n"


def write(folder, name, rows=ROWS):
    path = folder / name
    if name.endswith(".parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    elif name.endswith(".xlsx"):
        from openpyxl import Workbook

        book = Workbook()
        book.active.append(list(rows[0]))
        for row in rows:
            book.active.append(list(row.values()))
        book.save(path)
    else:
        text = {
            ".csv": csv_of(rows),
            ".tsv": csv_of(rows, "\t"),
            ".json": json.dumps(rows),
            ".jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        }["." + name.removesuffix(".gz").rpartition(".")[2]]
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.fixture
def capitals(tmp_path):
    write(tmp_path, "capitals.csv")
    path = tmp_path / "capitals.yaml"
    path.write_text(LEAST)
    return path


def test_the_least_example_works_as_it_stands(capitals):
    task = read_task(capitals)
    assert [question.id for question in task.questions] == ["ml", "007", "no"]
    assert task.settings.max_new_tokens == 24
    prompt = task.prompt(task.questions[0])
    assert list(prompt.messages) == [
        {"role": "system", "content": "You are a geography teacher. Answer with one short sentence."},
        {"role": "user", "content": "In Africa: What is the capital of Mali?"},
    ]
    assert prompt.text == "What is the capital of Mali?"
    assert judge_answer(task, task.questions[0], "It is Bamako.").task == "passes"
    assert judge_answer(task, task.questions[0], "It is Dakar.").task == "fails"


def test_the_example_of_the_documentation_works_literally(tmp_path):
    text = (Path(__file__).parents[3] / "docs" / "tasks.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(yaml|csv)\n(.*?)```", text, re.DOTALL)
    for kind, content in blocks[:2]:
        (tmp_path / f"capitals.{kind}").write_text(content)
    task = read_task(tmp_path / "capitals.yaml")
    assert (task.to_dict()["system"], len(task.questions)) == (read_system(LEAST), 2)
    named = set(re.findall(r"^\| (`.*?`) \|", text.partition("## Scorers")[2], re.MULTILINE))
    assert {name for cell in named for name in re.findall(r"`(\w+)`", cell)} == set(KINDS)


def read_system(text):
    return next(line.removeprefix("system: ") for line in text.splitlines() if line.startswith("system: "))


@pytest.mark.parametrize(
    "name", ["q.csv", "q.tsv", "q.jsonl", "q.json", "q.parquet", "q.xlsx", "q.csv.gz", "q.jsonl.gz"]
)
def test_questions_are_read_from_every_format_as_they_are_written(capitals, name):
    write(capitals.parent, name)
    capitals.write_text(LEAST.replace("capitals.csv", name))
    assert read_task(capitals).to_dict()["questions"] == ROWS


def test_inline_questions_are_what_is_written_and_not_what_yaml_makes_of_it():
    text = """
        name: inline
        questions:
        - {id: 007, question: "Is it so?", answer: no}
        - {id: 1e3, question: "When?", answer: 2026-11-27, options: [yes, off]}
        - How much?
    """
    task = parse_task(text.replace("\n        ", "\n"), "inline.yaml")
    assert [question.id for question in task.questions] == ["007", "1e3", "3"]
    assert [question.references for question in task.questions] == [("no",), ("2026-11-27",), ()]
    assert task.questions[1].columns["options"] == ["yes", "off"]
    assert task.format.system is None


def test_a_task_survives_its_file():
    text = """
name: whole
title: The whole
description: Everything at once.
system: Be brief.
user: "{question} ({unit})"
shots: [{user: "One? (m)", assistant: "1"}]
score: [contains, {number: {tolerance: 0.5}}, {json: {schema: {type: object, required: [a]}, fields: false}}]
settings: {max_new_tokens: 9, temperature: 0.5, seed: 3}
stop: ["\\n\\n", END]
show: false
questions:
- {id: a, title: First, question: "How far?", unit: km, answer: "3", tags: [x, y], checks: [exact, {regex: "^3"}]}
- {id: b, question: "And back?", unit: km, answer: ["3", three]}
"""
    task = parse_task(text, "whole.yaml")
    again = parse_task(dump_task(task), "whole.yaml")
    assert again.to_dict() == task.to_dict()
    assert again.questions[1].references == ("3", "three")
    assert again.questions[0].checks[1].options == {"pattern": "^3"}
    assert again.settings.stop == ("\n\n", "END")
    messages = again.prompt(again.questions[0]).messages
    assert [turn["content"] for turn in messages] == ["Be brief.", "One? (m)", "1", "How far? (km)"]


def test_a_conversation_is_asked_as_it_is_and_its_last_answer_is_the_reference():
    turns = [("user", "Hello"), ("assistant", "Arr!"), ("user", "Where to?"), ("assistant", "To sea.")]
    messages = [{"role": role, "content": content} for role, content in turns]
    text = f"name: talk\nsystem: Be a pirate.\nquestions: {json.dumps([{'messages': messages}])}\nscore: [exact]\n"
    (question,) = (task := parse_task(text, "talk.yaml")).questions
    assert (question.text, question.references) == ("Where to?", ("To sea.",))
    assert [turn["role"] for turn in task.prompt(question).messages] == ["system", "user", "assistant", "user"]


def test_columns_are_found_by_their_usual_names_or_as_named(tmp_path):
    (tmp_path / "q.csv").write_text("Frage;Antwort;Prompt\nWo?;Hier;x\n")
    (tmp_path / "t.yaml").write_text("questions: q.csv\ncolumns: {question: Frage, answer: Antwort}\nscore: exact\n")
    task = read_task(tmp_path / "t.yaml")
    assert task.name == "t"
    assert (task.questions[0].text, task.questions[0].references) == ("Wo?", ("Hier",))


def test_a_column_whose_name_is_several_words_is_named_with_underscores_and_a_part_may_have_none(tmp_path):
    (tmp_path / "q.csv").write_text("Question,Home continent,answer\nWhere?,Africa,Here\n")
    text = "questions: q.csv\nuser: '{Home_continent}: {question}'\ncolumns: {answer: ''}\n"
    (tmp_path / "t.yaml").write_text(text)
    task = read_task(tmp_path / "t.yaml")
    (question,) = task.questions
    assert task.prompt(question).messages[-1]["content"] == "Africa: Where?"
    assert question.references == ()
    (tmp_path / "t.yaml").write_text(text.replace("{Home_continent}", "{Home continent}"))
    with pytest.raises(UserError, match=r"user holds {Home continent}, which is no column: write {Home_continent}"):
        read_task(tmp_path / "t.yaml")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("[contains]", "[contians]"), r"capitals.yaml, line 5, score: there is no scorer 'contians': did you mean"),
        (("{continent}", "{kontinent}"), r"capitals.csv: user names the column 'kontinent', .* did you mean continent"),
        (("capitals.csv", "none.csv"), "There is no file .*none.csv"),
        (("questions: capitals.csv", "questions: []"), "line 4, questions: there are none"),
        (("questions: capitals.csv", ""), "questions: there are none"),
        (("max_new_tokens: 24", "max_tokens: 24"), "line 6, settings: there is no setting 'max_tokens'"),
        (("max_new_tokens: 24", "max_new_tokens: many"), "line 6, settings: The token cap"),
        (("system:", "sytem:"), "line 2: there is no field 'sytem': did you mean system"),
        (("name: capitals", "name: a/b"), "line 1, name: a name has"),
        (("system: You", "system: [You"), "line .*not valid YAML"),
        (("settings:", "name: again\nsettings:"), "'name' stands twice"),
        (("settings:", "stop: ['']\nsettings:"), "line 6, stop: A stop text"),
        (("settings:", "show: maybe\nsettings:"), "line 6, show: it must be true or false"),
        (("settings:", "columns: {answer: Antwort}\nsettings:"), "the column 'Antwort' for answer is not there"),
        (("[contains]", "[{regex: '('}]"), "line 5, score: regex: pattern is not a regular expression"),
        (("[contains]", "[sql]"), "capitals.csv, line 2, schema: sql needs this column"),
        (("capitals.csv", "capitals.yaml"), "not a file of questions"),
        (("In {continent}: {question}", "{{question}}"), r"user holds {{question}}, .*: write {question}"),
        (("{continent}", "{ continent }"), r"user holds { continent }, which is no column: write {continent}"),
        (("In {continent}: {question}", "Well?"), "user names no column, so that all questions would be the same"),
        (("name: capitals", "name: !include a"), "line 1: the tag !include is not taken"),
        (("name: capitals", "name: !!python/name:os.system x"), "line 1: the tag .*os.system is not taken"),
        (
            ("settings:", "shots: [{user: a, assistant: [b]}]\nsettings:"),
            "line 6, shots: each is {user: …, assistant: …}",
        ),
        (("settings:", "\tsettings:"), "line 6: a tab cannot indent a line"),
    ],
)
def test_a_mistake_is_one_line_with_file_line_and_field(capitals, change, words):
    capitals.write_text(LEAST.replace(*change))
    with pytest.raises(UserError, match=words) as told:
        read_task(capitals)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("id,question,answer,continent\na,Why?,,Africa\n", "line 2, answer: contains needs a reference"),
        ("id,question,answer,continent\na,Why?,x,\n", "line 2, continent: user names this column, and it is empty"),
        ("id,question,answer,continent\na,,x,y\n", "line 2, question: the question is empty"),
        ("id,question,answer,continent\na,W?,x,y\nb,W?,x,y\na,V?,x,y\n", "line 4, id: 'a' stands in line 2 already"),
        ("id,question,answer,continent\na,W?,x\n", "line 2: it has 3 fields, but the header has 4"),
        ('id,question,answer,continent\na,"W\n?",x,y\nb,W?,x\n', "line 4: it has 3 fields"),
        ("id,question,question,continent\n", "'question' stands twice"),
        ("id,question,answer,continent\n", "holds no questions"),
        ("", "is empty"),
        ("id,question,answer,continent\n,,,\n", "holds no questions"),
        ("id,frage,answer,continent\na,W?,x,y\n", "user names the column 'question', which is not there"),
    ],
)
def test_a_mistake_in_the_questions_names_their_file_and_line(capitals, content, words):
    (capitals.parent / "capitals.csv").write_text(content)
    with pytest.raises(UserError, match="capitals.csv.*" + words):
        read_task(capitals)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("q.csv", b"question\n\xff\n", "line 2: it is not UTF-8"),
        ("q.jsonl", b'{"question": "a"}\n{"question"\n', "malformed in line 2"),
        ("q.jsonl", b"[1]\n", "line 1: row 1 is no JSON object"),
        ("q.json", b"[" * 100_000, "nested too deeply"),
        ("q.json", b'{"a": 1}', "there are a.: name it under columns"),
        ("q.parquet", b"PAR1", "no whole Parquet file"),
        ("q.xlsx", b"PK", "no Excel file"),
        ("q.csv.gz", b"\x1f\x8b", "no whole gzip file"),
        ("q.docx", b"", "use one of .jsonl"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "t.yaml").write_text(f"questions: {name}\n")
    with pytest.raises(UserError, match=words) as told:
        read_task(tmp_path / "t.yaml")
    assert "\n" not in str(told.value)


def test_numbers_within_a_row_stay_numbers_and_empty_rows_are_counted(tmp_path):
    checks = '[{"json": {"schema": {"type": "object", "properties": {"age": {"minimum": 3}}}}}]'
    row = '{"id": 2.50, "question": "Q", "answer": {"age": 4}, "checks": CHECKS}'.replace("CHECKS", checks)
    (tmp_path / "q.jsonl").write_text(f"{row}\n{{}}\n")
    (tmp_path / "t.yaml").write_text("questions: q.jsonl\n")
    task = read_task(tmp_path / "t.yaml")
    (question,) = task.questions
    assert (question.id, question.references) == ("2.50", ('{"age": 4}',))
    assert judge_answer(task, question, '{"age": 4}').task == "passes"
    assert judge_answer(task, question, '{"age": 2}').task == "fails"
    assert task.notes == ("1 empty line of q.jsonl left out.",)


def test_a_line_separator_within_a_text_ends_no_line(tmp_path):
    (tmp_path / "q.jsonl").write_text('\ufeff{"question": "one\u2028two"}\n', encoding="utf-8")
    (tmp_path / "t.yaml").write_text("questions: q.jsonl\n")
    assert read_task(tmp_path / "t.yaml").questions[0].text == "one\u2028two"


def test_a_yaml_bomb_is_one_line():
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
    )
    with pytest.raises(UserError, match=r"line 2: aliases .* are not taken"):
        parse_task(bomb, "bomb.yaml")
    with pytest.raises(UserError, match="nested more than"):
        parse_task("a: " + "[" * 10_000, "bomb.yaml")


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text):
    try:
        parse_task(text, "x.yaml")
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_a_task_from_the_page_names_no_file():
    for line in ("questions: q.csv", "questions: [a]\nscore: [{own: {file: x.py}}]"):
        with pytest.raises(UserError, match="from the page cannot"):
            parse_task(f"name: x\n{line}\n", "x.yaml")


def test_a_hundred_thousand_questions_are_taken_and_no_more(tmp_path):
    lines = "".join(f"q{number}?,{number}\n" for number in range(100_001))
    (tmp_path / "t.yaml").write_text("questions: q.csv\nscore: number\n")
    (tmp_path / "q.csv").write_text("question,answer\n" + lines.rsplit("\n", 2)[0] + "\n")
    assert len(read_task(tmp_path / "t.yaml").questions) == 100_000
    (tmp_path / "q.csv").write_text("question,answer\n" + lines)
    with pytest.raises(UserError, match=r"100,001 questions; at most 100,000"):
        read_task(tmp_path / "t.yaml")
