"""What the sandboxed interpreter runs, but with another meaning than Python's: it is named, so that it is not run."""

from __future__ import annotations

import ast

LAZY_CALLS = frozenset({"map", "filter", "zip", "enumerate", "reversed"})
LOOPS = (ast.For, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def other_meanings(tree: ast.Module) -> list[str]:
    """The parts of a program, in words, that would silently behave otherwise in the sandbox."""
    found = []
    if _draws_twice(tree):
        found.append("lazy iterators that are used up")
    if _misses_deleted(tree):
        found.append("del of a name")
    if _reaches_private(tree):
        found.append("names that are private to a class")
    return found


def _draws_twice(tree: ast.Module) -> bool:
    """Whether an iterator with a name is drawn from more than once: the sandbox has lists in the place of iterators."""
    made = {
        target.id: node
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and is_lazy(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for name, assign in made.items():
        loads = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == name and _is_load(node)]
        if len(loads) > 1:
            return True
        for loop in (node for node in ast.walk(tree) if isinstance(node, LOOPS)):
            inside = {id(part) for statement in _repeated(loop) for part in ast.walk(statement)}
            if id(assign) not in inside and any(id(load) in inside for load in loads):
                return True
    return False


def _repeated(loop: ast.AST) -> list[ast.AST]:
    """The parts of a loop that are done more than once."""
    if isinstance(loop, ast.For | ast.While):
        return [*loop.body, *([loop.test] if isinstance(loop, ast.While) else [])]
    if isinstance(loop, ast.DictComp):
        return [loop.key, loop.value, *loop.generators[1:]]
    return [loop.elt, *loop.generators[1:]] if isinstance(loop, ast.ListComp | ast.SetComp | ast.GeneratorExp) else []


def is_lazy(node: ast.AST | None) -> bool:
    """Whether an expression makes an iterator that is used up by being read."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in LAZY_CALLS
    return isinstance(node, ast.GeneratorExp)


def _misses_deleted(tree: ast.Module) -> bool:
    """Whether a deleted name is one that is read later, or was never bound: the sandbox cannot delete names."""
    nodes = list(ast.walk(tree))
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    bound |= {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    deleted = [node for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Del)]
    for target in deleted:
        later = any(
            isinstance(node, ast.Name) and node.id == target.id and _is_load(node) and node.lineno >= target.lineno
            for node in nodes
        )
        if later or target.id not in bound or sum(other.id == target.id for other in deleted) > 1:
            return True
    return False


def _reaches_private(tree: ast.Module) -> bool:
    """Whether ``__name`` of an object is used outside a class, where Python does not find it."""
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for part in ast.walk(node)}
    return any(
        isinstance(node, ast.Attribute)
        and node.attr.startswith("__")
        and not node.attr.endswith("__")
        and id(node) not in inside
        for node in ast.walk(tree)
    )


def _is_load(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Load)
