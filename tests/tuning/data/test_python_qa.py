"""The embedded data set: every answer passes its check, and no two rows are the same task."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tuning.data.similarity import code_of, near_duplicates, parses, templated
from tuning.data.dataset import load
from tuning.data.sources import EMBEDDED_FOLDER

PYTHON_QA = EMBEDDED_FOLDER / "python_qa.jsonl"
RUNNER = Path(__file__).with_name("run_checks.py")
TOPICS = {
    "classes": r"\bclass \w+",
    "decorators and closures": r"@wraps|def \w+\(.*\):\n(?:.*\n)*?    def ",
    "generators": r"\byield\b",
    "context managers and exceptions": r"\bwith\b|\btry:|\braise\b",
    "files and paths": r"\bopen\(|\bPath\(|\bcsv\b|\bjson\b",
    "dates and times": r"\bdatetime\b|\bdate\b|\btimedelta\b|\bcalendar\b",
    "regular expressions": r"\bre\.",
    "statistics": r"\b(?:median|mode|variance|deviation|percentile|quartile|correlation|moving|histogram|weighted)\b",
    "sorting": r"\bsorted\(|\.sort\(",
    "dictionaries": r"\.items\(|\.get\(|\bdict\(|\.setdefault\(",
    "sets": r"\bset\(",
    "strings": r"\.join\(|\.split\(|\.upper\(|\.lower\(|\.replace\(",
    "recursion": r"def (\w+)\((?:.|\n)*\b\1\(",
    "standard library collections": r"\bfrom (?:collections|itertools|functools|heapq|bisect) import|\bimport heapq",
    "comprehensions": r"\bfor \w+(?:, \w+)* in .*[\])}]",
    "numbers": r"//|%|\bdivmod\(",
}


@pytest.fixture(scope="module")
def rows():
    return [json.loads(line) for line in PYTHON_QA.read_text(encoding="utf-8").splitlines()]


def run_checks(path, *options):
    command = [sys.executable, "-I", str(RUNNER), str(path), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=Path(path).parent)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_there_are_at_least_five_hundred_rows_of_the_agreed_shape(rows):
    assert len(rows) >= 500
    for row in rows:
        assert set(row) == {"instruction", "input", "output", "check"}
        assert all(isinstance(value, str) for value in row.values())
        assert row["instruction"].strip()


def test_each_answer_is_one_python_block_with_a_sentence_at_most_around_it(rows):
    for row in rows:
        assert row["output"].count("```") == 2, row["instruction"]
        around = re.sub(r"```python\n.*?```", "", row["output"], flags=re.DOTALL).strip()
        assert len(re.findall(r"[.!?](?=\s|$)", around)) <= 1, row["instruction"]
        assert parses(code_of(row)), row["instruction"]
        assert len(code_of(row).splitlines()) <= 25, row["instruction"]


def test_every_answer_passes_its_check(rows, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(PYTHON_QA.read_bytes())
    assert [rows[index]["instruction"] for index in run_checks(path)] == []


def test_no_check_passes_without_an_answer(rows, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(PYTHON_QA.read_bytes())
    missed = set(range(len(rows))) - set(run_checks(path, "EMPTY"))
    assert [rows[index]["instruction"] for index in sorted(missed)] == []


def test_no_two_rows_are_near_duplicates(rows):
    assert near_duplicates(rows) == []


def test_no_two_rows_are_one_template(rows):
    assert templated(rows) == []


def test_the_detectors_find_planted_copies():
    def row(instruction, code):
        return {"instruction": instruction, "input": "", "output": f"```python\n{code}\n```", "check": ""}

    add = row("Write a function that returns the sum of a list.", "def total(xs):\n    return sum(xs)")
    highest = row("Write a function that returns the maximum of a list.", "def top(values):\n    return max(values)")
    other = row("Reverse a text.", "def back(text):\n    return text[::-1]")
    assert templated([add, highest, other]) == [(add["instruction"], highest["instruction"])]
    reworded = add | {"instruction": "Write a function that returns the sum of a list."}
    assert near_duplicates([add, reworded, other]) == [(add["instruction"], reworded["instruction"])]
    assert near_duplicates([add, other]) == templated([add, other]) == []


def test_no_probe_is_in_it_in_any_wording(rows):
    banned = re.compile(
        r"fibonacci|\bknn\b|nearest neighbo|area of a circle|\bradius\b|average of (?:a|the) list"
        r"|(?:check|whether|if) an? (?:element|number|item|value) (?:exists|is|occurs) in a list",
        re.IGNORECASE,
    )
    assert [row["instruction"] for row in rows if banned.search(row["instruction"] + row["output"])] == []
    assert load().dropped == {}


@pytest.mark.parametrize("topic", TOPICS)
def test_it_is_broad(rows, topic):
    assert sum(bool(re.search(TOPICS[topic], row["instruction"] + row["output"])) for row in rows) >= 12


def test_no_two_instructions_are_alike(rows):
    assert len({row["instruction"].lower() for row in rows}) == len(rows)
