"""Which modules exist and which public names they have, without importing anything that a program asks for.

The standard library's names are read from this interpreter, those of numpy, pandas and scikit-learn from a table
(``known_names.json``, written by ``collect_names``); of other libraries nothing is claimed.
"""

from __future__ import annotations

import importlib
import json
import sys
from functools import cache
from pathlib import Path

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
    if top in sys.stdlib_module_names:
        if module in READABLE_MODULES or not rest:
            return True
        return None if top not in READABLE_MODULES else has_public_name(*module.rsplit(".", 1)) or None
    if top in PYTHON_2_MODULES:
        return False
    if module in _table()["modules"] or not rest:
        return True if module in _table()["modules"] else None
    return has_public_name(*module.rsplit(".", 1))


@cache
def has_public_name(module: str, name: str) -> bool | None:
    """Whether a module, or a class known by its full name, has a name; None where that is not known."""
    if module in READABLE_MODULES:
        return hasattr(importlib.import_module(module), name)
    if name.startswith("__"):
        return None
    if module in _table()["modules"]:
        return name in _table()["modules"][module]
    if module in _table()["classes"]:
        return name in _table()["classes"][module] or name.endswith("_")
    return None


def is_known_class(name: str) -> bool:
    """Whether the table knows a class by its full name, such as ``sklearn.neighbors.KNeighborsClassifier``."""
    return name in _table()["classes"]


@cache
def _table() -> dict[str, dict[str, frozenset[str]]]:
    raw = json.loads(TABLE.read_text(encoding="utf-8"))
    return {
        part: {key: frozenset(names.split()) for key, names in raw[part].items()} for part in ("modules", "classes")
    }
