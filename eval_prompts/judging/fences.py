"""From an answer in Markdown to its code blocks, as a reader of the answer sees them. Nothing here parses Python."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from typing import NamedTuple

PYTHON = re.compile(
    r"i?py(?:thon|con|thon-?(?:repl|console|code|script))?[\d.]*|py[iw]|ipynb|(?:jupyter|notebook|colab)(?:-python)?"
    r"|python-[\w-]+|[\w-]+-python|gyp|sage|sagemath|starlark|micropython|circuitpython|pypy\d*|pyodide|pyscript|cython"
    r"|[\w./-]+\.(?:py|pyw|pyi|ipynb)",
    re.IGNORECASE,
)
MARKDOWN = frozenset({"markdown", "md", "mdown", "mdx", "commonmark"})
_LANGUAGES = """
bash sh shell zsh fish ksh powershell pwsh ps1 cmd bat batch dos console terminal shellsession sh-session tty
javascript js jsx mjs node ts tsx typescript coffeescript java kotlin kt scala groovy clojure c h cpp c++ cc cxx
hpp csharp cs c# fsharp f# vb vbnet vba go golang rust rs ruby rb erb php perl pl raku r rlang swift objc
objectivec objective-c haskell hs lua luau julia jl matlab octave sql mysql pgsql postgresql sqlite plsql html htm
xhtml css scss sass less xml svg json json5 jsonc jsonl ndjson yaml yml toml ini cfg conf properties env dotenv
dockerfile docker makefile make cmake gradle diff patch mermaid plantuml dot graphviz latex tex bibtex rst asciidoc
csv tsv output out stdout stderr result results log logs error traceback pytb http curl graphql regex regexp ebnf
bnf vim viml nginx apache asm nasm wasm wat llvm fortran pascal delphi ada cobol lisp elisp scheme racket elixir ex
exs erlang erl ocaml ml dart solidity sol zig nim crystal d v prolog tcl awk sed pseudocode pseudo algorithm math
ascii tree gherkin feature protobuf proto thrift verilog vhdl systemverilog hcl terraform tf nix jinja jinja2
handlebars vue svelte astro qml glsl hlsl cuda opencl applescript autohotkey ahk batchfile
"""
OTHER_LANGUAGES = frozenset(_LANGUAGES.split())
FENCE = re.compile(r"`{3,}|~{3,}")
INLINE = re.compile(r"^(?P<before>[^`]*)`{3,}(?P<code>[^`]+)`{3,}\s*[.,;:]?$")
LIST_OR_QUOTE = re.compile(r"^(?:\s|>|[-*+]\s|\d+[.)]\s)*$")
PROMPT = re.compile(r"^(?:>>>|\.\.\.)(?: |$)|^>>>(?=\w)|^In \[\d*\]: ?|^\s+\.\.\.: ?")
CODE_AFTER_TAG = re.compile(
    r"^(?:(?:def|class|import|from|for|while|if|with|async|return|lambda)\s|try:|@\w|print\s*\()"
)
DRAFT = re.compile(r"^\s*<(think|thinking|thought|thoughts|reasoning|reflection|scratchpad)>", re.IGNORECASE)
DRAFT_END = re.compile(r"^\s*</(?:think|thinking|thought|thoughts|reasoning|reflection|scratchpad)>", re.IGNORECASE)


class Opening(NamedTuple):
    """A line that may open a fence: what stands before the fence, the fence, and its info string."""

    before: str
    fence: str
    info: str


@dataclass(frozen=True)
class Block:
    """One piece of code: its ``language`` (lower case, '' where none is named) and whether its fence is ``closed``.

    ``fenced`` is False for code found in an answer without fences; ``lead`` is the last line of words before it.
    """

    language: str
    code: str
    closed: bool = True
    fenced: bool = True
    lead: str = ""

    @property
    def python(self) -> bool:
        """Whether the info string names Python."""
        return bool(PYTHON.fullmatch(self.language))

    @property
    def maybe_python(self) -> bool:
        """Whether the info string names Python, nothing, or no known language (``text``, ``code``, ``copy``)."""
        return self.python or self.language not in OTHER_LANGUAGES | MARKDOWN or self.code.startswith(">>> ")


def fenced_blocks(text: str) -> list[Block]:
    """All fenced blocks of an answer in order, those inside a block of Markdown too; drafts are passed over.

    A fence may stand after words on its line, inside a list or a quotation, and may be left open at the end. Inside
    Python a fence within a string (the example in a docstring) is no fence.
    """
    lines = lines_of(text)
    found: list[Block] = []
    at, lead = 0, ""
    while at < len(lines):
        line = lines[at]
        at += 1
        if draft := DRAFT.match(line):
            at = _after_draft(lines, at - 1, draft[1])
            continue
        inline = INLINE.match(line.rstrip())
        opening = _opening(line)
        if inline:
            found.append(_inline_block(inline, lead))
        elif opening and _opens(opening):
            lead = opening.before.strip(" \t>-*+") or lead
            body, closed, at = _body(lines, at, opening)
            found += _blocks_of(opening, body, closed, lead)
            lead = ""
        elif line.strip():
            lead = line.strip()
    return found


def lines_of(text: str) -> list[str]:
    """The lines of an answer without a draft whose beginning stood in the prompt (only ``</think>`` is there)."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if "</" in text and not any(DRAFT.match(line) for line in lines):
        for at, line in enumerate(lines):
            if end := DRAFT_END.match(line):
                return [line[end.end() :], *lines[at + 1 :]]
    return lines


