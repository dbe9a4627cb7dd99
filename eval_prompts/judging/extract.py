"""From an answer in Markdown (or bare text) to the Python code in it. Nothing here runs that code."""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from dataclasses import dataclass

PYTHON_NAMES = frozenset({"python", "python2", "python3", "py", "py3", "pycon", "ipython", "ipython3", "gyp", "sage"})
OPENING_FENCE = re.compile(r"^(?P<before>.*?)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")
INLINE_FENCE = re.compile(r"^\s*`{3,}(?P<code>[^`]+)`{3,}\s*$")
LIST_OR_QUOTE = re.compile(r"^(?:\s|>|[-*+]\s|\d+[.)]\s)*$")
PROMPT = re.compile(r"^(?:>>>|\.\.\.)(?: |$)|^In \[\d+\]: ?")
CODE_LINE = re.compile(
    r"""^(?:
        (?:async\s+)?def\s+\w+\s*\( | class\s+\w+\s*[:(] | @\w[\w.]*(?:\(.*\))?\s*$
      | import\s+\w[\w.]*(?:\s+as\s+\w+)?(?:\s*,\s*\w[\w.]*(?:\s+as\s+\w+)?)*\s*(?:\#.*)?$
      | from\s+[\w.]+\s+import\s+[\w*(]
      | (?:if|while|for|with|elif|except|match|case)\b.*:\s*(?:\#.*)?$ | (?:else|try|finally)\s*:
      | (?:if|while|for|with)\b.*:\s+\w[\w.]*(?:\s*[-+*/]?=|\() | (?:return|raise|assert|del|global)\s+\S+.*[\])\w'"]$
      | (?:pass|break|continue)\s*$
      | [A-Za-z_][\w.]*(?:\[[^\]]*\])*(?:\s*,\s*[A-Za-z_][\w.]*)*\s*(?::\s*[\w.\[\], ]+)?
        (?:[-+*/%&|^]|//|\*\*|>>|<<)?=(?!=)\s*\S
      | [A-Za-z_][\w.]*\(.*\)\s*(?:\#.*)?$ | print\s*\(.* | [A-Za-z_][\w.]*\($ | \#!?.*coding | \#!/
    )""",
    re.VERBOSE,
)
CONTINUING_LINE = re.compile(r"^(?:[)\]}]|\#|'''|\"\"\"|$)")


@dataclass(frozen=True)
class Block:
    """One piece of code: its ``language`` (lower case, '' where none is named) and whether its fence is ``closed``.

    ``fenced`` is False for code found in an answer without fences.
    """

    language: str
    code: str
    closed: bool = True
    fenced: bool = True

    @property
    def maybe_python(self) -> bool:
        """Whether the info string names Python or nothing at all."""
        return not self.language or self.language in PYTHON_NAMES


