"""Suites in the formats of MBPP and HumanEval: read, judged, scored, compared."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from eval_prompts.judging import suite
from eval_prompts.judging.judge import judge
from tests.eval_prompts.judging.hostile import CHEATING, EXPECTED
from tuning.errors import UserError

ROWS = [json.loads(line) for line in (Path(__file__).parent / "broken_solutions.jsonl").read_text().splitlines()]
PROMPT = (
    "from typing import List\n\n\ndef twice(x):\n    return 2 * x\n\n\n"
    "def scaled(numbers: List[float]) -> List[float]:\n"
    '    """ Twice every number.\n    >>> scaled([1])\n    [2]\n    """\n'
)
HUMAN_EVAL = {
    "task_id": "Own/0",
    "prompt": PROMPT,
    "entry_point": "scaled",
    "canonical_solution": "    return [twice(number) for number in numbers]\n",
    "test": (
        "METADATA = {'author': 'own'}\n\ndef check(candidate):\n    assert candidate([1, 2]) == [2, 4]\n"
        "    for n in range(5):\n        assert abs(candidate([n / 3])[0] - twice(n / 3)) < 1e-6\n"
        "    assert candidate([]) == []\n"
    ),
}


def fenced(source):
    return f"```python\n{source}\n```"


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_there_are_a_hundred_broken_solutions():
    assert len(ROWS) == 100
    assert all(row["code"] != row["broken"] for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row["task_id"]))
def test_a_right_solution_passes_and_its_broken_twin_does_not(row):
    assert judge(fenced(row["code"]), tests=row["test_list"]).task == "passes"
    assert judge(fenced(row["broken"]), tests=row["test_list"]).task == "fails"


def test_mbpp_files_are_read(tmp_path):
    path = write(tmp_path / "mbpp.jsonl", [{**row, "code": row["code"].replace("\n", "\r\n")} for row in ROWS[:3]])
    items = suite.load_suite(path)
    assert [item.id for item in items] == ["1", "2", "3"]
    assert items[0].question == ROWS[0]["text"]
    assert items[0].input == ROWS[0]["test_list"][0]
    assert items[0].task.tests == tuple(ROWS[0]["test_list"])
    assert len(suite.load_suite(path, limit=2)) == 2


def test_compressed_files_and_the_sanitized_form_are_read(tmp_path):
    row = {"prompt": "Round up.", "test_list": ["assert up(1.5) == math.ceil(1.5)"], "test_imports": ["import math"]}
    path = tmp_path / "s.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(row).encode()))
    item = suite.load_suite(path)[0]
    assert (item.id, item.question) == ("1", "Round up.")
    assert suite.judge_answer(item, fenced("def up(x): return int(x) + 1"), True).task == "passes"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "holds no questions"),
        ("not json", "Line 1"),
        ('{"a": 1}', "neither"),
        ("[1]", "neither"),
        ('{"text": "x", "test_list": []}', "neither"),
        ('{"text": "x", "test_list": "assert 1"}', "neither"),
        ('{"text": 3, "test_list": ["assert f(1)"]}', "neither"),
        ('{"prompt": "x", "entry_point": "f"}', "neither"),
    ],
)
def test_bad_files_are_refused_in_words(tmp_path, content, words):
    path = tmp_path / "suite.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=words):
        suite.load_suite(path)


def test_missing_and_binary_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="no suite file"):
        suite.load_suite(tmp_path / "none.jsonl")
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "b.gz").write_bytes(b"no gzip")
    for name in ("b.jsonl", "b.gz", ""):
        with pytest.raises(UserError, match="cannot be read"):
            suite.load_suite(tmp_path / name)
    with pytest.raises(UserError, match="at least 1"):
        suite.load_suite(tmp_path / "b.jsonl", limit=0)


def human_eval(tmp_path, row=HUMAN_EVAL):
    return suite.load_suite(write(tmp_path / "he.jsonl", [row]))[0]


@pytest.mark.parametrize(
    "answer",
    [
        fenced("from typing import List\ndef scaled(numbers):\n    return [2 * n for n in numbers]"),
        fenced("def scaled(numbers: List[float]) -> List[float]:\n    return [twice(n) for n in numbers]"),
        fenced("    return [twice(number) for number in numbers]"),
        fenced("return [n + n for n in numbers]"),
        fenced("out = []\nfor n in numbers:\n    out.append(2 * n)\nreturn out"),
    ],
)
def test_human_eval_answers_may_be_whole_functions_or_bodies(tmp_path, answer):
    verdict = suite.judge_answer(human_eval(tmp_path), answer, True)
    assert verdict.task == "passes", verdict.checks


@pytest.mark.parametrize(
    "answer",
    [
        "",
        fenced("pass"),
        fenced("def other(x): return x"),
        fenced("def scaled(numbers):\n    return numbers"),
        fenced("def scaled(numbers):\n    raise SystemExit(0)"),
        fenced("def check(candidate): pass\ndef scaled(numbers): return []"),
        fenced("def twice(x): return 0\ndef scaled(numbers):\n    return [0 for _ in numbers]"),
        fenced("class A:\n    def __eq__(self, other): return True\ndef scaled(numbers): return A()"),
        fenced("def scaled(numbers):\n    while True: pass"),
    ],
)
def test_wrong_human_eval_answers_do_not_pass(tmp_path, answer):
    assert suite.judge_answer(human_eval(tmp_path), answer, True).task in ("fails", "not run")


def test_a_lazy_iterator_does_not_pass_for_a_list(tmp_path):
    answer = fenced("def scaled(numbers):\n    return (2 * n for n in numbers)")
    assert suite.judge_answer(human_eval(tmp_path), answer, True).task == "not run"


@pytest.mark.parametrize("name", CHEATING)
def test_cheats_do_not_pass_a_check_function(tmp_path, name):
    test = f"def check(candidate):\n    assert candidate(5) == {EXPECTED}\n"
    row = {"task_id": "c", "prompt": "def f(n):\n    '''Factorial.'''\n", "entry_point": "f", "test": test}
    assert suite.judge_answer(human_eval(tmp_path, row), fenced(CHEATING[name]), True).task in ("fails", "not run")


def test_a_check_that_catches_everything_passes_as_in_python():
    task = suite.Assignment(
        function_test="def check(candidate):\n    try:\n        candidate(1)\n    except Exception:\n        pass\n",
        entry_point="f",
    )
    item = suite.Item("1", "q", "", task)
    assert suite.judge_answer(item, fenced("def f(x): raise ValueError"), True).task == "passes"


def test_the_table_of_a_score():
    side = {"passed": 2, "stopped": 0, "mean_tokens": 10.0, "pass_rate": 0.2, "stopped_rate": 0.0, "not_run": 0}
    tuned = side | {"passed": 7, "pass_rate": 0.7, "mean_tokens": None}
    data = {"suite": "own", "n": 10, "p_value": 0.125, "only_base": ["1"], "only_tuned": ["3", "4"]}
    table = suite.as_table(data | {"base": side, "tuned": tuned})
    assert "own: 10 questions" in table
    assert "tuned: passed 7 (70.0%), stopped 0 (0.0%), - tokens on average" in table
    assert "solved by base alone: 1, by tuned alone: 2, exact McNemar p = 0.125" in table


ODD = "a\u2028b\u0085c\u2029d\x0ce\x1cf\x0bg"
"""Marks that Python's ``splitlines`` takes for line ends, and JSON for text."""


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n\n"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_what_stands_inside_a_text_ends_no_line(tmp_path, ends, start, pack):
    rows = [{"text": f"{n} {ODD}", "test_list": [f"assert f({n}) == {ODD!r}"]} for n in range(3)]
    lines = [json.dumps(row, ensure_ascii=False).replace("\\u000c", "\x0c").replace("\x0c", "\\f") for row in rows]
    path = tmp_path / "odd.jsonl"
    path.write_bytes(pack((start + ends.join(lines) + ends).encode()))
    items = suite.load_suite(path)
    assert [item.question for item in items] == [row["text"] for row in rows]
    assert [item.task.tests for item in items] == [tuple(row["test_list"]) for row in rows]


@pytest.mark.parametrize("text", ["[{row}, {row}]", "\ufeff[\n{row},\n{row}\n]\n"])
def test_an_array_is_read(tmp_path, text):
    row = json.dumps({"text": "q", "test_list": ["assert True"], "task_id": "x"})
    path = tmp_path / "array.json"
    path.write_text(text.replace("{row}", row), encoding="utf-8")
    assert [item.id for item in suite.load_suite(path)] == ["x", "x"]
    assert len(suite.load_suite(path, limit=1)) == 1


@pytest.mark.parametrize("text", ["[1, 2]", "[{}]", '[{"text": 1}'])
def test_an_array_of_anything_else_is_refused(tmp_path, text):
    path = tmp_path / "array.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"array\.json"):
        suite.load_suite(path)