def without_drafts(lines: list[str]) -> list[str]:
    """``lines`` less those of drafts between tags such as ``<think>`` and ``</think>``; an open one takes the rest."""
    kept: list[str] = []
    at = 0
    while at < len(lines):
        if draft := DRAFT.match(lines[at]):
            at = _after_draft(lines, at, draft[1])
        else:
            kept.append(lines[at])
            at += 1
    return kept


def _after_draft(lines: list[str], at: int, tag: str) -> int:
    """The index of the line on which the draft that begins at ``at`` is over; what follows its end on the same line is
    kept there."""
    end = re.compile(rf"</{tag}>", re.IGNORECASE)
    for index in range(at, len(lines)):
        if last := end.search(lines[index]):
            lines[index] = lines[index][last.end() :]
            return index
    return len(lines)


def _opening(line: str) -> Opening | None:
    """The first fence of a line, unless inline code follows on the line."""
    fence = FENCE.search(line)
    if fence is None or "`" in line[fence.end() :]:
        return None
    return Opening(line[: fence.start()], fence[0], line[fence.end() :])


def _opens(opening: Opening) -> bool:
    """A fence opens at the start of a line, or after words if nothing but one word follows it."""
    if LIST_OR_QUOTE.match(opening.before):
        return True
    return opening.fence.startswith("`") and len(opening.info.split()) <= 1 and "`" not in opening.before


def _inline_block(inline: re.Match[str], lead: str) -> Block:
    """A fence that opens and closes on one line: its first word may be the language."""
    code = inline["code"].strip()
    word, _, rest = code.partition(" ")
    tagged = bool(rest) and (PYTHON.fullmatch(word) or word.lower() in OTHER_LANGUAGES) and not rest.startswith("=")
    before = inline["before"].strip(" \t>-*+")
    return Block(word.lower() if tagged else "", rest.strip() if tagged else code, lead=before or lead)


def _blocks_of(opening: Opening, body: list[str], closed: bool, lead: str) -> list[Block]:
    language = language_of(opening.info)
    tagged_inside = any(re.match(r"\s*(`{3,}|~{3,})\s*\w", line) for line in body)
    if language in MARKDOWN or (not language and len(opening.fence) > 3 and tagged_inside):
        inner = fenced_blocks("\n".join(body))
        return inner or [Block(language, tidy(body), closed, lead=lead)]
    rest = opening.info.strip().partition(" ")[2].strip()
    if PYTHON.fullmatch(language) and CODE_AFTER_TAG.match(rest):
        body = [rest, *body]
    return [Block(language, tidy(body), closed, lead=lead)]


def _body(lines: list[str], at: int, opening: Opening) -> tuple[list[str], bool, int]:
    """The lines inside a fence, whether it closes, and the index of the line after it.

    In what may be Python the fence closes where no string is open; if that is nowhere, at its first possible end.
    """
    mark, size = opening.fence[0], len(opening.fence)
    closing = re.compile(rf"^[\s>]*{re.escape(mark)}{{{size},}}\s*$")
    glued = re.compile(rf"^(?P<code>[^{mark}]*\S){mark}{{{size},}}\s*$")
    nested = re.compile(rf"^[\s>]*{re.escape(mark)}{{{size},}}\s*\w")
    language = language_of(opening.info)
    state = _Strings()
    may_hold_strings = language not in OTHER_LANGUAGES | MARKDOWN
    depth = 0
    first: tuple[list[str], bool, int] | None = None
    body: list[str] = []
    for index in range(at, len(lines)):
        line = lines[index]
        end: tuple[list[str], bool, int] | None = None
        if language in MARKDOWN and nested.match(line):
            depth += 1
        elif closing.match(line):
            end = ([*body], True, index + 1) if not depth else None
            depth = max(depth - 1, 0)
        elif mark == "`" and (last := glued.match(line)):
            end = ([*body, last["code"]], True, index + 1)
            if may_hold_strings and _Strings(state.open).after(last["code"]):
                end = None
        if end and not (may_hold_strings and state.open):
            return end
        first = first or end
        body.append(line)
        state.after(line)
    return first or (body, False, len(lines))


class _Strings:
    """Whether a triple-quoted string is open after some lines of Python, as far as one can say without parsing."""

    TOKEN = re.compile(r"'''|\"\"\"|\\.|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"|#.*$|['\"]")

    def __init__(self, opened: str = "") -> None:
        self.open = opened

    def after(self, line: str) -> str:
        """The quotes of the string that is open after a further line, '' if none is."""
        at = 0
        while at < len(line):
            if self.open:
                end = re.compile(rf"(?:\\.|(?!{self.open}).)*{self.open}").match(line, at)
                if not end:
                    return self.open
                at, self.open = end.end(), ""
                continue
            token = self.TOKEN.search(line, at)
            if not token:
                break
            at = token.end()
            if token[0] in ("'''", '"""'):
                self.open = token[0]
        return self.open


def language_of(info: str) -> str:
    """The language that an info string names (``python title="a.py"``, ``{.python .numberLines}``), in lower case."""
    words = re.findall(r"[\w+#./-]+", info.lower())
    return words[0].lstrip(".").partition(":")[0] if words else ""


def tidy(body: list[str]) -> str:
    """A block's lines without quotation marks, common indentation, a byte order mark and interactive prompts."""
    if body and all((line.startswith(">") and not line.startswith(">>>")) or not line.strip() for line in body):
        body = [line[1:].removeprefix(" ") for line in body]
    code = textwrap.dedent("\n".join(body).replace("\ufeff", "")).strip("\n")
    lines = code.split("\n")
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    if first.startswith((">>> ", "In [")) or (first.startswith(">>>") and PROMPT.match(first)):
        lines = [PROMPT.sub("", line) for line in lines if PROMPT.match(line)]
    return "\n".join(lines).rstrip()
