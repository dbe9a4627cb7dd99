"""Which names in a program exist nowhere: found without running it."""

from __future__ import annotations

import ast
import builtins
import symtable
from dataclasses import dataclass

from eval_prompts.judging.known_libraries import PYTHON_2_MODULES, has_public_name, is_known_class, module_exists

PYTHON_2_NAMES = frozenset(
    ["raw_input", "xrange", "unicode", "unichr", "basestring", "long", "reduce", "file", "cmp", "execfile", "reload"]
)
BUILTIN_TYPES = {"list": list, "dict": dict, "set": set, "str": str, "tuple": tuple, "int": int, "float": float}
LITERALS = {ast.List: "list", ast.ListComp: "list", ast.Dict: "dict", ast.DictComp: "dict", ast.Set: "set"}
LITERALS |= {ast.SetComp: "set", ast.Tuple: "tuple", ast.JoinedStr: "str"}


@dataclass(frozen=True)
class Missing:
    """A name that does not exist, on a line of the program, with the reason in words."""

    name: str
    line: int
    reason: str


def missing_names(source: str, tree: ast.Module) -> list[Missing]:
    """All names of a program (``tree`` is its syntax) that are certain not to exist, in the order of their lines."""
    finder = _Finder(tree)
    found = [*finder.missing(), *_undefined(source, tree)]
    unique = {(item.name, item.reason): item for item in sorted(found, key=lambda item: -item.line)}
    return sorted(unique.values(), key=lambda item: (item.line, item.name))


