"""A file of questions with tests, in the format of MBPP or of HumanEval: how it is read, and its answers judged."""

from __future__ import annotations

import ast
import gzip
import json
import textwrap
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval_prompts.judging.assignment import Assignment
from eval_prompts.judging.extract import code
from eval_prompts.judging.judge import judge
from eval_prompts.judging.probes.program import bound_names
from eval_prompts.judging.syntax import syntax_tree
from eval_prompts.judging.verdict import Verdict
from tuning.errors import UserError

SIDES = ("base", "tuned")
GZIP_MARK = b"\x1f\x8b"
COMPLETE = "Complete this Python function. Write the whole function."


@dataclass(frozen=True)
class Item:
    """One question of a suite. ``prompt`` is the beginning of a program that an answer may continue."""

    id: str
    question: str
    input: str
    task: Assignment
    prompt: str = ""


def load_suite(path: Path, limit: int | None = None) -> list[Item]:
    """The questions of a file of JSON lines, or of one JSON array (``.gz`` too), at most ``limit`` of them.

    MBPP: ``text`` (or ``prompt``), ``test_list``, ``task_id``, ``test_setup_code`` (or ``test_imports``); the first
    test is shown as the question's input. HumanEval: ``prompt``, ``entry_point``, ``test``, ``task_id``.
    Raises UserError for a file that cannot be read, holds no questions, or a line in neither format.
    """
    if limit is not None and limit < 1:
        raise UserError("The limit must be at least 1.")
    numbered = _rows(path)
    items = [_item(row, number, path) for number, row in numbered[:limit]]
    if not items:
        raise UserError(f"The suite file {path} holds no questions.")
    return items


def judge_answer(item: Item, text: str, stopped: bool | None = None, *, jail: bool = False) -> Verdict:
    """The verdict on an answer to a suite's question; a HumanEval answer may be the whole function or its body."""
    if not item.prompt:
        return judge(text, task=item.task, stopped=stopped, jail=jail)
    source = code(text, capped=stopped is False)
    tree = syntax_tree(source)
    if tree and item.task.entry_point in bound_names(tree):
        program = f"{item.task.context}\n\n{source}"
    else:
        program = f"{item.prompt.rstrip()}\n{textwrap.indent(source, '    ')}"
    judged = f"```python\n{program if syntax_tree(program) else source}\n```" if source else text
    return judge(judged, task=item.task, stopped=stopped, jail=jail)


def as_table(score_data: dict[str, Any]) -> str:
    """A score for the terminal: one line per side, then the comparison."""
    lines = [f"{score_data['suite']}: {score_data['n']} questions"]
    for side in SIDES:
        part = score_data[side]
        tokens = "-" if part["mean_tokens"] is None else f"{part['mean_tokens']:.0f}"
        lines.append(
            f"{side:>6}: passed {part['passed']} ({part['pass_rate']:.1%}), stopped {part['stopped']} "
            f"({part['stopped_rate']:.1%}), {tokens} tokens on average, {part['not_run']} could not be run"
        )
    lines.append(
        f"solved by base alone: {len(score_data['only_base'])}, by tuned alone: {len(score_data['only_tuned'])}, "
        f"exact McNemar p = {score_data['p_value']:.3g}"
    )
    return "\n".join(lines)


def _rows(path: Path) -> list[tuple[int, Any]]:
    """The rows of a file with their numbers (of the line, or the place in the array). Only a line feed ends a line: the
    other marks that Python knows (U+2028, U+0085, form feed) may stand inside JSON's texts."""
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data.startswith(GZIP_MARK) or path.suffix == ".gz" else data
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"There is no suite file {path}.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"The suite file {path} cannot be read: {error}.") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"The suite file {path} cannot be read: it is not UTF-8 ({error.reason} at byte {error.start})."
        ) from None
    if text.lstrip().startswith("["):
        return list(enumerate(_parsed(text, "The suite file", path), 1))
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1)]
    return [(number, _parsed(line, f"Line {number} of", path)) for number, line in lines if line]


def _parsed(text: str, place: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        reason = "a suite has one JSON object per line, or is one JSON array of them"
        raise UserError(f"{place} {path} is not valid JSON: {reason}.") from None


def _item(row: Any, number: int, path: Path) -> Item:
    if isinstance(row, dict) and _texts(row.get("test_list")) and row["test_list"]:
        question = row.get("text") or row.get("prompt")
        setup = row.get("test_setup_code") or "\n".join(row.get("test_imports") or [])
        if isinstance(question, str) and isinstance(setup, str) and question.strip():
            tests = tuple(test.replace("\r\n", "\n") for test in row["test_list"])
            task = Assignment(tests=tests, setup=setup.replace("\r\n", "\n"))
            return Item(str(row.get("task_id", number)), question, tests[0], task)
    elif isinstance(row, dict) and _texts([row.get(key) for key in ("prompt", "entry_point", "test")]):
        prompt, entry_point = row["prompt"].replace("\r\n", "\n"), row["entry_point"]
        context = _without(prompt, entry_point)
        task = Assignment(function_test=row["test"], entry_point=entry_point, context=context)
        return Item(str(row.get("task_id", number)), COMPLETE, prompt, task, prompt)
    raise UserError(
        f"Row {number} of {path} is neither in the format of MBPP (text, test_list) nor of HumanEval "
        "(prompt, entry_point, test)."
    )


def _texts(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) and value.strip() for value in values)


def _without(prompt: str, entry_point: str) -> str:
    """The imports and helpers of a HumanEval prompt, without the function that is asked for."""
    tree = syntax_tree(prompt) or syntax_tree(f"{prompt.rstrip()}\n    pass\n")
    if tree is None:
        return ""
    kept = [node for node in tree.body if getattr(node, "name", None) != entry_point]
    return "\n".join(ast.unparse(node) for node in kept)
