"""Programs whose results depend on the order of a set: Python and the sandbox keep different ones, and neither promises
any, so that nothing can be said of such a result."""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Sequence
from dataclasses import replace

from eval_prompts.judging.outcome import Check

REASON = "depends on the order in which a set gives its elements, which is another one here than in Python"
ITERATING = frozenset({"list", "tuple", "enumerate", "iter", "zip", "map", "filter"})
JOINING = frozenset({"join", "extend"})
WRITTEN_SET = re.compile(r"\{[^{}]*\}")
HELPERS = """
def _turned_(items):
    return list(items)[::-1] if isinstance(items, (set, frozenset)) else items

def _popped_(items):
    if not isinstance(items, set):
        return items.pop()
    first = items.pop()
    if not items:
        return first
    other = items.pop()
    items.add(first)
    return other
"""


def turned(tree: ast.Module) -> str:
    """The program with every set that it goes through taken from its other end; '' if it has no sets."""
    sets = (ast.Set, ast.SetComp)
    if not any(
        isinstance(node, sets) or (isinstance(node, ast.Name) and node.id in ("set", "frozenset"))
        for node in ast.walk(tree)
    ):
        return ""
    changed = Turning().visit(copy.deepcopy(tree))
    first = next((at for at, node in enumerate(changed.body) if not _leads(node)), len(changed.body))
    changed.body[first:first] = ast.parse(HELPERS).body
    return ast.unparse(ast.fix_missing_locations(changed))


def _leads(node: ast.stmt) -> bool:
    """Whether a statement has to stand first: a docstring, or an import of the future."""
    future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
    return future or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


class Turning(ast.NodeTransformer):
    """Puts a helper around whatever is gone through in order."""

    def visit_For(self, node: ast.For) -> ast.AST:
        self.generic_visit(node)
        node.iter = _called("_turned_", node.iter)
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        self.generic_visit(node)
        node.iter = _called("_turned_", node.iter)
        return node

    def visit_Starred(self, node: ast.Starred) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.ctx, ast.Load):
            node.value = _called("_turned_", node.value)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        self.generic_visit(node)
        if any(isinstance(target, ast.Tuple | ast.List) for target in node.targets):
            node.value = _called("_turned_", node.value)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        called = node.func
        plain = [arg for arg in node.args if not isinstance(arg, ast.Starred)]
        if isinstance(called, ast.Attribute) and called.attr == "pop" and not node.args and not node.keywords:
            return _called("_popped_", called.value)
        iterates = isinstance(called, ast.Name) and called.id in ITERATING
        joins = isinstance(called, ast.Attribute) and called.attr in JOINING
        if (iterates or joins) and len(plain) == len(node.args):
            node.args = [arg if isinstance(arg, ast.Lambda) else _called("_turned_", arg) for arg in node.args]
        return node


def _called(helper: str, value: ast.expr) -> ast.expr:
    return ast.Call(func=ast.Name(id=helper, ctx=ast.Load()), args=[value], keywords=[])


def agreed(found: Sequence[Check], again: Sequence[Check]) -> list[Check]:
    """What was found with sets in one order, but for what another order changes, be it the value that a failing call
    gave: of that nothing is known."""
    if len(found) != len(again):
        return list(found)
    return [
        replace(one, passed=None, reason=REASON, wrong_value=False)
        if None not in (one.passed, other.passed)
        and (one.passed, _unordered(one.reason)) != (other.passed, _unordered(other.reason))
        else one
        for one, other in zip(found, again, strict=True)
    ]


def _unordered(reason: str) -> str:
    """A reason with the elements of the sets written in it sorted: equal sets are written in any order."""
    return WRITTEN_SET.sub(lambda found: ", ".join(sorted(found[0][1:-1].split(", "))), reason)
