"""Tests of several statements (``s = Stack(); s.push(1); assert s.pop() == 1``), run one statement after the other.

What concerns the tested code is done in its own session, where its objects stay, so that closures, classes and lists
that are changed in place behave as in Python. What is asserted comes back as plain data and is compared in the judge's
session, which has never seen the tested code; values that only the comparison needs stay there.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from eval_prompts.judging.outcome import Check, Opaque, Outcome, Session
from eval_prompts.judging.sandbox.monty import MontySandbox

if TYPE_CHECKING:
    from eval_prompts.judging.assertions import Assertion

MAX_STEPS = 2000
RAISES = re.compile(r"(?:pytest\.)?raises|(?:self\.)?assertRaises")
SUPPRESS = re.compile(r"(?:contextlib\.)?suppress")
UNSUPPORTED = "the test has a form that cannot be tried here"


class NotTriedError(Exception):
    """A test cannot be tried, which says nothing of the tested code."""


class RaisedError(Exception):
    """A statement of a test raised: by the tested code, by the test, or by an assertion that does not hold."""

    def __init__(self, kind: str, message: str, reason: str) -> None:
        super().__init__(reason)
        self.kind, self.message, self.reason = kind, message, reason


class _LeftError(Exception):
    """``break``, ``continue`` or ``return``."""

    def __init__(self, kind: type[ast.stmt]) -> None:
        super().__init__(kind.__name__)
        self.kind = kind


class Statements:
    """Runs the statements of tests; ``theirs`` are the names that live in the tested code's session."""

    def __init__(self, session: Session, judge: MontySandbox, theirs: Iterable[str], own_equality: bool) -> None:
        self.session, self.judge, self.theirs = session, judge, set(theirs)
        self.own_equality = own_equality
        self.ours: set[str] = set()
        self.helpers: set[str] = set()
        self.data: set[str] = set()
        self.functions: dict[str, ast.FunctionDef] = {}
        self.difference = ""
        self.left = MAX_STEPS
        self.lists = 0

    def check(self, label: str, body: Sequence[ast.stmt]) -> Check:
        """The Check for a test of these statements."""
        lazy = [name for name in self.session.lazy if any(_names_of(body) & {name})]
        if lazy:
            return Check(label, None, f"{lazy[0]} returns a lazy iterator, which the sandbox does not have")
        try:
            self.run(body)
            for function in [node for name, node in self.functions.items() if name.startswith("test")]:
                self._call(function, [])
        except NotTriedError as error:
            return Check(label, None, str(error))
        except RaisedError as error:
            return Check(label, False, error.reason)
        except _LeftError:
            return Check(label, None, UNSUPPORTED)
        return Check(label, True)

    def run(self, body: Sequence[ast.stmt]) -> None:
        for node in body:
            self.left -= 1
            if self.left < 0:
                raise NotTriedError("the test takes too many steps to be tried here")
            self._do(node)

    def _do(self, node: ast.stmt) -> None:
        match node:
            case ast.Assert():
                self._assert(node)
            case ast.Expr(value=ast.Call(func=ast.Name(id=name), args=given)) if name in self.functions:
                self._call(self.functions.pop(name), given)
            case ast.If():
                self.run(node.body if self._truth(node.test) else node.orelse)
            case ast.For(target=ast.Name() | ast.Tuple()):
                self._for(node)
            case ast.While():
                self._loop(node.body, node.orelse, iter(lambda: self._truth(node.test), False))
            case ast.Try():
                self._try(node)
            case ast.With():
                self._with(node)
            case ast.Raise():
                self._raise(node)
            case ast.Break() | ast.Continue() | ast.Return(value=None):
                raise _LeftError(type(node))
            case ast.FunctionDef() if (self._concerns(node) or _decides(node)) and not node.decorator_list:
                self.functions[node.name] = node
            case ast.Import(names=[ast.alias(name="pytest" | "contextlib", asname=None)]):
                return
            case ast.Pass() | ast.Global() | ast.Nonlocal():
                return
            case ast.Assign() | ast.AugAssign() | ast.AnnAssign() | ast.Expr() | ast.Delete():
                self._simple(node)
            case ast.FunctionDef() | ast.ClassDef() | ast.Import() | ast.ImportFrom():
                if not isinstance(node, ast.Import | ast.ImportFrom) and self._concerns(node):
                    raise NotTriedError(UNSUPPORTED)
                self._in_both(node)
            case _:
                raise NotTriedError(UNSUPPORTED)

    def _simple(self, node: ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Expr | ast.Delete) -> None:
        """A statement without parts: in the session where its names live, and with those that it binds from then on.

        What the test computes from results (``right = f(5) == 120``) is computed in the judge's session, as in an
        assertion: there no class of the tested code can have a say in it.
        """
        bound = {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, ast.Lambda) and not self._concerns(value):
            self.helpers |= bound
            self._in_both(node)
        elif value is not None and self._concerns(value) and not self._of_theirs(value) and not self._changes(node):
            remaining, values = self._taken(value)
            targets = ast.unparse(ast.Tuple(node.targets)) if isinstance(node, ast.Assign) else ast.unparse(node.target)
            if isinstance(node, ast.Assign) and len(node.targets) == 1:
                targets = ast.unparse(node.targets[0])
            elif isinstance(node, ast.Assign):
                raise NotTriedError(UNSUPPORTED)
            self._step(self.judge.feed(f"{targets} = {ast.unparse(remaining)}", {}, values))
            self.ours |= bound
            self.theirs -= bound
        elif self._concerns(value if value is not None else node) or self._changes(node):
            if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign) and _compares(node):
                raise NotTriedError(UNSUPPORTED)
            self._share(node)
            self._step(self.session.run(ast.unparse(node)))
            self.theirs |= bound
            self.ours -= bound
        else:
            self._step(self.judge.feed(ast.unparse(node), {}))
            self.ours |= bound
            self.theirs -= bound

    def _of_theirs(self, node: ast.AST) -> bool:
        """Whether an expression is the tested code's alone: a call, a part of its object, a list of such."""
        if isinstance(node, ast.List | ast.Tuple):
            return all(self._of_theirs(part) for part in node.elts)
        while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
            node = node.func if isinstance(node, ast.Call) else node.value
        return isinstance(node, ast.Name) and node.id in self.theirs

    def _taken(self, node: ast.expr) -> tuple[ast.expr, dict[str, Any]]:
        """An expression with the results of the tested code in it replaced by names of plain values."""
        assertion = self._assertion()
        remaining, values = assertion.taken(node)
        if assertion.failure is not None:
            if assertion.failure.ok:
                raise NotTriedError(UNSUPPORTED)
            self._step(assertion.failure)
        return remaining, values

    def _assertion(self) -> Assertion:
        from eval_prompts.judging.assertions import Assertion

        barred = frozenset(self.helpers | self.data | self.ours)
        return Assertion(self.session, self.judge, frozenset(self.theirs), self.own_equality, self._share, barred)

    def _changes(self, node: ast.stmt) -> bool:
        """Whether an assignment changes a part of something that lives in the tested code's session."""
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        return any(self._concerns(target) for target in targets if isinstance(target, ast.Attribute | ast.Subscript))

    def _in_both(self, node: ast.stmt) -> None:
        """A definition of the test's own: the comparison may need it, and the tested code may be given it."""
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            self.helpers.add(node.name)
        source = ast.unparse(node)
        self._step(self.judge.feed(source, {}))
        self._step(self.session.run(source))

    def _share(self, node: ast.AST) -> None:
        """Hand the values that a step of the tested code needs over; what can be changed lives there from then on."""
        for name in sorted(_names_of([node]) & self.ours):
            outcome = self.judge.evaluate(name)
            if not outcome.ok or isinstance(outcome.value, Opaque):
                raise NotTriedError(UNSUPPORTED)
            self._step(self.session.evaluate("None", {name: outcome.value}))
            if not isinstance(outcome.value, str | bytes | int | float | complex | None):
                self.ours.discard(name)
                self.theirs.add(name)
                self.data.add(name)

    def _assert(self, node: ast.Assert) -> None:
        if not self._truth(node.test, asserted=True):
            raise RaisedError("AssertionError", "", self.difference or "does not hold")

    def _truth(self, test: ast.expr, asserted: bool = False) -> bool:
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
            self._step(failure)
        self.difference = check.reason
        return check.passed

    def _for(self, node: ast.For) -> None:
        self.lists += 1
        items, target = f"_items{self.lists}_", ast.unparse(node.target)
        theirs = self._of_theirs(node.iter)
        values: dict[str, Any] = {}
        iterated: ast.expr = node.iter
        if theirs:
            self._share(iterated)
        elif self._concerns(iterated):
            iterated, values = self._taken(iterated)
        run = self.session.run if theirs else lambda source: self.judge.feed(source, {}, values)
        self._step(run(f"{items} = list({ast.unparse(iterated)})"))
        size = self._step((self.session if theirs else self.judge).evaluate(f"len({items})")).value
        bound = {part.id for part in ast.walk(node.target) if isinstance(part, ast.Name)}

        def steps() -> Iterable[bool]:
            for at in range(size if type(size) is int else 0):
                self._step(run(f"{target} = {items}[{at}]"))
                self.theirs = self.theirs | bound if theirs else self.theirs - bound
                self.ours = self.ours - bound if theirs else self.ours | bound
                yield True

        self._loop(node.body, node.orelse, steps())

    def _loop(self, body: Sequence[ast.stmt], otherwise: Sequence[ast.stmt], steps: Iterable[bool]) -> None:
        for _ in steps:
            try:
                self.run(body)
            except _LeftError as left:
                if left.kind is ast.Return:
                    raise
                if left.kind is ast.Break:
                    return
        self.run(otherwise)

    def _try(self, node: ast.Try) -> None:
        try:
            try:
                self.run(node.body)
            except RaisedError as error:
                handler = next((item for item in node.handlers if self._catches(item.type, error.kind)), None)
                if handler is None:
                    raise
                if handler.name:
                    self._step(self.judge.feed(f"{handler.name} = {_as_error(error)}", {}))
                    self.ours.add(handler.name)
                self.run(handler.body)
            else:
                self.run(node.orelse)
        finally:
            self.run(node.finalbody)

    def _with(self, node: ast.With) -> None:
        """``with pytest.raises(X):`` and ``with suppress(X):``."""
        item = node.items[0]
        call = item.context_expr
        if (
            len(node.items) > 1
            or item.optional_vars
            or not isinstance(call, ast.Call)
            or not call.args
            or call.keywords
        ):
            raise NotTriedError(UNSUPPORTED)
        name = ast.unparse(call.func)
        if call.keywords or not (RAISES.fullmatch(name) or SUPPRESS.fullmatch(name)):
            raise NotTriedError(UNSUPPORTED)
        try:
            self.run(node.body)
        except RaisedError as error:
            if not any(self._catches(kind, error.kind) for kind in call.args):
                raise
            return
        if RAISES.fullmatch(name):
            raise RaisedError("AssertionError", "", f"does not raise {ast.unparse(call.args[0])}")

    def _raise(self, node: ast.Raise) -> None:
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        if not isinstance(raised, ast.Name):
            raise NotTriedError(UNSUPPORTED)
        raise RaisedError(raised.id, "", "does not hold" if raised.id == "AssertionError" else f"raises {raised.id}")

    def _catches(self, kind: ast.expr | None, raised: str) -> bool:
        if kind is None:
            return True
        if isinstance(kind, ast.Tuple):
            return any(self._catches(part, raised) for part in kind.elts)
        name = ast.unparse(kind)
        classes = getattr(builtins, raised, None), getattr(builtins, name, None)
        if all(isinstance(item, type) for item in classes):
            return issubclass(*classes)
        if name == raised or name.rpartition(".")[2] == raised or name in ("Exception", "BaseException"):
            return True
        return self.session.evaluate(f"issubclass({raised}, {name})").value is True

    def _call(self, function: ast.FunctionDef, given: Sequence[ast.expr]) -> None:
        """Run the body of a function of the test, with its parameters bound for good."""
        arguments = function.args
        parameters = [item.arg for item in arguments.args]
        if arguments.vararg or arguments.kwarg or arguments.kwonlyargs or len(parameters) != len(given):
            raise NotTriedError(UNSUPPORTED)
        for name, value in zip(parameters, given, strict=True):
            self._simple(ast.Assign(targets=[ast.Name(id=name, ctx=ast.Store())], value=value, lineno=0))
        try:
            self.run(function.body)
        except _LeftError as left:
            if left.kind is not ast.Return:
                raise

    def _concerns(self, node: ast.AST | None) -> bool:
        return node is not None and bool(_names_of([node]) & (self.theirs | set(self.functions)))

    def _step(self, outcome: Outcome) -> Outcome:
        """The outcome of a step that went well."""
        if outcome.ok:
            return outcome
        if outcome.state == "lacking":
            raise NotTriedError(outcome.reason)
        kind = "SystemExit" if outcome.state == "exited" else outcome.error
        raise RaisedError(kind, outcome.message, outcome.reason)


def _as_error(error: RaisedError) -> str:
    """An expression for the error that a handler is given; a plain Exception for a class that is not built in."""
    kind = error.kind if isinstance(getattr(builtins, error.kind, None), type) else "Exception"
    if kind == "KeyError":
        try:
            return f"KeyError({ast.literal_eval(error.message)!r})"
        except (ValueError, SyntaxError):
            return f"KeyError({error.message!r})"
    return f"{kind}({error.message!r})"


def _decides(function: ast.FunctionDef) -> bool:
    """Whether a function of a test asserts or raises: its statements are the test's."""
    return any(isinstance(node, ast.Assert | ast.Raise) for node in ast.walk(function))


def _compares(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Compare | ast.BoolOp) for part in ast.walk(node))


def _names_of(nodes: Iterable[ast.AST]) -> set[str]:
    return {part.id for node in nodes for part in ast.walk(node) if isinstance(part, ast.Name)}
