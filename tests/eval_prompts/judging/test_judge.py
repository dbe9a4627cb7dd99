"""From an answer to a verdict, and to the badges that say it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval_prompts.judging.assignment import Assignment
from eval_prompts.judging.examine import examine
from eval_prompts.judging.judge import judge, judge_partial, summary
from eval_prompts.judging.repetition import repeats, repetition
from eval_prompts.judging.sandbox import jail
from tests.eval_prompts.judging.hostile import CHEATING, CONTAINED, EXPECTED
from tuning.errors import UserError

AVERAGE = "```python\ndef average(numbers):\n    return sum(numbers) / len(numbers)\n```\n"
TEST = f"assert f(5) == {EXPECTED}"
needs_jail = pytest.mark.skipif(bool(jail.unavailable()), reason=f"no jail here: {jail.unavailable()}")


def badge(verdict, kind):
    return next((item for item in verdict.badges if item.kind == kind), None)


def fenced(source):
    return f"```python\n{source}\n```"


def test_a_right_answer():
    verdict = judge("Here:\n" + AVERAGE, probe_id="average", stopped=True)
    assert (verdict.parses, verdict.runs, verdict.task, verdict.missing) == (True, "yes", "passes", ())
    assert [item.label for item in verdict.badges] == [
        "parses", "known names", "defines only", "does the task", "ended by itself",
    ]  # fmt: skip
    assert [item.state for item in verdict.badges] == ["good", "good", "neutral", "good", "good"]


def test_no_code():
    verdict = judge("I am a language model.", probe_id="average", stopped=True)
    assert [(item.label, item.state) for item in verdict.badges] == [
        ("no code", "bad"), ("fails the task", "bad"), ("ended by itself", "good"),
    ]  # fmt: skip


def test_a_syntax_error_names_its_line():
    verdict = judge(fenced("x = 1\ndef f(x)\n    return x"))
    assert verdict.parses is False
    assert badge(verdict, "parses").reason == "Line 2: expected ':'."
    assert badge(verdict, "runs") is None


def test_what_only_compiling_finds_is_a_syntax_error():
    assert judge(fenced("return 3")).parses is False


def test_the_original_knn_calls_a_method_that_does_not_exist():
    source = (
        "from sklearn.neighbors import KNeighborsClassifier\n"
        "knn = KNeighborsClassifier(n_neighbors=3)\nknn.fit([[0], [1]], [0, 1])\nprint(knn.classify([[0]]))"
    )
    verdict = judge(fenced(source), probe_id="knn")
    names = badge(verdict, "names")
    assert (names.label, names.state) == ("unknown: knn.classify", "bad")
    assert names.reason == "Line 4: sklearn.neighbors.KNeighborsClassifier has no classify."
    assert (verdict.runs, verdict.task) == ("not run", "not run")
    assert badge(verdict, "runs").state == "neutral"
    assert "sklearn" in badge(verdict, "runs").reason


def test_a_number_instead_of_the_series_fails():
    source = "def fib(n):\n    if n <= 1:\n        return n\n    return fib(n - 1) + fib(n - 2)\nprint(fib(10))"
    verdict = judge(fenced(source), probe_id="fibonacci")
    assert (verdict.runs, verdict.task, verdict.output) == ("yes", "fails", "55\n")
    assert badge(verdict, "task").state == "bad"
    assert "prints no series" in badge(verdict, "task").reason


def test_a_right_answer_that_then_repeats_itself_up_to_the_cap():
    verdict = judge(AVERAGE * 8 + "```python\ndef average(num", probe_id="average", stopped=False)
    assert verdict.task == "passes"
    assert badge(verdict, "ended").label == "hit the cap"
    assert badge(verdict, "repeats").state == "bad"


def test_of_an_answer_cut_off_in_its_code_the_complete_part_is_judged():
    verdict = judge(AVERAGE.rstrip("`\n") + "\n\nprint(average([1, 2", probe_id="average", stopped=False)
    assert (verdict.parses, verdict.task) == (True, "passes")
    assert "left out" in badge(verdict, "parses").reason


def test_an_error_is_told_with_its_line_and_what_was_printed():
    verdict = judge(fenced("print('start')\nprint(1 / 0)"))
    assert (verdict.runs, verdict.task) == ("no", "none")
    assert badge(verdict, "runs").reason == "ZeroDivisionError: division by zero (line 2)."
    assert badge(verdict, "runs").output == "start\n"
    assert badge(verdict, "task") is None


@pytest.mark.parametrize(
    ("source", "runs"),
    [
        ("import sys\nprint('x')\nsys.exit(0)", "yes"),
        ("import sys\nsys.exit(2)", "no"),
        ("while True: input('more? ')", "not run"),
        ("import numpy", "not run"),
        ("open('data.csv')", "not run"),
        ("while True: pass", "no"),
        ("-" * 5000 + "1", "not run"),
        ("while True:\n    try:\n        input()\n    except Exception: pass", "no"),
    ],
)
def test_whether_it_runs(source, runs):
    assert judge(fenced(source)).runs == runs


def test_assertions():
    source = fenced("def f(n):\n    return 1 if n < 2 else n * f(n - 1)")
    verdict = judge(source, tests=[TEST, "assert f(0) == 1", "assert f(3) == 7"])
    assert verdict.task == "fails"
    assert [check.passed for check in verdict.checks] == [True, True, False]
    assert verdict.task_reason == "assert f(3) == 7: gave 6, expected 7"
    assert (
        judge(source, tests=[TEST, "assert f(3) < 7", "assert not f(3) == 7", "assert f(2) in (1, 2)"]).task == "passes"
    )


@pytest.mark.parametrize(
    ("source", "test"),
    [
        ("def f(x): return {x: [x]}", "assert f(1) == {1: [1]}"),
        ("def f(x): return x", "assert set(f([1, 2, 1])) == {1, 2}"),
        ("def f(x): return map(str, x)", "assert list(f([1, 2])) == ['1', '2']"),
        ("def f(x): return x / 3", "import math\nassert math.isclose(f(1), 0.33333, rel_tol=0.001)"),
        ("class P:\n    def __init__(self, a): self.a = a\ndef f(p): return p.a", "assert f(P(3)) == 3"),
        ("class P:\n    def __init__(self, a): self.a = a", "assert P(3).a == 3"),
        ("def f(x): return x * 2", "assert all(f(x) == 2 * x for x in range(10))"),
        ("def f(x): return x * 2", "for x in range(3):\n    assert f(x) == 2 * x"),
        ("def f(x): return x\ndef g(x): return x", "assert f(g(3)) == g(3) == 3"),
        ("LIMIT = 7", "assert LIMIT == 7"),
        ("def f(a, b=1): return a - b", "assert f(3, b=2) == 1"),
        ("def f(x): return (x, 'a', None, 1.5, b'x', {1})", "assert f(1) == (1, 'a', None, 1.5, b'x', {1})"),
        ("def f(x): return float('nan')", "assert f(1) != f(1)"),
    ],
)
def test_assertions_of_many_forms(source, test):
    assert judge(fenced(source), tests=[test]).task == "passes"


@pytest.mark.parametrize(
    ("source", "test"),
    [
        ("def f(x): return map(str, x)", "assert f([1, 2]) == ['1', '2']"),
        ("def f(x): return (y for y in x)", "assert f([1, 2]) == [1, 2]"),
        ("def f(x): return x", "assert f([1]) == (1,)"),
        ("def f(x): return 1", "assert f(0) is None"),
        ("def g(x): return 1", "assert f(0) == 1"),
        ("def f(x): raise ValueError", "assert f(0) == 1"),
        ("def f(x): return [x]", "assert all(f(x) == x for x in range(3))"),
    ],
)
def test_assertions_that_do_not_hold(source, test):
    assert judge(fenced(source), tests=[test]).task == "fails"


def test_setup_code_is_run_after_the_program():
    source = fenced("class Node:\n    def __init__(self, v):\n        self.v = v\n\ndef value(n): return n.v")
    assert judge(source, tests=["assert value(root) == 3"], setup="root = Node(3)").task == "passes"


@pytest.mark.parametrize("name", CHEATING)
@pytest.mark.parametrize(
    "test",
    [
        TEST,
        f"for n in [5]:\n    assert f(n) == {EXPECTED}",
        f"assert all(f(n) == {EXPECTED} for n in [5])",
        f"right = f(5) == {EXPECTED}\nassert right",
        f"result = f(5)\nassert result == {EXPECTED}",
        f"if f(5) != {EXPECTED}:\n    assert False",
        f"for got, wanted in [(f(5), {EXPECTED})]:\n    assert got == wanted",
        f"pairs = [(f(5), {EXPECTED})]\ngot, wanted = pairs[0]\nassert got == wanted",
        f"wanted = [{EXPECTED}]\ngot = [f(5)]\nassert got == wanted",
        f"def same(a, b):\n    return a == b\nassert same(f(5), {EXPECTED})",
        f"same = lambda a, b: a == b\nassert same(f(5), {EXPECTED})",
        f"def check(candidate):\n    assert candidate(5) == {EXPECTED}\ncheck(f)",
        f"def check(candidate):\n    got = candidate(5)\n    assert got == {EXPECTED}, 'no'\ncheck(f)",
        f"def expect(value, wanted):\n    assert value == wanted\nexpect(f(5), {EXPECTED})",
        f"wanted = {EXPECTED}\ntry:\n    assert f(5) == wanted\nexcept ValueError:\n    pass",
        f"assert f(5) in [{EXPECTED}]",
        f"assert [f(5)] == [{EXPECTED}]",
        f"x = 0\nx += f(5)\nassert x == {EXPECTED}",
        f"from math import isclose\nassert isclose(f(5), {EXPECTED})",
        f"assert {EXPECTED} == f(5) and True",
        f"assert not f(5) != {EXPECTED}",
        f"while f(5) != {EXPECTED}:\n    raise AssertionError",
    ],
)
def test_cheats_do_not_pass_in_the_sandbox(name, test):
    assert judge(fenced(CHEATING[name]), tests=[test]).task in ("fails", "not run")


@needs_jail
@pytest.mark.parametrize("name", CHEATING)
def test_cheats_do_not_pass_in_the_jail(name):
    verdict = judge(fenced("import statistics, socket\n" + CHEATING[name]), tests=[TEST], jail=True)
    assert verdict.where == "jail"
    assert verdict.task in ("fails", "not run")


@pytest.mark.parametrize("name", sorted(CONTAINED)[::3])
def test_hostile_answers_get_a_verdict(name):
    verdict = judge(fenced(CONTAINED[name]), probe_id="average")
    assert verdict.task in ("fails", "not run")


def test_without_the_jail_nothing_is_run_there(monkeypatch):
    monkeypatch.setattr(jail, "open_jail", lambda *_: pytest.fail("the jail was opened"))
    assert examine(fenced("import numpy"), Assignment()).where == "sandbox"


def test_the_jail_is_refused_in_words_where_it_is_missing(monkeypatch):
    monkeypatch.setattr(jail, "unavailable", lambda: "bubblewrap is not installed")
    with pytest.raises(UserError, match="bubblewrap is not installed"):
        examine(fenced("import numpy"), Assignment(), jail=True)


@pytest.mark.parametrize(
    ("text", "parses"),
    [
        ("Sure, here", None),
        ("```python\ndef f(", None),
        ("```python\ndef f(x):\n    return x\n\nprint(f(", True),
        ("```python\ndef f(x):\n    retu rn x\n    y = 2\n", False),
        (AVERAGE, True),
        ("```python\ndef f(:\n```", False),
        ("```python\nx = '''a", None),
        ('```python\ndef f():\n    """One line.\n\n    Another\n', None),
        ('```python\ndef f():\n    f(x\n    """One line.\n', None),
    ],
)
def test_while_it_streams(text, parses):
    verdict = judge_partial(text)
    assert verdict.parses is parses
    assert not verdict.final
    assert (verdict.runs, verdict.task) == ("not run", "none")
    assert badge(verdict, "runs") is None
    assert badge(verdict, "code") is None


