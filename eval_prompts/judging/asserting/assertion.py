"""One assertion on untrusted code, taken apart: what is the tested code's is called in its session and comes back as
plain data, and what is asserted of that is evaluated in the judge's session, which has never seen the code."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable
from typing import Any

from eval_prompts.judging.outcome import Check, Opaque, Outcome, Session, in_words
from eval_prompts.judging.sandbox.monty import MontySandbox

STEPS = (ast.Call, ast.Attribute, ast.Subscript)
SIDES = (ast.Compare, ast.BoolOp, ast.UnaryOp, ast.IfExp)
INNER_SCOPES = (ast.GeneratorExp, ast.ListComp, ast.SetComp, ast.DictComp, ast.Lambda)


def run_script(
    session: Session,
    judge: MontySandbox,
    script: str,
    names: frozenset[str],
    label: str,
    renamed: dict[str, str] | None = None,
) -> Check:
    """Run trusted test code in ``judge``; functions among ``names`` are called across, with plain data both ways.

    What a test script does with a lazy iterator is not known, and the sandbox hands such over as lists: a call of a
    function that returns one makes the check None.
    """
    failures: list[Outcome] = []
    values: dict[str, Any] = {}

    def caller(name: str) -> Callable[..., Any]:
        def call(*args: Any, **keywords: Any) -> Any:
            values = {f"_arg{at}_": value for at, value in enumerate(args)}
            values |= {f"_key_{key}_": value for key, value in keywords.items()}
            given = [*(f"_arg{at}_" for at in range(len(args))), *(f"{key}=_key_{key}_" for key in keywords)]
            own_name = (renamed or {}).get(name, name)
            if own_name in session.lazy:
                outcome = Outcome("lacking", reason="returns a lazy iterator, which the sandbox does not have")
            else:
                outcome = session.evaluate(f"{own_name}({', '.join(given)})", values)
            if outcome.ok and not isinstance(outcome.value, Opaque):
                return outcome.value
            failures.append(outcome)
            raise RuntimeError("the tested code gave no plain value")

        return call

    for name in names if renamed is None else ():
        value = session.evaluate(f"({name}, callable({name}))")
        if value.ok and isinstance(value.value, tuple) and value.value[1:] == (False,):
            values[name] = value.value[0]
    outcome = judge.feed(script, {name: caller(name) for name in names if name not in values}, values)
    if failures:
        return _failed(label, failures[0])
    if outcome.ok:
        return Check(label, True)
    if outcome.state == "lacking":
        return Check(label, None, f"the test {outcome.reason}")
    return Check(label, False, outcome.reason)


class Assertion:
    """One assertion, taken apart."""

    def __init__(
        self,
        session: Session,
        judge: MontySandbox,
        names: frozenset[str],
        own_equality: bool = False,
        share: Callable[[ast.AST], None] = lambda node: None,
        barred: frozenset[str] = frozenset(),
    ) -> None:
        """``share`` is called with what is to be evaluated in ``session`` before it is. ``barred`` names data and
        helpers of the test, over which the tested code's objects may not decide."""
        self.session, self.judge, self.names = session, judge, names
        self.own_equality, self.share, self.barred = own_equality, share, barred
        self.values: dict[str, Any] = {}
        self.failure: Outcome | None = None

    def check(self, label: str, test: ast.expr) -> Check:
        if any(isinstance(node, INNER_SCOPES) and self._concerns(node) for node in ast.walk(test)):
            script = f"assert {ast.unparse(test)}"
            names = frozenset(part.id for part in ast.walk(test) if isinstance(part, ast.Name)) & self.names
            return run_script(self.session, self.judge, script, names, label)
        remaining, _ = self.taken(test)
        if self.failure and self.failure.ok and self._is_theirs(test) and not self._is_barred(test):
            self.failure = None
            self.share(test)
            outcome = self.session.evaluate(f"bool({ast.unparse(test)})")
            if not outcome.ok:
                self.failure = outcome
                return _failed(label, outcome)
            return Check(label, outcome.value is True, "" if outcome.value is True else "does not hold")
        if self.failure and self.failure.ok and self.own_equality:
            reason = f"gives {in_words(self.failure.value)}, which decides itself what it is equal to"
            return Check(label, None, reason)
        if self.failure:
            return _failed(label, self.failure)
        outcome = self.judge.evaluate(f"bool({ast.unparse(remaining)})", self.values)
        if outcome.ok and outcome.value is True:
            return Check(label, True)
        if outcome.state == "lacking":
            return Check(label, None, f"the test {outcome.reason}")
        if not outcome.ok:
            return Check(label, False, outcome.reason)
        return Check(label, False, self._difference(test, remaining))

    def taken(self, node: ast.expr) -> tuple[ast.expr, dict[str, Any]]:
        """``node`` with everything that belongs to the tested code replaced by names, and their plain values; what
        could not be had is in ``failure``."""
        remaining = self._replace(copy.deepcopy(node), inside_call=False)
        assert isinstance(remaining, ast.expr)
        return remaining, self.values

    def _is_barred(self, node: ast.AST) -> bool:
        return any(isinstance(part, ast.Name) and part.id in self.barred for part in ast.walk(node))

    def _replace(self, node: ast.AST, inside_call: bool) -> ast.AST:
        """``node`` with everything that belongs to the tested code replaced by names of plain values."""
        if self.failure or not self._concerns(node):
            return node
        if not isinstance(node, SIDES) and (self._root(node) in self.names):
            return self._value(node, inside_call) or node
        saved = dict(self.values), self.failure
        original = copy.deepcopy(node)
        for field, part in ast.iter_fields(node):
            if isinstance(part, ast.expr):
                setattr(node, field, self._replace(part, inside_call or isinstance(node, ast.Call)))
            elif isinstance(part, list):
                in_call = inside_call or isinstance(node, ast.Call)
                part[:] = [self._replace(item, in_call) if isinstance(item, ast.AST) else item for item in part]
        opaque = self.failure is not None and self.failure.ok
        if opaque and not isinstance(node, SIDES) and isinstance(node, ast.expr) and not self._is_barred(node):
            self.values, self.failure = saved
            return self._value(original, inside_call=True) or original
        return node

    def _value(self, node: ast.AST, inside_call: bool) -> ast.Name | None:
        """Evaluate ``node`` in the tested code's session; None, with ``failure`` set, if no plain value comes back."""
        self.share(node)
        outcome = self.session.evaluate(ast.unparse(node))
        called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        if outcome.ok and called in self.session.lazy and not inside_call:
            outcome = Outcome("ok", Opaque("a lazy iterator, not a list"))
        if not outcome.ok or isinstance(outcome.value, Opaque):
            self.failure = outcome
            return None
        name = f"_value{len(self.values)}_"
        self.values[name] = outcome.value
        return ast.Name(id=name, ctx=ast.Load())

    def _is_theirs(self, test: ast.expr) -> bool:
        """Whether what an assertion says of objects is the tested code's to say, as in any method that returns a truth
        value: objects of its own compared with each other, an element asked for, or identity, which nothing can feign.
        """
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return self._is_theirs(test.operand) or self._root(test.operand) in self.names
        if not isinstance(test, ast.Compare) or len(test.ops) != 1:
            return not isinstance(test, SIDES) and self._root(test) in self.names
        if isinstance(test.ops[0], ast.Is | ast.IsNot):
            return True
        asked = isinstance(test.ops[0], ast.In | ast.NotIn)
        return self._is_an_object(test.comparators[0]) and (asked or self._is_an_object(test.left))

    def _is_an_object(self, node: ast.expr) -> bool:
        """Whether an expression is made by the tested code alone: from its names, or computed from two such."""
        if isinstance(node, ast.BinOp):
            return self._is_an_object(node.left) and self._is_an_object(node.right)
        return self._root(node) in self.names

    def _concerns(self, node: ast.AST) -> bool:
        return any(isinstance(part, ast.Name) and part.id in self.names for part in ast.walk(node))

    def _root(self, node: ast.AST) -> str:
        """The name at the start of a chain of calls, attributes and subscripts."""
        while isinstance(node, STEPS):
            node = node.func if isinstance(node, ast.Call) else node.value
        return node.id if isinstance(node, ast.Name) else ""

    def _difference(self, test: ast.expr, remaining: ast.AST) -> str:
        if not (isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(remaining, ast.Compare)):
            return "does not hold"
        left = self.judge.evaluate(ast.unparse(remaining.left), self.values)
        right = self.judge.evaluate(ast.unparse(remaining.comparators[0]), self.values)
        if not (left.ok and right.ok):
            return "does not hold"
        expected = "" if isinstance(test.ops[0], ast.Eq) else f"{type(test.ops[0]).__name__.lower()} "
        return f"gave {in_words(left.value)}, expected {expected}{in_words(right.value)}"


def _failed(label: str, outcome: Outcome) -> Check:
    if outcome.state == "lacking":
        return Check(label, None, outcome.reason)
    if outcome.ok:
        return Check(label, False, f"returns {in_words(outcome.value)}", outcome.printed)
    return Check(label, False, outcome.reason, outcome.printed)
