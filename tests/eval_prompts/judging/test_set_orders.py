"""Results that depend on the order of a set are neither right nor wrong; those that do not are as they were."""

from __future__ import annotations

import ast

import pytest

from eval_prompts.judging.assignment import Assignment
from eval_prompts.judging.judge import judge
from eval_prompts.judging.outcome import Check
from eval_prompts.judging.set_orders import agreed, turned

DIFF = "def diff(a, b):\n    return list(set(a) - set(b)) + list(set(b) - set(a))"


def verdict(code, *tests):
    return judge(f"```python\n{code}\n```", task=Assignment(tests=tests)).task


@pytest.mark.parametrize(
    ("code", "test", "expected"),
    [
        (DIFF, "assert diff([10, 15, 20, 25, 30, 35, 40], [25, 40, 35]) == [10, 20, 30, 15]", "not run"),
        (DIFF, "assert diff([1, 2], [2]) == [1]", "passes"),
        (DIFF, "assert diff([1, 2], [2]) == [2]", "fails"),
        (
            "def f(a):\n    out = []\n    for x in set(a):\n        out.append(x)\n    return out",
            "assert f([3, 1]) == [1, 3]",
            "not run",
        ),
        ("def f(a):\n    return sorted(set(a))", "assert f([3, 1, 3]) == [1, 3]", "passes"),
        ("def f(a):\n    return sorted(set(a))", "assert f([3, 1, 3]) == [3, 1]", "fails"),
        ("def f(a):\n    return sum(x for x in {*a})", "assert f([3, 1, 3]) == 4", "passes"),
        ("def f(a):\n    return set(a)", "assert f([3, 1]) == {1, 3}", "passes"),
        ("def f(a):\n    return set(a).pop()", "assert f([3, 1]) == 3", "not run"),
        ("def f(a):\n    return set(a).pop()", "assert f([3]) == 3", "passes"),
        ("def f(a):\n    x, y = set(a)\n    return x", "assert f('ab') == 'a'", "not run"),
        ("def f(a):\n    return ''.join(set(a))", "assert f('ab') == 'ab'", "not run"),
        ("def f(a):\n    return [a.pop(), a.pop()]", "assert f([1, 2]) == [2, 1]", "passes"),
        ("def f(a):\n    return {x for x in set(a)}", "assert f('abc') == {'a', 'b'}", "fails"),
        ("def f(a):\n    return len(set(a))", "assert f('aab') == 3", "fails"),
    ],
)
def test_what_another_order_changes_is_not_run(code, test, expected):
    assert verdict(code, test) == expected


def test_a_set_written_in_another_order_is_the_same_set():
    def failing(reason):
        return [Check("f()", False, reason)]

    found = failing("gave {'a', 'b', 'c'}, expected {'b', 'a'}")
    assert agreed(found, failing("gave {'c', 'a', 'b'}, expected {'a', 'b'}")) == found
    [check] = agreed(found, failing("gave {'c', 'a'}, expected {'a', 'b'}"))
    assert check.passed is None


def test_a_program_without_sets_is_left_alone_and_one_with_them_stays_a_program():
    assert turned(ast.parse("def f(a):\n    return list(a)")) == ""
    source = turned(ast.parse('"""Doc."""\nfrom __future__ import annotations\nprint(*[x for x in {1, 2}])'))
    compile(source, "turned", "exec")
