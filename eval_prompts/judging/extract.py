"""From an answer in Markdown (or bare text) to the Python code in it. Nothing here runs that code."""

from __future__ import annotations

import ast
import builtins
import re
from dataclasses import dataclass
from functools import cache

from eval_prompts.judging.fences import Block, fenced_blocks, lines_of, tidy, without_drafts
from eval_prompts.judging.syntax import error_line, parses, syntax_tree

CODE_LINE = re.compile(
    r"""^(?:
        (?:async\s+)?def\s+\w+\s*[\[(] | class\s+\w+\s*[:(\[] | @\w[\w.]*(?:\(.*\))?\s*$
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
MAGIC = re.compile(r"^(?P<indent>\s*)(?P<magic>%{1,2}[a-zA-Z]\w*\b.*|![\w./~].*|\?{1,2}\w[\w.]*|\w[\w.]*\?{1,2})\s*$")
FUTURE = re.compile(r"^from\s+__future__\s+import\s+(?P<names>[^#\n;()]+|\([^)]*\))\s*(?:#.*)?$", re.MULTILINE)
OUTPUT_LEAD = re.compile(
    r"\b(?:outputs?|prints?|printed|results?|returns?|gives?|displays?|shows?|produces?|see|yields?|terminal|console"
    r"|sample run|example run|session|usage in a shell|looks? like|expected)\b",
    re.IGNORECASE,
)
WRONG_LEAD = re.compile(
    r"\b(?:wrong|incorrect|bad|broken|buggy|erroneous|flawed|faulty|anti-?pattern|do(?:n't| not)|does(?:n't| not) work"
    r"|never do|avoid|fails)\b|❌|✗",
    re.IGNORECASE,
)
RIGHT_LEAD = re.compile(
    r"\b(?:right|corrected|fix|fixed|fixes|fixing|better|working|works|solution|solved|improved|instead|good|avoids?"
    r"\s+(?:this|that|the))\b|\bcorrect\b|✅|✓",
    re.IGNORECASE,
)
LOOKED_AT = 300
"""Characters of a line that tell whether it is code: the pattern's cost grows faster than the line."""
COMPUTING = (ast.Call, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Subscript, ast.Lambda)


@dataclass(frozen=True)
class Program:
    """The Python ``code`` of an answer ('' if there is none) and what was left out of it, in words, for a reader.

    ``open_end`` says that its last block was never closed.
    """

    code: str
    notes: tuple[str, ...] = ()
    open_end: bool = False


def blocks(text: str) -> list[Block]:
    """All code blocks of an answer in order: fenced ones of any language, or the bare code of an answer without fences.

    Drafts (between ``<think>`` and ``</think>``) hold no code of the answer.
    """
    found = fenced_blocks(text)
    if found:
        return found
    lines = without_drafts(lines_of(text))
    return [Block("", code, fenced=False) for code in _bare_code(lines) or _expression("\n".join(lines))]


def code(text: str, capped: bool = False) -> str:
    """The Python code a reader of the answer would run, '' if there is none."""
    return extract(text, capped).code


def extract(text: str, capped: bool = False) -> Program:
    """The Python code a reader of the answer would run.

    All Python blocks in their order, so that an example call in a second block finds the function of the first. Blocks
    that name no language are code if they read as code, and printed output otherwise. A block that the words before it
    call wrong is left out where another follows. Of a last block that was cut off (its fence is open, or ``capped``
    says that the answer was) the complete statements are kept. An only block with no complete statement is returned
    as it stands.
    """
    found = blocks(text)
    open_end = bool(found) and not found[-1].closed
    last = found[-1] if found else None
    notes: list[str] = []
    candidates = [block for block in found if block.maybe_python and block.code.strip()]
    candidates = _without_output(_without_wrong_ways(candidates, notes))
    kept: list[str] = []
    for block in candidates:
        source = _without_magics(block.code, notes)
        cut = not block.closed or (capped and block is last and not block.fenced)
        if parses(source) or (block.python and not cut):
            kept.append(source)
        elif cut:
            kept.append(complete_statements(source))
            notes += ["Its unfinished last statement is left out."] if kept[-1] else []
    joined = _joined([part for part in kept if part])
    return Program(joined or (candidates[0].code if candidates else ""), tuple(dict.fromkeys(notes)), open_end)


def complete_statements(source: str) -> str:
    """``source`` without its last top-level statement where that was cut off; '' if the rest is no Python either, or
    does nothing."""
    lines = source.split("\n")
    limit = len(lines)
    for at in range(len(lines) - 1, 0, -1):
        if at > limit or not lines[at][:1].strip() or CONTINUING_LINE.match(lines[at]):
            continue
        kept = "\n".join(lines[:at]).rstrip()
        broken_at = error_line(kept)
        if not broken_at:
            return kept if does_something(kept) else ""
        limit = broken_at - 1  # what stands before this line alone can parse: the error stays in any longer part
    return ""


def does_something(source: str) -> bool:
    """Whether a program holds more than imports, comments and bare constants: there is something to judge about it."""

    def idle(each: ast.stmt) -> bool:
        text = isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)
        return text or isinstance(each, ast.Import | ast.ImportFrom)

    tree = syntax_tree(source)
    return tree is not None and not all(map(idle, tree.body))


