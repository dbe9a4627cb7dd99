"""Which names in a program exist nowhere: found without running it."""

from __future__ import annotations

import ast
import builtins
import symtable
from dataclasses import dataclass

from eval_prompts.judging.known_libraries import PYTHON_2_MODULES, has_public_name, is_known_class, module_exists
from eval_prompts.judging.other_pythons import later_builtin

PYTHON_2_NAMES = frozenset(
    ["raw_input", "xrange", "unicode", "unichr", "basestring", "long", "reduce", "file", "cmp", "execfile", "reload"]
)
GUARDING = frozenset({"ImportError", "ModuleNotFoundError", "NameError", "AttributeError"})
MAKING_NAMES = frozenset({"exec", "eval", "globals", "locals", "execfile"})
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
        self.subclasses = _descendants(self.nodes)
        self.guarded = _guarded(tree)
        self.open_ended = any(_opens_up(node) for node in self.nodes)
        self.missing_imports: list[Missing] = []
        for node in self.nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._take_import(node)
        self._take_assignments()

    def missing(self) -> list[Missing]:
        found = list(self.missing_imports)
        for node in self.nodes:
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and id(node) not in self.guarded:
                found += self._attribute(node)
            if isinstance(node, ast.ClassDef):
                found += self._own_methods(node)
        return found

    def _take_import(self, node: ast.Import | ast.ImportFrom) -> None:
        if id(node) in self.guarded:
            return
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
                        and id(use) not in self.guarded
                        and self._class_has(node, use.attr, or_subclass=True) is False
                    ):
                        reason = f"{node.name} has no {use.attr}"
                        found.append(Missing(f"{me}.{use.attr}", use.lineno, reason))
        return found

    def _class_has(self, node: ast.ClassDef, name: str, or_subclass: bool = False) -> bool | None:
        """Whether an instance of a class of the program has a name; None where that is not known.

        ``self`` in a method may be an instance of a subclass as well (``or_subclass``).
        """
        if or_subclass and any(
            self._class_has(child, name) is not False for child in self.subclasses.get(node.name, [])
        ):
            return None
        return self._alone_has(node, name)

    def _alone_has(self, node: ast.ClassDef, name: str) -> bool | None:
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


def _descendants(nodes: list[ast.AST]) -> dict[str, list[ast.ClassDef]]:
    """The classes of a program that derive from each, by name, over any number of steps."""
    children: dict[str, list[ast.ClassDef]] = {}
    for node in nodes:
        if isinstance(node, ast.ClassDef):
            for base in node.bases:
                children.setdefault(_dotted(base).rpartition(".")[2], []).append(node)
    descendants: dict[str, list[ast.ClassDef]] = {}
    for name in children:
        waiting, seen = list(children[name]), []
        while waiting:
            child = waiting.pop()
            if child not in seen:
                seen.append(child)
                waiting += children.get(child.name, [])
        descendants[name] = seen
    return descendants


def _guarded(tree: ast.Module) -> set[int]:
    """The nodes (by id) that a program expects to fail: tried with an ``except`` for it, or asked for before."""
    guarded: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Try) and any(_catches(handler.type) for handler in node.handlers):
            guarded |= {id(part) for statement in node.body for part in ast.walk(statement)}
        elif isinstance(node, ast.If | ast.IfExp) and _asks(node.test):
            guarded |= {id(part) for part in ast.walk(node)}
        elif isinstance(node, ast.With) and any("suppress" in ast.dump(item.context_expr) for item in node.items):
            guarded |= {id(part) for statement in node.body for part in ast.walk(statement)}
    return guarded


def _catches(kind: ast.expr | None) -> bool:
    names = [_dotted(part) for part in kind.elts] if isinstance(kind, ast.Tuple) else [_dotted(kind)] if kind else [""]
    return bool({"", "Exception", "BaseException", *GUARDING} & {*names} - ({""} if kind else set()))


def _asks(test: ast.expr) -> bool:
    """Whether a condition asks for a name, the Python version or the operating system."""
    for part in ast.walk(test):
        if isinstance(part, ast.Call) and _dotted(part.func) in ("hasattr", "globals", "locals", "dir", "vars"):
            return True
        if _dotted(part) in ("sys.version_info", "sys.platform", "os.name", "platform.system", "TYPE_CHECKING"):
            return True
    return False


def _opens_up(node: ast.AST) -> bool:
    """Whether a part of a program may give objects attributes that are nowhere written as such."""
    if isinstance(node, ast.Attribute):
        return node.attr in ("__dict__", "__setattr__")
    return isinstance(node, ast.Name) and node.id in ("setattr", "vars", "locals", "exec", "eval", "type")


def _undefined(source: str, tree: ast.Module) -> list[Missing]:
    """Names that are read but bound nowhere: neither in the program nor among the built-ins."""
    if any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree)):
        return []
    if any(isinstance(node, ast.Call) and _dotted(node.func) in MAKING_NAMES for node in ast.walk(tree)):
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
        if symbol.is_referenced() and _is_global(symbol, table is module)
    }
    guarded = _guarded(tree)
    lines: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and id(node) not in guarded:
            lines[node.id] = min(node.lineno, lines.get(node.id, node.lineno))
    return [
        Missing(name, lines[name], _why_undefined(name))
        for name in read - bound
        if name in lines and not hasattr(builtins, name) and not name.startswith("__") and not later_builtin(name)
    ]


def _is_global(symbol: symtable.Symbol, at_top: bool) -> bool:
    """Whether a name is looked up in the module. (``is_global`` of the standard library takes every function that is
    called ``top`` for the module, so the local names and parameters of one are to be left out.)"""
    return not _binds(symbol) if at_top else symbol.is_global() and not symbol.is_local() and not symbol.is_parameter()


def _binds(symbol: symtable.Symbol) -> bool:
    return symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()


def _why_undefined(name: str) -> str:
    return f"{name} exists only in Python 2" if name in PYTHON_2_NAMES else f"{name} is never defined"
