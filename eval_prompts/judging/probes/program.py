"""An answer's program as the checks see it: its functions and classes, its numbers, and what it asks a user to type."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from eval_prompts.judging.outcome import Check, Outcome, Session, Typing

NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.\d+(?:[eE][-+]?\d+)?|\d+(?:[eE][-+]?\d+)?(?!\w|\.\d))")
"""A number that stands alone; behind decimals a unit may follow at once (``12.57cm``)."""
QUOTED = re.compile(r"['\"](\w+)['\"]")
STOP_WORD = re.compile(
    r"\b(\w+)['\"]?\s+(?:to|when|if you)\s+(?:quit|stop|exit|finish|end|are|you|done)", re.IGNORECASE
)
KEYS = ("enter", "return", "blank", "empty", "nothing", "line")
HOW_MANY = re.compile(r"how many|number of|size|length|count|total", re.IGNORECASE)
WANTED = re.compile(
    r"search|find|check|look|exist|target|present|(element|number|item|value|integer) to", re.IGNORECASE
)
LIST_WORDS = re.compile(r"list|numbers|elements|integers|values|separated|array", re.IGNORECASE)

LOOKED_AT = 2000
"""Characters of a prompt that tell what is asked for."""

Opener = Callable[[], AbstractContextManager[Session]]


@dataclass(frozen=True)
class Entry:
    """Something a program lets one call: ``call`` is the text before the parenthesis, ``needed`` and ``most`` the
    least and greatest number of positional arguments (``most`` is None for ``*args``)."""

    name: str
    call: str
    parameters: tuple[str, ...]
    needed: int
    most: int | None

    def takes(self, count: int) -> bool:
        """Whether it can be called with so many positional arguments."""
        return self.needed <= count and (self.most is None or count <= self.most)


@dataclass(frozen=True)
class Program:
    """A program that parses, in sessions opened by ``open_session``."""

    source: str
    tree: ast.Module
    open_session: Opener

    def functions(self, like: str = "") -> list[Entry]:
        """Top-level functions, and methods of classes that need no arguments; names that match ``like`` first."""
        found = [_callable(node, node.name, 0) for node in self.tree.body if isinstance(node, ast.FunctionDef)]
        for owner in self.classes():
            methods = [node for node in owner.body if isinstance(node, ast.FunctionDef)]
            start = next((node for node in methods if node.name == "__init__"), None)
            if start is None or _callable(start, "", 1).needed == 0:
                found += [
                    _callable(node, f"{owner.name}().{node.name}", 1)
                    for node in methods
                    if not node.name.startswith("__")
                ]
        return sorted(found, key=lambda item: not (like and re.search(like, item.name, re.IGNORECASE)))

    def classes(self) -> list[ast.ClassDef]:
        return [node for node in self.tree.body if isinstance(node, ast.ClassDef)]

    def with_numbers(self, numbers: Sequence[float], lone: float | None = None) -> str | None:
        """The program with its first top-level list of numbers replaced, and with ``lone`` in place of its first
        top-level number outside a list; None if it has no such list, or no such number and ``lone`` is given."""
        changed = _Replacement(list(numbers), lone)
        tree = changed.visit(ast.parse(self.source))
        if changed.numbers is not None or changed.lone is not None:
            return None
        return ast.unparse(ast.fix_missing_locations(tree))

    def constants(self) -> list[float]:
        """The numbers in its constants and texts, but for texts that stand alone, such as docstrings."""
        nodes = list(ast.walk(self.tree))
        alone = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        values = [node.value for node in nodes if isinstance(node, ast.Constant) and id(node) not in alone]
        numbers: list[float] = []
        for value in values:
            if isinstance(value, str):
                numbers += numbers_in(value)
            elif isinstance(value, int | float) and not isinstance(value, bool):
                numbers.append(value)
        return numbers

    def asks(self) -> bool:
        """Whether it calls ``input`` anywhere."""
        return any(isinstance(node, ast.Name) and node.id == "input" for node in ast.walk(self.tree))


class _Replacement(ast.NodeTransformer):
    def __init__(self, numbers: list[float], lone: float | None) -> None:
        self.numbers: list[float] | None = numbers
        self.lone = lone

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            return node
        if isinstance(node, ast.List):
            if self.numbers is None or len(node.elts) < 2 or not all(_is_number(part) for part in node.elts):
                return node
            replaced, self.numbers = self.numbers, None
            return ast.List(elts=[ast.Constant(value) for value in replaced], ctx=ast.Load())
        if self.lone is not None and _is_number(node):
            constant, self.lone = ast.Constant(self.lone), None
            return constant
        return self.generic_visit(node)


def bound_names(tree: ast.Module) -> frozenset[str]:
    """Every name that a program binds at its top level."""
    found: set[str] = set()
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif not isinstance(node, ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return frozenset(found)


def _is_number(node: ast.AST) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def _callable(node: ast.FunctionDef, call: str, skipped: int) -> Entry:
    names = tuple(argument.arg for argument in [*node.args.posonlyargs, *node.args.args])[skipped:]
    required = max(len(names) - len(node.args.defaults), 0)
    required += sum(1 for default in node.args.kw_defaults if default is None) * 100
    return Entry(node.name, call, names, required, None if node.args.vararg else len(names))


class Typist:
    """Types a list of numbers, how many they are, or the one number that is ``wanted``, as a program asks for them."""

    def __init__(self, program: Program, values: Sequence[float] = (), wanted: float | None = None) -> None:
        splits = "split(" in program.source
        self.whole = splits or "eval(" in program.source or "loads(" in program.source
        separator = " " if splits and not re.search(r"split\(\s*['\"]\s*,", program.source) else ", "
        text = separator.join(str(value) for value in values)
        self.text = text if splits else f"[{text}]"
        self.left = [str(value) for value in values]
        self.size = len(self.left)
        self.wanted = wanted
        self.listing = False
        self.prompts: list[str] = []

    def __call__(self, prompt: str) -> str:
        self.prompts.append(prompt)
        prompt = prompt[:LOOKED_AT]
        stop = STOP_WORD.search(prompt)
        if stop and not self.left and (self.wanted is None or self.listing):
            self.listing = False
            return "" if stop[1].lower() in KEYS else stop[1]
        if self.wanted is not None and (not self.left or (WANTED.search(prompt) and not LIST_WORDS.search(prompt))):
            self.listing = True
            return str(self.wanted)
        if self.whole and self.left:
            self.left = []
            return self.text
        if self.left and HOW_MANY.search(prompt) and len(self.prompts) == 1:
            return str(self.size)
        if self.left:
            self.listing = True
            return self.left.pop(0)
        if quoted := QUOTED.search(prompt):
            return quoted[1]
        raise EOFError("EOF when reading a line")

    def without_prompts(self, printed: str) -> str:
        """Printed text less the prompts in it."""
        for prompt in self.prompts:
            printed = printed.replace(prompt, " ", 1)
        return printed


def repeat(line: str, times: int = 50) -> Typing:
    """Types the same line at every prompt, so many times."""
    left = [line] * times

    def typing(prompt: str) -> str:
        if not left:
            raise EOFError("EOF when reading a line")
        return left.pop()

    return typing


def first_right(attempts: Iterable[Callable[[], Check | None]], label: str) -> Check:
    """The first attempt that passes, else the first that failed, else that there was nothing to try."""
    failed: list[Check] = []
    for attempt in attempts:
        tried = attempt()
        if tried and tried.passed:
            return tried
        if tried:
            failed.append(tried)
    return failed[0] if failed else Check(label, False, "has no function, typed input or list to try it with")


def numbers_in(text: str) -> list[float]:
    """The numbers in a text, in order."""
    return [float(found) for found in NUMBER.findall(text)]


def numbers_of(outcome: Outcome) -> list[float]:
    """The number that a call returned, or those in the text that it returned or printed."""
    value = outcome.value
    if type(value) in (int, float):
        return [value]
    return numbers_in(value if isinstance(value, str) else outcome.printed)


def stopped(label: str, outcome: Outcome) -> Check | None:
    """The Check for a step that did not end well; None if it did, or if only more input was wanted than is known."""
    if outcome.ok or outcome.ran_out:
        return None
    return Check(label, None if outcome.state == "lacking" else False, outcome.reason, outcome.printed)
