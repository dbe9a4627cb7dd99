"""Tests in the form of MBPP (``assert f(1) == 2``) and HumanEval (``def check(candidate)``), run so that the tested
code has no say in the result.

Calls of the tested code are made in its own session and come back as plain data; the assertion around them is
evaluated in a second session that has never seen that code. What remains trusted is the sandbox itself. The tested
code may still look at what it is called with and answer that alone, as it may in any test by examples.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from eval_prompts.judging.asserting.assertion import Assertion, run_script
from eval_prompts.judging.asserting.statements import Statements
from eval_prompts.judging.asserting.steps import UNSUPPORTED
from eval_prompts.judging.outcome import Check, Outcome, Session
from eval_prompts.judging.sandbox.monty import Limits, MontySandbox
from eval_prompts.judging.syntax import syntax_tree

CHECKING = Limits(seconds=5.0, exchanges=20_000)


def run_assertions(
    session: Session, tests: Sequence[str], names: frozenset[str], setup: str = "", own_equality: bool = False
) -> list[Check]:
    """One Check per test. ``session`` has run the tested code and ``setup``, which bind ``names``; of its functions
    that return lazy iterators only a test which draws from these may take them for lists. ``own_equality`` says that
    a class of the tested code decides itself what it is equal to."""
    checks = []
    with MontySandbox(CHECKING, pool="tests") as judge:
        imports = [node for node in _statements(setup) if isinstance(node, ast.Import | ast.ImportFrom)]
        judge.run("\n".join(ast.unparse(node) for node in imports))
        for test in tests:
            label = " ".join(test.split())[:200]
            tree = syntax_tree(test.strip())
            if tree is None:
                checks.append(Check(label, None, "the test itself does not parse"))
            elif len(tree.body) == 1 and isinstance(tree.body[0], ast.Assert):
                checks.append(Assertion(session, judge, names, own_equality).check(label, tree.body[0].test))
            else:
                checks.append(Statements(session, judge, names, own_equality).check(label, tree.body))
    return checks


def run_function_check(
    session: Session,
    test: str,
    entry_point: str,
    context: str = "",
    label: str = "check(candidate)",
    own_equality: bool = False,
) -> Check:
    """A Check for a test file that defines ``check(candidate)``, on the tested code's function ``entry_point``.
    ``context`` is trusted code that the test may use (the question's own helpers)."""
    if not entry_point.isidentifier():
        return Check(label, None, f"{entry_point!r} is no name of a function")
    with MontySandbox(CHECKING, pool="tests") as judge:
        ready = judge.run(context) if context.strip() else Outcome("ok")
        if not ready.ok:
            return Check(label, None, f"the test's own setup fails: {ready.reason}")
        tree = syntax_tree(f"{test}\ncheck({entry_point})\n")
        if tree is None:
            return Check(label, None, "the test itself does not parse")
        tried = Statements(session, judge, {entry_point}, own_equality).check(label, tree.body)
        if tried.passed is not None or tried.reason != UNSUPPORTED:
            return tried
        script = f"{test}\ncheck(_tested_)\n"
        return run_script(session, judge, script, frozenset({"_tested_"}), label, {"_tested_": entry_point})


def _statements(source: str) -> list[ast.stmt]:
    tree = syntax_tree(source)
    return tree.body if tree else []
