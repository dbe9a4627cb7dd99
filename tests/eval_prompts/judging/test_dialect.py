"""Programs are put into the sandbox's Python without changing what they mean."""

from __future__ import annotations

import ast
import heapq
import importlib.util
import operator
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval_prompts.judging.sandbox.dialect import STAND_INS, prepare
from eval_prompts.judging.sandbox.monty import MontySandbox


def printed(source):
    with MontySandbox() as box:
        outcome = box.run(source)
    assert outcome.ok, outcome.reason
    return outcome.printed.strip()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("class A(object):\n    def __init__(self):\n        self.x = 3\nprint(A().x)", "3"),
        ("x = [1, 2, 3]\ndel x[0]\nprint(x)", "[2, 3]"),
        ("d = {'a': 1, 'b': 2}\ndel d['a'], d['b']\nprint(d)", "{}"),
        ("x = 1\ndel x\nprint('gone')", "gone"),
        ("import heapq\nh = [3, 1, 2]\nheapq.heapify(h)\nprint(heapq.heappop(h))", "1"),
        ("from heapq import heappush as push, heappop\nh = []\npush(h, 2); push(h, 1)\nprint(heappop(h))", "1"),
        ("import math, statistics as s\nprint(s.mean([1, 2, 3, 4]), math.floor(2.5))", "2.5 2"),
        ("from operator import *\nprint(sorted([(1, 'b'), (2, 'a')], key=itemgetter(1)))", "[(2, 'a'), (1, 'b')]"),
        ("import string\nprint(string.digits)", "0123456789"),
        ("import re\nprint(re.sub(r'(a)(b)', r'\\2_\\1', 'ab'))", "b_a"),
        ("import re\nprint(re.compile('(a)').sub(r'\\1_', 'a'))", "a_"),
        ("x = 'ä'; del x; y = [1]; del y[0]; print('ü', y)", "ü []"),
        ("votes = {'a': 1, 'b': 2}\nprint(max(votes, key=votes.get))", "b"),
        ("import math\nprint(sorted(['b', 'A'], key=str.lower), list(map(math.floor, [1.5])))", "['A', 'b'] [1]"),
        (
            "from typing import Dict as D, List\nRow = List[D[str, int]]\nrow: Row = [{'a': 1}]\nprint(row)",
            "[{'a': 1}]",
        ),
        ("import typing\nPairs = typing.List[typing.Tuple[int, ...]]\nprint(3)", "3"),
        ("List = [1, 2]\nprint(List[0])", "1"),
        ("from sys import exit, maxsize\nprint(maxsize > 0)", "True"),
    ],
)
def test_rewritten_programs_do_what_they_did(source, expected):
    assert printed(source) == expected


def test_a_program_in_the_dialect_is_left_alone():
    source = "def f(x):\n    return x + 1\n\nprint(f(2))"
    assert prepare(source, ast.parse(source)).source == source


def test_lines_keep_their_numbers():
    source = "from heapq import (\n    heappush,\n    heappop,\n)\nraise ValueError('here')"
    with MontySandbox() as box:
        assert box.run(source).reason.endswith("(line 5)")


def test_stand_ins_do_not_leak_names():
    with MontySandbox() as box:
        assert box.run("import heapq\nheappush([], 1)").state == "raised"


def test_functions_that_return_lazy_iterators_are_named():
    source = (
        "def f(x): return map(str, x)\ndef g(x): return list(map(str, x))\ndef h(x):\n    y = zip(x, x)\n    return y"
    )
    assert prepare(source, ast.parse(source)).lazy == {"f", "h"}


def stand_in(name):
    spec = importlib.util.spec_from_file_location(f"stand_in_{name}", STAND_INS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


numbers = st.lists(st.integers(-1000, 1000), min_size=2, max_size=30)


@given(numbers, st.integers(-5, 40))
def test_heapq_stand_in(values, count):
    ours = stand_in("heapq")
    heap = list(values)
    ours.heapify(heap)
    assert [ours.heappop(heap) for _ in values] == sorted(values)
    for value in values:
        ours.heappush(heap, value)
    assert heap[0] == min(values)
    assert ours.heappushpop(list(heap), count) == heapq.heappushpop(list(heap), count)
    assert ours.heapreplace(heap, count) == min(values)
    assert ours.nsmallest(count, values) == heapq.nsmallest(count, values)
    assert ours.nlargest(count, values, key=abs) == heapq.nlargest(count, values, key=abs)


@given(numbers)
def test_statistics_stand_in(values):
    ours = stand_in("statistics")
    for name in ("mean", "fmean", "median", "mode", "pvariance", "variance", "pstdev", "stdev"):
        assert getattr(ours, name)(values) == getattr(statistics, name)(values)


@given(st.lists(st.floats(-1e6, 1e6).map(lambda value: round(value, 3)) | st.integers(-9, 9), min_size=2, max_size=9))
def test_statistics_of_fractions_are_exact(values):
    ours = stand_in("statistics")
    for name in ("mean", "pvariance", "variance", "pstdev", "stdev"):
        assert getattr(ours, name)(values) == getattr(statistics, name)(values), name


@pytest.mark.parametrize("value", [float("inf"), float("nan"), True, "a"])
def test_statistics_of_anything_else_are_not_computed_but_named(value):
    for name in ("mean", "variance", "stdev", "pstdev"):
        with pytest.raises(NotImplementedError, match="monty"):
            getattr(stand_in("statistics"), name)([1, value])


@pytest.mark.parametrize(
    "name",
    ["add", "sub", "mul", "truediv", "floordiv", "mod", "eq", "ne", "lt", "le", "gt", "ge", "xor", "and_", "or_"],
)
def test_operator_stand_in(name):
    assert getattr(stand_in("operator"), name)(7, 3) == getattr(operator, name)(7, 3)


def test_operator_getters():
    ours = stand_in("operator")
    assert ours.itemgetter(1, 0)("ab") == operator.itemgetter(1, 0)("ab")
    assert ours.attrgetter("real")(3) == 3
