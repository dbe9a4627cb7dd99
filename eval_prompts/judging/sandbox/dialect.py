"""From Python as people write it to the part of Python that the sandboxed interpreter knows, with the same meaning.

What cannot be put so is named, so that code is called "not run" rather than wrong.
"""

from __future__ import annotations

import ast
import re
import string
import textwrap
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeGuard

from eval_prompts.judging.known_libraries import READABLE_MODULES, is_exported
from eval_prompts.judging.sandbox.other_meanings import is_lazy, other_meanings

STAND_INS = Path(__file__).parent / "stand_ins"
STAND_IN_NAMES = frozenset(path.stem for path in STAND_INS.glob("[a-z]*.py"))
SPECIAL_METHODS = frozenset(
    [
        "init",
        "str",
        "repr",
        "eq",
        "ne",
        "hash",
        "call",
        "iter",
        "next",
        "getitem",
        "contains",
        "add",
        "sub",
        "mul",
        "truediv",
        "floordiv",
        "mod",
        "pow",
        "radd",
        "rsub",
        "rmul",
        "neg",
        "pos",
        "abs",
        "int",
        "index",
        "and",
        "or",
        "xor",
    ]
)
GENERICS = frozenset({"List", "Dict", "Set", "FrozenSet", "Tuple", "Type"})
NUMBERED_GROUP = re.compile(r"\\([1-9])(?![0-9])")
ROUND = """
def _round_(number, places):
    if type(number) is float and type(places) is int and 0 <= places < 300:
        return float(f"{number:.{places}f}")
    return round(number, places)
"""
"""Formatting rounds as Python does: once, by the exact value of the number."""
EXITS = {("sys", "exit"), ("os", "_exit")}


@dataclass(frozen=True)
class Prepared:
    """``source`` for the sandbox (its lines are those of the original), stand-ins to run before it, what it ``lacks``
    in words, and the names of functions that return a ``lazy`` iterator, which the sandbox hands over as a list."""

    source: str
    prelude: str = ""
    lacks: tuple[str, ...] = ()
    lazy: frozenset[str] = frozenset()


def prepare(source: str, tree: ast.Module) -> Prepared:
    """Rewrite a program that parses as ``tree``; a program that needs no change comes back as it is."""
    edits: list[tuple[ast.AST, str]] = []
    modules: set[str] = set()
    lacks: list[str] = []
    for node in ast.walk(tree):
        lacks += _lacks(node)
        edits += _edits(node, modules)
    edits += _aliases(tree) + _wildcards(tree)
    lacks += other_meanings(tree)
    if rounds := [node for node in ast.walk(tree) if _is_rounding(node)]:
        edits += [(node.func, "_round_") for node in rounds]
    prelude = "".join(_stand_in(module)[0] for module in sorted(modules)) + (ROUND if rounds else "")
    return Prepared(_apply(source, edits), prelude, tuple(dict.fromkeys(lacks)), _lazy_functions(tree))


def _is_rounding(node: ast.AST) -> TypeGuard[ast.Call]:
    """Whether a call rounds to a number of places, which the sandbox does otherwise (2.675 to 2.68)."""
    return isinstance(node, ast.Call) and _is_name(node.func, "round") and len(node.args) == 2


def _wildcards(tree: ast.Module) -> list[tuple[ast.AST, str]]:
    """``from math import *`` as an import of the names that the program uses; the sandbox knows no wildcard."""
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    edits: list[tuple[ast.AST, str]] = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*" and not _exports(node.module or ""):
            names = [name for name in sorted(used) if is_exported(node.module or "", name)]
            if node.module in READABLE_MODULES and not node.level:
                edits.append((node, f"from {node.module} import {', '.join(names)}" if names else "pass"))
    return edits