def blocks(text: str) -> list[Block]:
    """All code blocks of an answer in order: fenced ones of any language, or the bare code of an answer without fences.

    A fence may stand after words on its line, inside a list or a quotation, and may be left open at the end.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found: list[Block] = []
    at = 0
    while at < len(lines):
        inline = INLINE_FENCE.match(lines[at])
        opening = OPENING_FENCE.match(lines[at])
        at += 1
        if inline:
            found.append(Block("", inline["code"].strip()))
        elif opening and _opens(opening):
            body, closed, at = _fence_body(lines, at, opening)
            found.append(Block(_language(opening["info"]), _tidy(body), closed))
    return found or [Block("", code, fenced=False) for code in _bare_code(lines) or _expression(text)]


def code(text: str, capped: bool = False) -> str:
    """The Python code a reader of the answer would run, '' if there is none.

    All Python blocks in their order, so that an example call in a second block finds the function of the first. Blocks
    without a language that are no Python (shell commands, printed output) are left out where another block is Python.
    Of a last block that was cut off (its fence is open, or ``capped`` says that the answer was) the complete statements
    are kept. An only block with no complete statement is returned as it stands.
    """
    found = blocks(text)
    candidates = [block for block in found if block.maybe_python and block.code.strip()]
    kept: list[str] = []
    for block in candidates:
        cut = not block.closed or (capped and block is found[-1] and not block.fenced)
        if parses(block.code) or (block.language and not cut):
            kept.append(block.code)
        elif cut:
            kept.append(complete_statements(block.code))
    joined = "\n\n".join(part for part in kept if part)
    return joined or (candidates[0].code if candidates else "")


def complete_statements(source: str) -> str:
    """``source`` without its last top-level statement where that was cut off; '' if the rest is no Python either, or
    does nothing."""
    lines = source.split("\n")
    for at in range(len(lines) - 1, 0, -1):
        if lines[at][:1].strip() and not CONTINUING_LINE.match(lines[at]) and parses("\n".join(lines[:at])):
            kept = "\n".join(lines[:at]).rstrip()
            return kept if does_something(kept) else ""
    return ""


def does_something(source: str) -> bool:
    """Whether a program holds more than imports, comments and bare constants: there is something to judge about it."""

    def idle(each: ast.stmt) -> bool:
        text = isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)
        return text or isinstance(each, ast.Import | ast.ImportFrom)

    tree = syntax_tree(source)
    return tree is not None and not all(map(idle, tree.body))


def cut_off(text: str) -> bool:
    """Whether the answer ends inside a fence that was never closed."""
    found = blocks(text)
    return bool(found) and not found[-1].closed


def has_code(text: str) -> bool:
    """Whether an answer holds any Python code."""
    return bool(code(text))


def parses(source: str) -> bool:
    """Whether ``source`` is Python syntax (of the interpreter that runs this)."""
    return syntax_tree(source) is not None


def syntax_tree(source: str) -> ast.Module | None:
    """The syntax tree of ``source``; None if it has none, also for text too deep or too odd for Python's parser."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _opens(opening: re.Match[str]) -> bool:
    """A fence opens at the start of a line, or after words if nothing but one word follows it."""
    if LIST_OR_QUOTE.match(opening["before"]):
        return True
    return opening["fence"].startswith("`") and len(opening["info"].split()) <= 1 and "`" not in opening["before"]


def _fence_body(lines: list[str], at: int, opening: re.Match[str]) -> tuple[list[str], bool, int]:
    """The lines inside a fence, whether it closes, and the index of the line after it."""
    mark, size = opening["fence"][0], len(opening["fence"])
    closing = re.compile(rf"^[\s>]*{re.escape(mark)}{{{size},}}\s*$")
    glued = re.compile(rf"^(?P<code>[^{mark}]*\S){mark}{{{size},}}\s*$")
    body: list[str] = []
    for index in range(at, len(lines)):
        if closing.match(lines[index]):
            return body, True, index + 1
        last = glued.match(lines[index]) if mark == "`" else None
        if last:
            return [*body, last["code"]], True, index + 1
        body.append(lines[index])
    return body, False, len(lines)


def _language(info: str) -> str:
    words = re.findall(r"[\w+#-]+", info.lower())
    return words[0] if words else ""


def _tidy(body: list[str]) -> str:
    """A block's lines without quotation marks, common indentation and interactive prompts."""
    if body and all((line.startswith(">") and not line.startswith(">>>")) or not line.strip() for line in body):
        body = [line[1:].removeprefix(" ") for line in body]
    code = textwrap.dedent("\n".join(body)).strip("\n")
    lines = code.split("\n")
    if lines[0].startswith(">>> ") or lines[0].startswith("In ["):
        lines = [PROMPT.sub("", line) for line in lines if PROMPT.match(line)]
    return "\n".join(lines).rstrip()


def _bare_code(lines: list[str]) -> list[str]:
    """Runs of lines that look like code in text without fences."""
    runs: list[list[str]] = []
    inside = False
    margin = 0
    for line in lines:
        depth = len(line) - len(line.lstrip())
        stripped = line.strip()
        if inside and (not stripped or depth > margin or (depth == margin and _is_code(stripped, inside=True))):
            runs[-1].append(line)
            continue
        inside = bool(stripped) and _is_code(stripped, inside=False)
        if inside:
            margin = depth
            runs.append([line])
    return [_tidy(run) for run in runs]


def _expression(text: str) -> list[str]:
    """The whole text, if it is one Python expression that computes something."""
    tree = syntax_tree(text.strip())
    computing = (ast.Call, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Subscript, ast.Lambda)
    if tree and any(isinstance(node, computing) for node in ast.walk(tree)):
        return [text.strip()]
    return []


def _is_code(line: str, inside: bool) -> bool:
    return bool(CODE_LINE.match(line) or (inside and CONTINUING_LINE.match(line)))