def test_while_it_streams_nothing_runs(monkeypatch):
    import eval_prompts.judging.examine

    monkeypatch.setattr(eval_prompts.judging.examine, "_open", lambda *_: pytest.fail("something was run"))
    assert judge_partial(fenced("while True: pass")).parses


def test_streaming_finds_repetition():
    assert badge(judge_partial(AVERAGE * 5), "repeats")
    assert badge(judge_partial(AVERAGE), "repeats") is None


def test_a_verdict_is_json():
    verdict = judge(AVERAGE, probe_id="average", stopped=True)
    data = json.loads(json.dumps(verdict.to_dict()))
    assert (data["task"], data["badges"][0]["kind"]) == ("passes", "parses")


def test_a_summary_counts_per_side():
    good = judge(AVERAGE, probe_id="average", stopped=True)
    bad = judge(AVERAGE.replace("/", "//"), probe_id="average", stopped=False)
    none = judge("no", probe_id="average", stopped=True)
    counts = summary([("base", bad), ("base", none), ("tuned", good)])
    assert counts["base"] == {
        "answers": 2, "code": 1, "parses": 1, "unknown_names": 0, "runs": 1, "passes": 0, "fails": 2, "not_run": 0,
        "ended": 1, "capped": 1, "repeats": 0,
    }  # fmt: skip
    assert (counts["tuned"]["passes"], counts["tuned"]["ended"]) == (1, 1)
    assert summary([]) == {}


