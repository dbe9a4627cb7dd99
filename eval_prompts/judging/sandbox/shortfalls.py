"""Tells an error of the code's own from one that only the sandboxed interpreter has, because it lacks something."""

from __future__ import annotations

import builtins
import collections
import datetime
import io
import re

from eval_prompts.judging.known_libraries import has_public_name

TYPES = {
    "re.Match": re.Match,
    "re.Pattern": re.Pattern,
    "_io.TextIOWrapper": io.TextIOWrapper,
    **{name: getattr(collections, name) for name in ("Counter", "deque", "defaultdict", "OrderedDict")},
    **{f"datetime.{name}": getattr(datetime, name) for name in ("date", "datetime", "timedelta", "time")},
}
SPECIAL_ATTRIBUTE = re.compile(r"has no attribute '(__\w+__)'")
SPECIAL_ATTRIBUTES = frozenset({*dir(type("Sample", (), {})), *dir(lambda: None), *dir(re)})
"""Of instances, classes, functions and modules."""
OWN_WORDS = (
    "cannot convert 'list' object to bytes",
    "monty",
    "typing._specialform",
    "is not supported in this environment",
    "not yet supported",
    "not supported by",
)
MODULE = re.compile(r"No module named '([\w.]+)'")
IMPORTED = re.compile(r"cannot import name '(\w+)' from '([\w.]+)'")
MODULE_ATTRIBUTE = re.compile(r"module '([\w.]+)' has no attribute '(\w+)'")
TYPE_ATTRIBUTE = re.compile(r"(?:type object )?'([\w.]+)'(?: object)? has no attribute '(\w+)'")
NAME = re.compile(r"name '(\w+)' is not defined")


def shortfall(kind: str, message: str, source: str = "") -> str:
    """What the sandbox lacks if the error ``kind: message`` of ``source`` shows that; '' if it is the code's own."""
    if kind == "NotImplementedError" and "NotImplementedError" not in source:
        return "needs a part of Python that the sandbox does not have"
    if (special := SPECIAL_ATTRIBUTE.search(message)) and kind == "AttributeError" and special[1] in SPECIAL_ATTRIBUTES:
        return f"needs {special[1]}, which the sandbox does not have"
    if kind == "ValueError" and "does not match format" in message and "strptime" in source:
        return "needs formats of dates that the sandbox does not have"
    if kind == "TypeError" and message.startswith("can only concatenate list (not") and "+=" in source:
        return "needs += of a list and something else, which the sandbox does not have"
    if kind == "RecursionError" and "setrecursionlimit" in source:
        return "needs calls nested more deeply than the sandbox allows"
    if any(words in message.lower() for words in OWN_WORDS):
        return "needs a part of Python that the sandbox does not have"
    if kind in ("PermissionError", "FileNotFoundError") and "'" in message:
        return "needs a file, which the sandbox does not have"
    if found := MODULE.search(message):
        return f"needs the module {found[1]}, which the sandbox does not have"
    if (found := IMPORTED.search(message)) and has_public_name(found[2], found[1]) is not False:
        return f"needs {found[2]}.{found[1]}, which the sandbox does not have"
    if (found := MODULE_ATTRIBUTE.search(message)) and has_public_name(found[1], found[2]) is not False:
        return f"needs {found[1]}.{found[2]}, which the sandbox does not have"
    if (found := TYPE_ATTRIBUTE.search(message)) and hasattr(_type(found[1]), found[2]):
        return f"needs {found[1]}.{found[2]}, which the sandbox does not have"
    if (found := NAME.search(message)) and kind == "NameError" and hasattr(builtins, found[1]):
        return f"needs the built-in {found[1]}, which the sandbox does not have"
    if kind == "TypeError" and message == "'list' object is not an iterator":
        return "needs lazy iterators, which the sandbox does not have"
    return ""


def _type(name: str) -> type | None:
    return TYPES.get(name) or TYPES.get(name.rpartition(".")[2]) or getattr(builtins, name, None)