def _without_wrong_ways(candidates: list[Block], notes: list[str]) -> list[Block]:
    """The blocks less those that their lead or first comment calls wrong, if others follow."""
    kept = []
    for at, block in enumerate(candidates):
        first = block.code.lstrip().split("\n")[0]
        words = [block.lead, first if first.startswith("#") else ""]
        wrong = any(len(text) < 160 and WRONG_LEAD.search(text) and not RIGHT_LEAD.search(text) for text in words)
        if wrong and at < len(candidates) - 1:
            notes.append("A block that the answer itself calls wrong is left out.")
        else:
            kept.append(block)
    return kept


def _without_output(candidates: list[Block]) -> list[Block]:
    """The blocks less those without a language that show output or something else to read, where any block is code.

    Alone they are kept, if they hold anything that reads as code.
    """
    sure = [block for block in candidates if block.python or (not block.fenced) or _is_program(block.code)]
    if not sure:
        return [block for block in candidates if _reads_as_code(block.code)]
    bound = frozenset().union(*(_bound(block.code) for block in sure))
    return [block for block in candidates if block in sure and not _is_output(block, sure, bound)]


def _is_output(block: Block, sure: list[Block], bound: frozenset[str]) -> bool:
    """Whether a block without a language shows what another prints, though it might be a program."""
    others = [other for other in sure if other is not block]
    if block.python or not block.fenced or not others:
        return False
    tree = syntax_tree(block.code)
    if tree is None:
        return block.closed
    if _defines(tree):
        return False
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    only_results = all(isinstance(node, ast.Expr | ast.Assign | ast.AnnAssign) for node in tree.body)
    printing = any(isinstance(node, ast.Name) and node.id in ("print", "input") for node in ast.walk(tree))
    if only_results and not printing and OUTPUT_LEAD.search(block.lead):
        return True
    own = _bound(block.code)
    unknown = names - bound - own - _builtin_names()
    overwritten = own & frozenset().union(*(_defined(other.code) for other in others))
    return bool(unknown) or bool(overwritten)


def _is_program(source: str) -> bool:
    """Whether a block without a language is code rather than output: some statement of it does or defines something."""
    tree = syntax_tree(source)
    if tree is None:
        return sum(_is_code(line.strip(), inside=False) for line in source.split("\n")) > 1
    return any(_acts(statement) for statement in tree.body)


def _acts(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Call | ast.Await | ast.ListComp | ast.Yield)
    if isinstance(statement, ast.AnnAssign):
        return statement.value is not None
    return not isinstance(statement, ast.Pass)


def _defines(tree: ast.Module) -> bool:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    return any(isinstance(node, kinds) for node in tree.body)


def _reads_as_code(source: str) -> bool:
    if tree := syntax_tree(source):
        return any(_acts(statement) for statement in tree.body) or any(
            isinstance(node, COMPUTING) for node in ast.walk(tree)
        )
    return any(_is_code(line.strip(), inside=False) for line in source.split("\n"))


def _bound(source: str) -> frozenset[str]:
    tree = syntax_tree(source)
    if tree is None:
        return frozenset(re.findall(r"\b(?:def|class|import|as)\s+(\w+)", source))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.arg):
            names.add(node.arg)
    return frozenset(names)


def _defined(source: str) -> frozenset[str]:
    """The functions and classes of a program."""
    return frozenset(re.findall(r"^\s*(?:async\s+)?(?:def|class)\s+(\w+)", source, re.MULTILINE))


@cache
def _builtin_names() -> frozenset[str]:
    return frozenset(dir(builtins))


def _without_magics(source: str, notes: list[str]) -> str:
    """``source`` with IPython's own commands (``%matplotlib inline``, ``!pip install x``) put out of action."""
    lines = source.split("\n")
    magics = [at for at, line in enumerate(lines) if MAGIC.match(line)]
    if not magics or parses(source):
        return source
    changed = list(lines)
    for at in magics:
        found = MAGIC.match(lines[at])
        assert found is not None
        changed[at] = f"{found['indent']}pass  # {found['magic']}"
    notes.append(f"{len(magics)} command{'s' * (len(magics) > 1)} of IPython's own (% or !) left out.")
    return "\n".join(changed)


def _joined(parts: list[str]) -> str:
    """The blocks as one program; ``from __future__`` imports, which must come first, are moved there."""
    if len(parts) < 2:
        return "".join(parts)
    names: dict[str, None] = {}
    for at, part in enumerate(parts):
        if "__future__" in part and (tree := syntax_tree(part)):
            imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
            names |= dict.fromkeys(alias.name for node in imports for alias in node.names)
            parts[at] = FUTURE.sub("", part) if imports else part
    future = [f"from __future__ import {', '.join(names)}"] if names else []
    return "\n\n".join([*future, *(part.strip("\n") for part in parts)])


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
    return [tidy(run) for run in runs]


def _expression(text: str) -> list[str]:
    """The whole text, if it is one Python expression that computes something."""
    tree = syntax_tree(text.strip())
    if tree and any(isinstance(node, COMPUTING) for node in ast.walk(tree)):
        return [text.strip()]
    return []


def _is_code(line: str, inside: bool) -> bool:
    beginning = line[:LOOKED_AT]
    return bool(CODE_LINE.match(beginning) or (inside and CONTINUING_LINE.match(beginning)))
