"""Which modules exist and which public names they have, without importing anything that a program asks for.

The standard library's names are read from this interpreter, those of numpy, pandas and scikit-learn from a table
(``known_names.json``, written by ``collect_names``); of other libraries nothing is claimed.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from functools import cache
from pathlib import Path

from eval_prompts.judging.other_pythons import depends_on_system, later_module, later_version

READABLE_MODULES = frozenset(
    [
        "abc",
        "argparse",
        "array",
        "ast",
        "base64",
        "bisect",
        "calendar",
        "cmath",
        "collections",
        "collections.abc",
        "colorsys",
        "copy",
        "csv",
        "dataclasses",
        "datetime",
        "decimal",
        "difflib",
        "enum",
        "fractions",
        "functools",
        "glob",
        "hashlib",
        "heapq",
        "html",
        "io",
        "itertools",
        "json",
        "keyword",
        "locale",
        "logging",
        "math",
        "numbers",
        "operator",
        "os",
        "os.path",
        "pathlib",
        "pickle",
        "platform",
        "pprint",
        "queue",
        "random",
        "re",
        "secrets",
        "shutil",
        "socket",
        "sqlite3",
        "statistics",
        "string",
        "struct",
        "subprocess",
        "sys",
        "tempfile",
        "textwrap",
        "threading",
        "time",
        "timeit",
        "traceback",
        "types",
        "typing",
        "unicodedata",
        "unittest",
        "urllib.parse",
        "urllib.request",
        "uuid",
        "warnings",
        "zlib",
    ]
)
PYTHON_2_MODULES = frozenset(
    ["ConfigParser", "Queue", "StringIO", "Tkinter", "cPickle", "commands", "urllib2", "urlparse", "httplib"]
)
TABLE = Path(__file__).parent / "known_names.json"


def module_exists(module: str) -> bool | None:
    """Whether a module can be imported; None where that is not known."""
    top, _, rest = module.partition(".")
    if later_module(module):
        return None
    if top in sys.stdlib_module_names:
        if module in READABLE_MODULES or not rest:
            return True
        return _is_submodule(module) if top in READABLE_MODULES else None
    if top in PYTHON_2_MODULES:
        return False
    if module in _table()["modules"] or not rest:
        return True if module in _table()["modules"] else None
    return has_public_name(*module.rsplit(".", 1))


def has_public_name(module: str, name: str) -> bool | None:
    """Whether a module, or a class known by its full name, has a name; None where that is not known.

    A name that a later Python or another operating system has is not known here.
    """
    if module in READABLE_MODULES:
        if hasattr(importlib.import_module(module), name):
            return True
        return None if later_version(module, name) or depends_on_system(module, name) else False
    if name.startswith("__"):
        return None
    if module in _table()["modules"]:
        return name in _table()["modules"][module]
    if module in _table()["classes"]:
        return name in _table()["classes"][module] or name.endswith("_")
    return None


def is_exported(module: str, name: str) -> bool:
    """Whether ``from module import *`` binds a name, for a module of the standard library that is read here."""
    if module not in READABLE_MODULES:
        return False
    loaded = importlib.import_module(module)
    exported = getattr(loaded, "__all__", None)
    return name in exported if exported is not None else hasattr(loaded, name) and not name.startswith("_")


def is_known_class(name: str) -> bool:
    """Whether the table knows a class by its full name, such as ``sklearn.neighbors.KNeighborsClassifier``."""
    return name in _table()["classes"]


def _is_submodule(module: str) -> bool | None:
    """Whether a readable package of the standard library has such a submodule; None where its parent is no package."""
    parent, _, name = module.rpartition(".")
    if parent not in READABLE_MODULES:
        return None
    package = importlib.import_module(parent)
    if not name.isidentifier() or not hasattr(package, "__path__"):
        return has_public_name(parent, name) or None
    return importlib.util.find_spec(module) is not None


@cache
def _table() -> dict[str, dict[str, frozenset[str]]]:
    raw = json.loads(TABLE.read_text(encoding="utf-8"))
    return {
        part: {key: frozenset(names.split()) for key, names in raw[part].items()} for part in ("modules", "classes")
    }
