"""An answer read once: its program, the program's syntax tree, and what is wrong or left out."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from enum import Enum

from eval_prompts.judging.extract import Program, extract
from eval_prompts.judging.newer_python import needed_version
from eval_prompts.judging.syntax import MAX_CODE, TOO_ODD, compile_error, syntax_error, syntax_tree

CUT_OFF = "It was cut off before there was a complete statement to judge."


class Syntax(Enum):
    """What can be said of a program's syntax."""

    NONE = "there is no program"
    RIGHT = "it parses"
    WRONG = "it has an error"
    CUT_OFF = "its end is missing"
    NEWER = "it is that of a later Python version"
    TOO_DEEP = "it compiles, but is nested too deeply to look at"


@dataclass(frozen=True)
class ParsedAnswer:
    """An answer's ``program`` with its ``tree`` (None unless ``syntax`` is RIGHT); ``error`` says in words what is
    wrong, ``needs`` the Python version that it takes."""

    program: Program
    syntax: Syntax
    tree: ast.Module | None = None
    error: str = ""
    needs: str = ""

    @property
    def notes(self) -> str:
        """What was left out of the program, in words."""
        return " ".join(self.program.notes)


def parse_answer(text: str, stopped: bool | None) -> ParsedAnswer:
    """Read an answer; ``stopped`` says whether the model ended it itself (None: not known)."""
    program = extract(text, capped=stopped is False)
    source = program.code
    if not source:
        return ParsedAnswer(program, Syntax.NONE)
    error = syntax_error(source)
    if not error:
        tree = syntax_tree(source)
        return ParsedAnswer(program, Syntax.RIGHT if tree else Syntax.TOO_DEEP, tree)
    if (stopped is False or program.open_end) and may_go_on(source):
        return ParsedAnswer(program, Syntax.CUT_OFF, error=CUT_OFF)
    if len(source) <= MAX_CODE and (version := needed_version(source)):
        return ParsedAnswer(program, Syntax.NEWER, error=error, needs=version)
    return ParsedAnswer(program, Syntax.WRONG, error=error)


def may_go_on(source: str) -> bool:
    """Whether the error in ``source`` stands in its last line, as in a statement that is still being written."""
    try:
        error = compile_error(source)
    except TOO_ODD:
        return False
    if error is None:
        return True
    open_ends = ("never closed", "EOF", "unterminated triple-quoted")  # they are reported where they begin
    return (error.lineno or 0) >= source.count("\n") + 1 or any(words in error.msg for words in open_ends)
