"""Scoring both sides on a file of questions with tests, in the format of MBPP or of HumanEval.

How the questions are answered is handed in (``ask``), so that nothing here needs a model.
"""

from __future__ import annotations

import ast
import gzip
import json
import math
import textwrap
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from eval_prompts.judging.assignment import Assignment
from eval_prompts.judging.extract import code
from eval_prompts.judging.judge import judge
from eval_prompts.judging.probes.program import bound_names
from eval_prompts.judging.syntax import syntax_tree
from eval_prompts.judging.verdict import Verdict
from tuning.data.thinking import without_thinking
from tuning.errors import UserError

SIDES = ("base", "tuned")
AT_ONCE = 500
GZIP_MARK = b"\x1f\x8b"
COMPLETE = "Complete this Python function. Write the whole function."


class Reply(Protocol):
    """A finished answer: ``index`` is the place of its question in the request, ``stopped`` whether it ended itself."""

    side: str
    index: int
    text: str
    tokens: int
    stopped: bool


Ask = Callable[[list[tuple[str, str]]], Iterable[Reply]]
"""Answers (question, input) pairs on both sides, each reply as soon as it is finished, in any order."""


@dataclass(frozen=True)
class Item:
    """One question of a suite. ``prompt`` is the beginning of a program that an answer may continue."""

    id: str
    question: str
    input: str
    task: Assignment
    prompt: str = ""


@dataclass(frozen=True)
class Progress:
    """How far a scoring is: finished answers of all, and answers that pass per side."""

    done: int
    total: int
    passed: dict[str, int]


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


def score(
    items: Sequence[Item],
    ask: Ask,
    *,
    name: str = "suite",
    jail: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Answers, judges and compares both sides on a suite.

    Returns JSON data: ``suite``, ``n``, per side ``passed`` and ``stopped`` (counts), ``mean_tokens``, ``pass_rate``,
    ``stopped_rate`` and ``not_run``; ``p_value`` of the exact McNemar test; ``only_base`` and ``only_tuned``, the ids
    of the questions that one side alone solved. Raises UserError if an answer is missing.
    """
    outcomes: dict[str, list[tuple[Verdict, int] | None]] = {side: [None] * len(items) for side in SIDES}
    done = 0
    for start in range(0, len(items), AT_ONCE):
        portion = items[start : start + AT_ONCE]
        for reply in ask([(item.question, item.input) for item in portion]):
            verdict = judge_answer(portion[reply.index], without_thinking(reply.text), reply.stopped, jail=jail)
            outcomes[reply.side][start + reply.index] = (verdict, reply.tokens)
            done += 1
            if on_progress:
                passed = {side: sum(_passes(outcome) for outcome in outcomes[side]) for side in SIDES}
                on_progress(Progress(done, len(SIDES) * len(items), passed))
    base, tuned = ([outcome for outcome in outcomes[side] if outcome is not None] for side in SIDES)
    if len(base) < len(items) or len(tuned) < len(items):
        raise UserError("Not every question of the suite was answered by both sides, so there is no score.")
    return result(name, [item.id for item in items], base, tuned)


def result(
    name: str, ids: Sequence[str], base: Sequence[tuple[Verdict, int]], tuned: Sequence[tuple[Verdict, int]]
) -> dict[str, Any]:
    """The score as JSON data, from (verdict, tokens) per question and side."""
    pairs = [(_passes(one), _passes(other)) for one, other in zip(base, tuned, strict=True)]
    only_base = [item for item, (one, other) in zip(ids, pairs, strict=True) if one and not other]
    only_tuned = [item for item, (one, other) in zip(ids, pairs, strict=True) if other and not one]
    return {
        "suite": name,
        "n": len(ids),
        "base": _side(base),
        "tuned": _side(tuned),
        "p_value": mcnemar(len(only_base), len(only_tuned)),
        "only_base": only_base,
        "only_tuned": only_tuned,
    }


def mcnemar(only_base: int, only_tuned: int) -> float:
    """The two-sided p-value of the exact McNemar test: whether the questions that one side alone solved part as
    unevenly as this by chance (a binomial test with 1/2); 1 if there are none."""
    from scipy.stats import binomtest

    discordant = only_base + only_tuned
    return float(binomtest(only_base, discordant, 0.5).pvalue) if discordant else 1.0


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


def _side(outcomes: Sequence[tuple[Verdict, int]]) -> dict[str, Any]:
    passed = sum(_passes(outcome) for outcome in outcomes)
    stopped = sum(verdict.stopped is True for verdict, _ in outcomes)
    mean = math.fsum(tokens for _, tokens in outcomes) / len(outcomes) if outcomes else None
    return {
        "passed": passed,
        "stopped": stopped,
        "mean_tokens": mean,
        "pass_rate": passed / len(outcomes) if outcomes else 0.0,
        "stopped_rate": stopped / len(outcomes) if outcomes else 0.0,
        "not_run": sum(verdict.task == "not run" for verdict, _ in outcomes),
    }


def _passes(outcome: tuple[Verdict, int] | None) -> bool:
    return outcome is not None and outcome[0].task == "passes"


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


def finished(snapshots: Iterator[Sequence[Any]]) -> Iterator[Reply]:
    """Each answer of a growing list of answers once, when it is ``done``: turns a stream's snapshots into replies."""
    seen: set[tuple[int, str]] = set()
    for answers in snapshots:
        for answer in answers:
            if answer.done and (answer.index, answer.side) not in seen:
                seen.add((answer.index, answer.side))
                yield answer