def _lacks(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Yield | ast.YieldFrom):
        return ["generators (yield)"]
    if not isinstance(node, ast.ClassDef):
        return []
    lacks = []
    if any(isinstance(item, ast.Assign) and _is_name(item.targets[0], "__slots__") for item in node.body):
        lacks.append("__slots__")
    if node.keywords or any(not _is_name(base, "object") for base in node.bases):
        lacks.append("class inheritance")
    for item in node.body:
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
            if item.decorator_list:
                lacks.append("decorated methods")
            if re.fullmatch(r"__\w+__", item.name) and item.name.strip("_") not in SPECIAL_METHODS:
                lacks.append(f"the special method {item.name}")
    return lacks


def _edits(node: ast.AST, modules: set[str]) -> list[tuple[ast.AST, str]]:
    """New texts for a node or parts of it; stand-ins that they need are added to ``modules``."""
    text = None
    if isinstance(node, ast.ClassDef):
        return [(base, "") for base in node.bases if _is_name(base, "object") and len(node.bases) == 1]
    if isinstance(node, ast.Call):
        return [*_template(node), *_method_values(node), *_exit_code(node)]
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and (node.value.id, node.attr) in EXITS:
        text = "exit"
    elif isinstance(node, ast.Delete):
        text = _deletion(node)
    elif isinstance(node, ast.Import) and any(_exports(alias.name) for alias in node.names):
        text = _import(node, modules)
    elif isinstance(node, ast.ImportFrom) and not node.level:
        text = _import_from(node, modules)
    return [] if text is None else [(node, text)]


def _aliases(tree: ast.Module) -> list[tuple[ast.AST, str]]:
    """``list`` for ``typing.List`` and the like where it is subscripted: the sandbox knows only the former so."""
    nodes = list(ast.walk(tree))
    names = {
        alias.asname or alias.name: alias.name.lower()
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module == "typing"
        for alias in node.names
        if alias.name in GENERICS
    }
    names |= {f"typing.{name}": name.lower() for name in GENERICS}
    subscripted = [node.value for node in nodes if isinstance(node, ast.Subscript)]
    return [(node, names[text]) for node in subscripted if (text := _dotted(node)) in names]


def _dotted(node: ast.AST) -> str:
    """A name, or a name of a module's, as text; '' for any other expression."""
    simple = isinstance(node, ast.Name) or (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name))
    return ast.unparse(node) if simple else ""


def _template(call: ast.Call) -> list[tuple[ast.AST, str]]:
    r"""``\1`` as ``\g<1>`` in the replacement of ``re.sub``: the sandbox reads ``\1_x`` as a group named ``1_x``."""
    if not (isinstance(call.func, ast.Attribute) and call.func.attr in ("sub", "subn") and len(call.args) > 1):
        return []
    replacement = call.args[1 if _is_name(call.func.value, "re") else 0]
    if not isinstance(replacement, ast.Constant) or not isinstance(replacement.value, str):
        return []
    changed = NUMBERED_GROUP.sub(r"\\g<\1>", replacement.value)
    return [(replacement, repr(changed))] if changed != replacement.value else []


def _method_values(call: ast.Call) -> list[tuple[ast.AST, str]]:
    """Methods given as functions (``key=votes.get``, ``map(str.lower, words)``): the sandbox can only call methods."""
    given = [keyword.value for keyword in call.keywords if keyword.arg == "key"]
    if isinstance(call.func, ast.Name) and call.func.id in ("map", "filter") and len(call.args) == 2:
        given.append(call.args[0])
    edits: list[tuple[ast.AST, str]] = []
    for node in given:
        if isinstance(node, ast.Attribute):
            unbound = isinstance(node.value, ast.Name) and node.value.id in ("str", "list", "dict", "set", "tuple")
            called = f"_of.{node.attr}()" if unbound else f"{ast.unparse(node)}(_of)"
            edits.append((node, f"(lambda _of: {called})"))
    return edits


def _exit_code(call: ast.Call) -> list[tuple[ast.AST, str]]:
    """The code of ``SystemExit(0)`` as text: the sandbox's exceptions take nothing else."""
    if not _is_name(call.func, "SystemExit") or len(call.args) != 1 or not isinstance(call.args[0], ast.Constant):
        return []
    return [(call.args[0], repr(str(call.args[0].value)))]