class _Finder:
    """What the names of a program stand for, as far as one assignment each tells."""

    def __init__(self, tree: ast.Module) -> None:
        self.nodes = list(ast.walk(tree))
        self.modules: dict[str, str] = {}
        self.values: dict[str, str] = {}
        self.classes = {node.name: node for node in self.nodes if isinstance(node, ast.ClassDef)}
        self.stored = {
            node.attr for node in self.nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        }
        self.open_ended = any(isinstance(node, ast.Name) and node.id in ("setattr", "vars") for node in self.nodes)
        self.missing_imports: list[Missing] = []
        for node in self.nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._take_import(node)
        self._take_assignments()

    def missing(self) -> list[Missing]:
        found = list(self.missing_imports)
        for node in self.nodes:
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found += self._attribute(node)
            if isinstance(node, ast.ClassDef):
                found += self._own_methods(node)
        return found

    def _take_import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if isinstance(node, ast.Import):
                self._expect_module(alias.name, node.lineno)
                self.modules[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
            elif not node.level and node.module:
                self._expect_module(node.module, node.lineno)
                whole = f"{node.module}.{alias.name}"
                if alias.name != "*" and has_public_name(node.module, alias.name) is False and not module_exists(whole):
                    self.missing_imports.append(Missing(whole, node.lineno, f"{node.module} has no {alias.name}"))
                self.modules[alias.asname or alias.name] = whole

    def _expect_module(self, module: str, line: int) -> None:
        if module_exists(module) is False:
            old = " (it was part of Python 2)" if module.split(".")[0] in PYTHON_2_MODULES else ""
            self.missing_imports.append(Missing(module, line, f"there is no module {module}{old}"))

    def _take_assignments(self) -> None:
        """Names bound once or always to the same kind of value; a name bound in any other way is left out."""
        kinds: dict[str, set[str]] = {}
        simple: set[int] = set()
        for node in self.nodes:
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and _dotted(node.targets[0]):
                simple.add(id(node.targets[0]))
                kinds.setdefault(_dotted(node.targets[0]), set()).add(self._kind(node.value))
        for node in self.nodes:
            if (
                isinstance(node, ast.Name | ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and id(node) not in simple
            ):
                kinds[_dotted(node)] = set()
            elif isinstance(node, ast.arg):
                kinds[node.arg] = set()
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                kinds[node.name] = set()
        for name in kinds:
            if name in self.modules:
                del self.modules[name]
        self.values = {name: next(iter(kind)) for name, kind in kinds.items() if len(kind) == 1 and kind != {""}}

    def _kind(self, value: ast.AST) -> str:
        """The class of a value: a built-in type, a known class by its full name, or a class of the program."""
        if type(value) in LITERALS:
            return LITERALS[type(value)]
        if isinstance(value, ast.Constant) and type(value.value).__name__ in BUILTIN_TYPES:
            return type(value.value).__name__
        if not isinstance(value, ast.Call):
            return ""
        name = _dotted(value.func)
        if name in self.classes or (name in BUILTIN_TYPES and name not in self.modules):
            return name
        whole = self._whole(name)
        return whole if is_known_class(whole) else ""

    def _whole(self, dotted: str) -> str:
        first, _, rest = dotted.partition(".")
        return ".".join(filter(None, [self.modules.get(first, ""), rest])) if first in self.modules else ""

    def _attribute(self, node: ast.Attribute) -> list[Missing]:
        owner = _dotted(node.value)
        kind = self.values.get(owner, "") if owner else self._kind(node.value)
        exists: bool | None = None
        if kind in self.classes:
            exists = self._class_has(self.classes[kind], node.attr)
        elif kind in BUILTIN_TYPES:
            exists = hasattr(BUILTIN_TYPES[kind], node.attr)
        elif kind:
            exists = has_public_name(kind, node.attr)
        elif whole := self._whole(owner):
            kind = whole
            exists = has_public_name(whole, node.attr) or module_exists(f"{whole}.{node.attr}")
            exists = False if exists is None and has_public_name(whole, node.attr) is False else exists
        if exists is not False:
            return []
        return [Missing(f"{owner or kind}.{node.attr}", node.lineno, f"{kind} has no {node.attr}")]

    def _own_methods(self, node: ast.ClassDef) -> list[Missing]:
        found = []
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and method.args.args and not method.decorator_list:
                me = method.args.args[0].arg
                for use in ast.walk(method):
                    if (
                        isinstance(use, ast.Attribute)
                        and isinstance(use.ctx, ast.Load)
                        and _dotted(use.value) == me
                        and self._class_has(node, use.attr) is False
                    ):
                        reason = f"{node.name} has no {use.attr}"
                        found.append(Missing(f"{me}.{use.attr}", use.lineno, reason))
        return found

    def _class_has(self, node: ast.ClassDef, name: str) -> bool | None:
        if node.keywords or any(_dotted(base) != "object" for base in node.bases) or self.open_ended:
            return None
        own = {
            item.name for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        }
        if "__getattr__" in own or "__getattribute__" in own or node.decorator_list:
            return None
        bound = {item.id for item in ast.walk(node) if isinstance(item, ast.Name) and isinstance(item.ctx, ast.Store)}
        return name in own | bound | self.stored or hasattr(object, name) or name.startswith("__")


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (owner := _dotted(node.value)):
        return f"{owner}.{node.attr}"
    return ""


def _undefined(source: str, tree: ast.Module) -> list[Missing]:
    """Names that are read but bound nowhere: neither in the program nor among the built-ins."""
    if any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree)):
        return []
    try:
        module = symtable.symtable(source, "<answer>", "exec")
    except (SyntaxError, ValueError, RecursionError):
        return []
    tables = [module]
    for table in tables:
        tables += table.get_children()
    bound = {symbol.get_name() for symbol in module.get_symbols() if _binds(symbol)}
    bound |= {symbol.get_name() for table in tables for symbol in table.get_symbols() if symbol.is_declared_global()}
    read = {
        symbol.get_name()
        for table in tables
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (symbol.is_global() or (table is module and not _binds(symbol)))
    }
    lines = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            lines[node.id] = min(node.lineno, lines.get(node.id, node.lineno))
    return [
        Missing(name, lines[name], _why_undefined(name))
        for name in read - bound
        if name in lines and not hasattr(builtins, name) and not name.startswith("__")
    ]


def _binds(symbol: symtable.Symbol) -> bool:
    return symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()


def _why_undefined(name: str) -> str:
    return f"{name} exists only in Python 2" if name in PYTHON_2_NAMES else f"{name} is never defined"
