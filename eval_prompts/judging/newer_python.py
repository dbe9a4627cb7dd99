"""Syntax of later Python versions: an answer that uses it is right somewhere else, and cannot be judged here."""

from __future__ import annotations

import re
import sys

from eval_prompts.judging.syntax import TOO_ODD, compile_error, parses

TYPE_PARAMETERS = re.compile(r"^(\s*(?:async\s+)?(?:def|class)\s+\w+)\s*\[", re.MULTILINE)
TYPE_ALIAS = re.compile(r"^(\s*)type\s+(\w+)\s*(?=[\[=])", re.MULTILINE)
BARE_EXCEPT = re.compile(r"^(\s*except\*?\s+)([\w.]+(?:\s*,\s*[\w.]+)+)(\s*:)", re.MULTILINE)
STRING_PREFIX = re.compile(r"(?<![\w])([fF][rR]?|[rR][fF]|[tT][rR]?|[rR][tT])(\"\"\"|'''|\"|')")


def needed_version(source: str) -> str:
    """The least Python version (``"3.12"``) that reads a program which this one cannot; '' if none is known that does.

    Type parameters, ``type`` statements (PEP 695) and f-strings with anything inside (PEP 701) came with 3.12, template
    strings (PEP 750) and ``except A, B:`` (PEP 758) with 3.14. Each is put in older words, one after the other; what
    then parses was wrong by nothing but its age.
    """
    if parses(source):
        return ""
    for version, rewrite in (("3.12", _older_than_312), ("3.14", _older_than_314)):
        if sys.version_info < tuple(map(int, version.split("."))):
            source = rewrite(source)
            if _compiles(source):
                return version
    return ""


def _compiles(source: str) -> bool:
    try:
        return compile_error(source) is None
    except TOO_ODD:
        return False


def _older_than_312(source: str) -> str:
    return _without_replacements(_without_type_parameters(source), "f")


def _older_than_314(source: str) -> str:
    return BARE_EXCEPT.sub(r"\1(\2)\3", _without_replacements(source, "t"))


def _without_type_parameters(source: str) -> str:
    source = TYPE_ALIAS.sub(r"\1class \2", source)
    parts: list[str] = []
    at = 0
    for found in TYPE_PARAMETERS.finditer(source):
        end = _closing(source, found.end())
        if found.start() < at or not end:
            continue
        parts += [source[at : found.end(1)]]
        at = end
    source = "".join(parts) + source[at:]
    return re.sub(r"^(\s*)class (\w+)\s*=(?!=)", r"\1\2 =", source, flags=re.MULTILINE)


def _closing(source: str, at: int) -> int:
    """The index behind the bracket that closes the one before ``at``, 0 if none does."""
    depth = 1
    for index in range(at, min(len(source), at + 2000)):
        depth += {"[": 1, "]": -1}.get(source[index], 0)
        if not depth:
            return index + 1
    return 0


def _without_replacements(source: str, letter: str) -> str:
    """``source`` with each string of that prefix as a plain one of equal meaning to the parser."""
    parts: list[str] = []
    at = 0
    while found := STRING_PREFIX.search(source, at):
        end = _end_of_string(source, found.end(), found[2])
        parts.append(source[at : found.start()])
        if end and letter in found[1].lower():
            parts.append("'x'")
            at = end
        else:
            parts.append(source[found.start() : found.end()])
            at = found.end()
    return "".join(parts) + source[at:]


def _end_of_string(source: str, at: int, quote: str) -> int:
    """The index behind an f-string's end, with the strings inside its braces passed over; 0 if it has none."""
    depth = 0
    while at < len(source):
        if depth == 0 and source.startswith(quote, at):
            return at + len(quote)
        if depth == 0 and source.startswith(("{{", "}}", "\\"), at):
            at += 2
        elif depth and source[at] in "'\"":
            inner = source[at : at + 3] if source[at : at + 3] in ("'''", '"""') else source[at]
            end = _end_of_string(source, at + len(inner), inner)
            if not end:
                return 0
            at = end
        elif depth == 0 and len(quote) == 1 and source[at] == "\n":
            return 0
        else:
            depth = max(depth + {"{": 1, "}": -1}.get(source[at], 0), 0)
            at += 1
    return 0