def _deletion(node: ast.Delete) -> str | None:
    parts = []
    for target in node.targets:
        if isinstance(target, ast.Name):
            parts.append("pass")
        elif isinstance(target, ast.Subscript) and not isinstance(target.slice, ast.Slice):
            parts.append(f"{ast.unparse(target.value)}.pop({ast.unparse(target.slice)})")
        else:
            return None
    return "; ".join(parts)


def _import(node: ast.Import, modules: set[str]) -> str:
    parts = []
    for alias in node.names:
        if _exports(alias.name):
            modules.add(alias.name)
            parts.append(f"{alias.asname or alias.name} = _std_{alias.name}")
        else:
            parts.append("import " + alias.name + (f" as {alias.asname}" if alias.asname else ""))
    return "; ".join(parts)


def _import_from(node: ast.ImportFrom, modules: set[str]) -> str | None:
    if node.module == "sys" and any(alias.name == "exit" and not alias.asname for alias in node.names):
        others = [alias for alias in node.names if alias.name != "exit"]
        return ast.unparse(ast.ImportFrom(module="sys", names=others, level=0)) if others else "pass"
    module = node.module or ""
    exports = _exports(module)
    names = list(exports) if [alias.name for alias in node.names] == ["*"] else [alias.name for alias in node.names]
    if not exports or not set(names) <= set(exports):
        return None
    modules.add(module)
    asnames = [alias.asname for alias in node.names] if len(names) == len(node.names) else [None] * len(names)
    return "; ".join(f"{other or name} = _std_{module}.{name}" for name, other in zip(names, asnames, strict=True))


def _place(node: ast.AST) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where a parsed node begins and ends: line from 0, and column in UTF-8 bytes."""
    assert isinstance(node, ast.stmt | ast.expr), "nothing else is replaced"
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return (node.lineno - 1, node.col_offset), (node.end_lineno - 1, node.end_col_offset)


def _apply(source: str, edits: list[tuple[ast.AST, str]]) -> str:
    """Replace nodes by texts, from the last to the first, keeping the number of lines; columns are UTF-8 bytes."""
    lines = [line.encode() for line in source.split("\n")]
    start_of_later = (len(lines), 0)
    placed = [(*_place(node), text) for node, text in edits]
    for (first, start), (last, end), text in sorted(placed, key=lambda edit: edit[1], reverse=True):
        if (last, end) > start_of_later:
            continue
        tail = lines[last][end:]
        lines[first] = lines[first][:start] + text.encode() + tail
        lines[first + 1 : last + 1] = [b""] * (last - first)
        start_of_later = (first, start)
    return b"\n".join(lines).decode()


def _lazy_functions(tree: ast.Module) -> frozenset[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            lazy_names = {
                target.id
                for assign in ast.walk(node)
                if isinstance(assign, ast.Assign) and is_lazy(assign.value)
                for target in assign.targets
                if isinstance(target, ast.Name)
            }
            returned = [item.value for item in ast.walk(node) if isinstance(item, ast.Return)]
            if any(is_lazy(value) or (isinstance(value, ast.Name) and value.id in lazy_names) for value in returned):
                found.add(node.name)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda) and is_lazy(node.value.body):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return frozenset(found)


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


@cache
def _stand_in(module: str) -> tuple[str, tuple[str, ...]]:
    """The text that builds a module's stand-in as ``_std_<module>``, and the names it exports."""
    source = (STAND_INS / f"{module}.py").read_text(encoding="utf-8")
    functions = [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    exports = tuple(name for name in functions if not name.startswith("_"))
    bindings = "\n".join(f"module.{name} = {name}" for name in exports)
    body = textwrap.indent(f"{source}\nmodule = _Module()\n{bindings}\nreturn module\n", "    ")
    return f"class _Module: pass\ndef _make_{module}():\n{body}\n_std_{module} = _make_{module}()\n", exports


def _exports(module: str) -> tuple[str, ...]:
    return _stand_in(module)[1] if module in STAND_IN_NAMES else ()


STRING_CONSTANTS = {name: getattr(string, name) for name in string.__all__ if isinstance(getattr(string, name), str)}
