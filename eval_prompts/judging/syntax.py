"""Python's own parser on text that may be anything: no warning is shown, no error but the answer's is raised."""

from __future__ import annotations

import ast
import re
import warnings

MAX_CODE = 50_000
TOO_ODD = (ValueError, RecursionError, MemoryError, OverflowError)
"""What the parser raises, beside SyntaxError, for text that is too deep, too long or no text at all."""
_ANSWERS = re.compile(r"<(?:answer|unknown)>$")


def syntax_tree(source: str) -> ast.Module | None:
    """The syntax tree of ``source``; None if it has none, also for text too deep or too odd for Python's parser."""
    _be_silent()
    try:
        return ast.parse(source)
    except (SyntaxError, *TOO_ODD):
        return None


def parses(source: str) -> bool:
    """Whether ``source`` is Python syntax (of the interpreter that runs this)."""
    return syntax_tree(source) is not None


def error_line(source: str) -> int:
    """The line of the first syntax error, 0 if there is none."""
    _be_silent()
    try:
        ast.parse(source)
    except SyntaxError as error:
        return max(error.lineno or 1, 1)
    except TOO_ODD:
        return 1
    return 0


def compile_error(source: str) -> SyntaxError | None:
    """The error that compiling ``source`` finds (more than parsing does: ``return`` outside a function); None if none.

    Raises ValueError, RecursionError, MemoryError or OverflowError for text that is too odd to compile.
    """
    _be_silent()
    try:
        compile(source, "<answer>", "exec", dont_inherit=True)
    except SyntaxError as error:
        return error
    return None


def syntax_error(source: str) -> str:
    """What is wrong with a program's syntax, in words with its line; '' if nothing. Compiles, and runs nothing."""
    if len(source) > MAX_CODE:
        return f"The code is longer than {MAX_CODE:,} characters."
    try:
        error = compile_error(source)
    except TOO_ODD as odd:
        return f"It cannot be read: {odd or type(odd).__name__}."
    if error is None:
        return ""
    return f"Line {error.lineno}: {error.msg}." if error.lineno else f"{error.msg}."


def _be_silent() -> None:
    """Have the warnings about answers' code (``"\\d"``, ``x is 3``) ignored, and no others.

    The filter stays, where ``warnings.catch_warnings`` would change the whole process's filters back and forth under
    the other threads. It is put in again where somebody (a test) has reset the filters.
    """
    if ("ignore", None, Warning, _ANSWERS, 0) not in warnings.filters:
        warnings.filterwarnings("ignore", module=_ANSWERS.pattern)