@settings(max_examples=60)
@given(st.text(max_size=60) | st.text(alphabet="defx():=+ \n1'\"#[]{}@\\`", max_size=80))
def test_any_text_gets_a_verdict(text):
    json.dumps(judge(fenced(text), stopped=False).to_dict())
    json.dumps(judge_partial(text).to_dict())


def test_repetition():
    assert repetition("") == 0
    assert repetition("a b c") == 0
    assert not repeats(AVERAGE)
    assert repeats(AVERAGE * 2)
    assert repetition("word " * 1000) > 0.95
    assert 0 <= repetition("the same line of words again and again " * 3) <= 1


@given(st.text(alphabet="ab \n", max_size=300))
def test_repetition_is_a_share(text):
    assert 0 <= repetition(text) <= repetition(text * 2 + " ") + 1e-9 <= 1


@pytest.mark.parametrize(
    ("program", "label"),
    [
        ("def add(a, b):", "cut off"),
        ("# Example\ndef add(a, b):\n   ", "cut off"),
        ("import os\n\ndef add(a, b):\n    total = os.", "cut off"),
        ('"""Adds."""\nfor number in [1', "cut off"),
        ("x = 1\nfor number in", "parses"),
        ("def add(:\n    return 1\nx = 2\ny", "syntax error"),
    ],
)
def test_code_that_was_cut_off_is_judged_by_its_complete_statements_and_is_no_syntax_error(program, label):
    for stopped in (False, None):
        badges = {badge.kind: badge for badge in judge(f"```python\n{program}", stopped=stopped).badges}
        assert badges["parses"].label == label
        assert label != "cut off" or (badges["parses"].state == "neutral" and "runs" not in badges)
