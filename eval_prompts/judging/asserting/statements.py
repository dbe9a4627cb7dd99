"""Tests of several statements (``s = Stack(); s.push(1); assert s.pop() == 1``), run one statement after the other."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterable, Sequence
from typing import Any

from eval_prompts.judging.asserting.steps import UNSUPPORTED, NotTriedError, RaisedError, Steps, names_of
from eval_prompts.judging.outcome import Check, Session
from eval_prompts.judging.sandbox.monty import MontySandbox

MAX_STEPS = 2000
RAISES = re.compile(r"(?:pytest\.)?raises|(?:self\.)?assertRaises")
SUPPRESS = re.compile(r"(?:contextlib\.)?suppress")


class _LeftError(Exception):
    """``break``, ``continue`` or ``return``."""

    def __init__(self, kind: type[ast.stmt]) -> None:
        super().__init__(kind.__name__)
        self.kind = kind


class Statements(Steps):
    """Runs the statements of tests; ``theirs`` are the names that live in the tested code's session."""

    def __init__(self, session: Session, judge: MontySandbox, theirs: Iterable[str], own_equality: bool) -> None:
        super().__init__(session, judge, theirs, own_equality)
        self.left = MAX_STEPS
        self.lists = 0

    def check(self, label: str, body: Sequence[ast.stmt]) -> Check:
        """The Check for a test of these statements."""
        lazy = [name for name in self.session.lazy if any(names_of(body) & {name})]
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
                self.run(node.body if self.truth(node.test) else node.orelse)
            case ast.For(target=ast.Name() | ast.Tuple()):
                self._for(node)
            case ast.While():
                self._loop(node.body, node.orelse, iter(lambda: self.truth(node.test), False))
            case ast.Try():
                self._try(node)
            case ast.With():
                self._with(node)
            case ast.Raise():
                self._raise(node)
            case ast.Break() | ast.Continue() | ast.Return(value=None):
                raise _LeftError(type(node))
            case ast.FunctionDef() if (self.concerns(node) or _decides(node)) and not node.decorator_list:
                self.functions[node.name] = node
            case ast.Import(names=[ast.alias(name="pytest" | "contextlib", asname=None)]):
                return
            case ast.Pass() | ast.Global() | ast.Nonlocal():
                return
            case ast.Assign() | ast.AugAssign() | ast.AnnAssign() | ast.Expr() | ast.Delete():
                self.simple(node)
            case ast.FunctionDef() | ast.ClassDef() | ast.Import() | ast.ImportFrom():
                if not isinstance(node, ast.Import | ast.ImportFrom) and self.concerns(node):
                    raise NotTriedError(UNSUPPORTED)
                self.in_both(node)
            case _:
                raise NotTriedError(UNSUPPORTED)

    def _assert(self, node: ast.Assert) -> None:
        if not self.truth(node.test, asserted=True):
            raise RaisedError("AssertionError", "", self.difference or "does not hold")

    def _for(self, node: ast.For) -> None:
        self.lists += 1
        items, target = f"_items{self.lists}_", ast.unparse(node.target)
        theirs = self.of_theirs(node.iter)
        values: dict[str, Any] = {}
        iterated: ast.expr = node.iter
        if theirs:
            self.share(iterated)
        elif self.concerns(iterated):
            iterated, values = self.taken(iterated)
        run = self.session.run if theirs else lambda source: self.judge.feed(source, {}, values)
        self.step(run(f"{items} = list({ast.unparse(iterated)})"))
        size = self.step((self.session if theirs else self.judge).evaluate(f"len({items})")).value
        bound = {part.id for part in ast.walk(node.target) if isinstance(part, ast.Name)}

        def steps() -> Iterable[bool]:
            for at in range(size if type(size) is int else 0):
                self.step(run(f"{target} = {items}[{at}]"))
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
                    self.step(self.judge.feed(f"{handler.name} = {_as_error(error)}", {}))
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
        own, caught = getattr(builtins, raised, None), getattr(builtins, name, None)
        if isinstance(own, type) and isinstance(caught, type):
            return issubclass(own, caught)
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
            self.simple(ast.Assign(targets=[ast.Name(id=name, ctx=ast.Store())], value=value, lineno=0))
        try:
            self.run(function.body)
        except _LeftError as left:
            if left.kind is not ast.Return:
                raise


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
