"""The single steps of a test of several statements: each in the session where what it concerns lives.

What concerns the tested code is done in its own session, where its objects stay, so that closures, classes and lists
that are changed in place behave as in Python. What is asserted comes back as plain data and is compared in the judge's
session, which has never seen the tested code; values that only the comparison needs stay there.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any

from eval_prompts.judging.asserting.assertion import Assertion
from eval_prompts.judging.outcome import Opaque, Outcome, Session
from eval_prompts.judging.sandbox.monty import MontySandbox

UNSUPPORTED = "the test has a form that cannot be tried here"


class NotTriedError(Exception):
    """A test cannot be tried, which says nothing of the tested code."""


class RaisedError(Exception):
    """A statement of a test raised: by the tested code, by the test, or by an assertion that does not hold."""

    def __init__(self, kind: str, message: str, reason: str) -> None:
        super().__init__(reason)
        self.kind, self.message, self.reason = kind, message, reason


class Steps:
    """The names of a test: ``theirs`` live in the tested code's session, ``ours`` in the judge's, ``helpers`` (what the
    test defines) in both; ``data`` are those of theirs that the test handed over; ``functions`` are run by statement.
    """

    def __init__(self, session: Session, judge: MontySandbox, theirs: Iterable[str], own_equality: bool) -> None:
        self.session, self.judge, self.theirs = session, judge, set(theirs)
        self.own_equality = own_equality
        self.ours: set[str] = set()
        self.helpers: set[str] = set()
        self.data: set[str] = set()
        self.functions: dict[str, ast.FunctionDef] = {}
        self.difference = ""

    def simple(self, node: ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Expr | ast.Delete) -> None:
        """A statement without parts: in the session where its names live, and with those that it binds from then on.

        What the test computes from results (``right = f(5) == 120``) is computed in the judge's session, as in an
        assertion: there no class of the tested code can have a say in it.
        """
        bound = {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if isinstance(value, ast.Lambda) and not self.concerns(value):
            self.helpers |= bound
            self.in_both(node)
        elif value is not None and self.concerns(value) and not self.of_theirs(value) and not self._changes(node):
            remaining, values = self.taken(value)
            if len(targets) > 1:
                raise NotTriedError(UNSUPPORTED)
            self.step(self.judge.feed(f"{ast.unparse(targets[0])} = {ast.unparse(remaining)}", {}, values))
            self.ours |= bound
            self.theirs -= bound
        elif self.concerns(value if value is not None else node) or self._changes(node):
            if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign) and _compares(node):
                raise NotTriedError(UNSUPPORTED)
            self.share(node)
            self.step(self.session.run(ast.unparse(node)))
            self.theirs |= bound
            self.ours -= bound
        else:
            self.step(self.judge.feed(ast.unparse(node), {}))
            self.ours |= bound
            self.theirs -= bound

    def of_theirs(self, node: ast.AST) -> bool:
        """Whether an expression is the tested code's alone: a call, a part of its object, a list of such."""
        if isinstance(node, ast.List | ast.Tuple):
            return all(self.of_theirs(part) for part in node.elts)
        while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
            node = node.func if isinstance(node, ast.Call) else node.value
        return isinstance(node, ast.Name) and node.id in self.theirs

    def taken(self, node: ast.expr) -> tuple[ast.expr, dict[str, Any]]:
        """An expression with the results of the tested code in it replaced by names of plain values."""
        assertion = self._assertion()
        remaining, values = assertion.taken(node)
        if assertion.failure is not None:
            if assertion.failure.ok:
                raise NotTriedError(UNSUPPORTED)
            self.step(assertion.failure)
        return remaining, values

    def _assertion(self) -> Assertion:
        barred = frozenset(self.helpers | self.data | self.ours)
        return Assertion(self.session, self.judge, frozenset(self.theirs), self.own_equality, self.share, barred)

    def _changes(self, node: ast.stmt) -> bool:
        """Whether an assignment changes a part of something that lives in the tested code's session."""
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        return any(self.concerns(target) for target in targets if isinstance(target, ast.Attribute | ast.Subscript))

    def in_both(self, node: ast.stmt) -> None:
        """A definition of the test's own: the comparison may need it, and the tested code may be given it."""
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            self.helpers.add(node.name)
        source = ast.unparse(node)
        self.step(self.judge.feed(source, {}))
        self.step(self.session.run(source))

    def share(self, node: ast.AST) -> None:
        """Hand the values that a step of the tested code needs over; what can be changed lives there from then on."""
        for name in sorted(names_of([node]) & self.ours):
            outcome = self.judge.evaluate(name)
            if not outcome.ok or isinstance(outcome.value, Opaque):
                raise NotTriedError(UNSUPPORTED)
            self.step(self.session.evaluate("None", {name: outcome.value}))
            if not isinstance(outcome.value, str | bytes | int | float | complex | None):
                self.ours.discard(name)
                self.theirs.add(name)
                self.data.add(name)

    def truth(self, test: ast.expr, asserted: bool = False) -> bool:
        """Whether a condition of the test holds; ``difference`` says why not. An assertion about an object that is no
        plain data does not hold; of any other condition nothing is known then."""
        assertion = self._assertion()
        check = assertion.check("", test)
        if not asserted and assertion.failure is not None and assertion.failure.ok:
            raise NotTriedError(UNSUPPORTED)
        if check.passed is None:
            raise NotTriedError(check.reason)
        failure = assertion.failure
        if failure is not None and not failure.ok:
            self.step(failure)
        self.difference = check.reason
        return check.passed

    def concerns(self, node: ast.AST | None) -> bool:
        return node is not None and bool(names_of([node]) & (self.theirs | set(self.functions)))

    def step(self, outcome: Outcome) -> Outcome:
        """The outcome of a step that went well."""
        if outcome.ok:
            return outcome
        if outcome.state == "lacking":
            raise NotTriedError(outcome.reason)
        kind = "SystemExit" if outcome.state == "exited" else outcome.error
        raise RaisedError(kind, outcome.message, outcome.reason)


def _compares(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Compare | ast.BoolOp) for part in ast.walk(node))


def names_of(nodes: Iterable[ast.AST]) -> set[str]:
    return {part.id for node in nodes for part in ast.walk(node) if isinstance(part, ast.Name)}
