# ruff: noqa: E501
"""Tests of several statements hold where they hold in Python, fail where they fail there, and else are not tried."""

from __future__ import annotations

import pytest

from eval_prompts.judging.assignment import Assignment
from eval_prompts.judging.examine import examine

CODE = """
class Stack:
    def __init__(self):
        self.items = []
    def push(self, x):
        self.items.append(x)
        return self
    def pop(self):
        return self.items.pop()
    def empty(self):
        return not self.items

class Node:
    def __init__(self, value, rest=None):
        self.value, self.rest = value, rest

class Money:
    def __init__(self, amount):
        self.amount = amount
    def __eq__(self, other):
        return isinstance(other, Money) and self.amount == other.amount
    def __add__(self, other):
        return Money(self.amount + other.amount)

def check_age(x):
    if x < 0:
        raise ValueError("neg")
    return x

def lookup(table, key):
    return table[key]

def bubble(a):
    a.sort()

def total(xs):
    return sum(xs)

def counter():
    n = 0
    def step():
        nonlocal n
        n += 1
        return n
    return step

def apply(function, value):
    return function(value)

def update(table, key):
    table[key] = table.get(key, 0) + 1
"""

HOLD = [
    "s = Stack()\ns.push(1)\nassert s.pop() == 1",
    "s = Stack(); s.push(1); assert s.pop() == 1; assert s.empty()",
    "s = Stack()\nassert s.empty() is True\nassert not s.push(2).empty()",
    "s = Stack()\nfor n in range(3):\n    s.push(n)\nassert s.items == [0, 1, 2]\nassert [s.pop(), s.pop()] == [2, 1]",
    "s = Stack()\ns.push(1)\nwhile not s.empty():\n    s.pop()\nassert s.empty()",
    "a = [3, 1]\nbubble(a)\nassert a == [1, 3]",
    "a = [3, 1]\nb = a[:]\nbubble(b)\nassert a == [3, 1] and b == [1, 3]",
    "a = [3, 1]\nb = sorted(a)\nbubble(a)\nassert a == b",
    "table = {}\nfor word in ['x', 'y', 'x']:\n    update(table, word)\nassert table == {'x': 2, 'y': 1}",
    "try:\n    check_age(-1)\n    assert False\nexcept ValueError:\n    pass",
    "try:\n    check_age(-1)\nexcept (TypeError, ValueError) as error:\n    assert str(error) == 'neg'\nelse:\n    assert False",
    "try:\n    check_age(-1)\nexcept Exception:\n    failed = True\nassert failed",
    "failed = False\ntry:\n    lookup({}, 'k')\nexcept LookupError:\n    failed = True\nfinally:\n    done = True\nassert failed and done",
    "try:\n    check_age(2)\nexcept ValueError:\n    assert False, 'raised'",
    "import pytest\nwith pytest.raises(ValueError):\n    check_age(-1)",
    "c = counter()\nassert (c(), c()) == (1, 2)",
    "c = counter()\nd = counter()\nc()\nassert c() == 2\nassert d() == 1",
    "x = total([1, 2])\nassert x == 3",
    "for n in range(3):\n    assert total([n]) == n",
    "for given, wanted in [([1], 1), ([1, 2], 3), ([], 0)]:\n    assert total(given) == wanted",
    "cases = {(1, 2): 3, (): 0}\nfor given, wanted in cases.items():\n    assert total(given) == wanted",
    "for n in [1, 2, 3]:\n    if n == 2:\n        continue\n    if n > 2:\n        break\n    assert total([n]) == n",
    "n = Node(1, Node(2))\nassert n.rest.value == 2\nassert n.rest.rest is None\nassert n.rest is not None",
    "assert Money(2) + Money(3) == Money(5)",
    "a = Money(2)\nb = Money(2)\nassert a == b\nassert a is not b",
    "assert isinstance(Stack(), Stack)",
    "def square(x):\n    return x * x\nassert apply(square, 3) == 9",
    "assert apply(lambda x: x + 1, 3) == 4",
    "double = lambda x: 2 * x\nassert apply(double, 3) == double(3)",
    "def near(a, b):\n    return abs(a - b) < 1e-9\nassert near(total([0.1, 0.2]), 0.3)",
    "import math\nassert math.isclose(total([0.1, 0.2]), 0.3)",
    "def check(candidate):\n    assert candidate([1]) == 1\n    assert candidate([]) == 0\ncheck(total)",
    "def test_total():\n    assert total([1, 2]) == 3",
    "x, y = total([1]), total([2])\nassert (x, y) == (1, 2)",
    "results = []\nfor n in range(3):\n    results.append(total([n, n]))\nassert results == [0, 2, 4]",
    "xs = [1]\nxs += [2]\nassert total(xs) == 3",
    "if total([]) == 0:\n    ok = 1\nelse:\n    ok = 2\nassert ok == 1",
    "n = Node(1)\nn.value = 7\nassert n.value == 7",
    "assert all(total([n]) == n for n in range(5))",
]  # fmt: skip

DO_NOT_HOLD = [
    "s = Stack()\ns.push(1)\nassert s.pop() == 2",
    "a = [3, 1]\nbubble(a)\nassert a == [3, 1]",
    "try:\n    check_age(1)\n    assert False\nexcept ValueError:\n    pass",
    "try:\n    check_age(-1)\nexcept KeyError:\n    pass",
    "try:\n    check_age(-1)\nexcept ValueError as error:\n    assert str(error) == 'negative'",
    "import pytest\nwith pytest.raises(ValueError):\n    check_age(1)",
    "c = counter()\nassert (c(), c()) == (1, 1)",
    "for given, wanted in [([1], 1), ([1, 2], 4)]:\n    assert total(given) == wanted",
    "s = Stack()\ns.peek()",
    "def check(candidate):\n    assert candidate([1]) == 2\ncheck(total)",
    "def test_total():\n    assert total([1, 2]) == 4",
    "assert Money(2) == Money(3)",
    "n = Node(1)\nassert n.rest is not None",
    "assert total([1]) == 1\nraise AssertionError('no')",
]  # fmt: skip

NOT_TRIED = [
    "import unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n        self.assertEqual(total([1]), 1)",
    "assert Money(2) == 2",
    "stacks = {'a': Stack()}\nassert stacks['a'].empty()",
    "async def f():\n    pass",
]


def in_python(test):
    """What this Python says of a test."""
    names: dict[str, object] = {}
    exec(CODE, names)
    try:
        exec(test, names)
        for name, value in list(names.items()):
            if name.startswith("test"):
                value()
    except BaseException:  # pytest's own failures are no Exception
        return "fails"
    return "passes"


def judged(test):
    return examine(f"```python\n{CODE}\n```", Assignment(tests=(test,)))


@pytest.mark.parametrize("test", HOLD)
def test_they_hold_as_in_python(test):
    verdict = judged(test)
    assert in_python(test) == "passes"
    assert verdict.task == "passes", verdict.task_reason


@pytest.mark.parametrize("test", DO_NOT_HOLD)
def test_they_fail_as_in_python(test):
    verdict = judged(test)
    assert in_python(test) == "fails"
    assert verdict.task == "fails", verdict.task_reason
    assert verdict.task_reason


@pytest.mark.parametrize("test", NOT_TRIED)
def test_what_cannot_be_tried_is_not_held_against_the_answer(test):
    assert judged(test).task == "not run"


def test_a_test_without_end_is_not_tried():
    assert judged("while True:\n    total([1])").task == "not run"
