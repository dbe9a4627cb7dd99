"""Scorers of answers that are data: JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from eval_prompts.tasks.scorers.base import Given, Judge, Score, flag, number, quoted, said, unknown
from eval_prompts.tasks.scorers.schema import against_schema, validator
from tuning.errors import UserError

LONGEST = 200_000
MOST_BRACKETS = 50
"""Brackets in an answer that are tried as the beginning of its JSON."""
BETWEEN = " \t\r\n,"
FENCE = re.compile(r"^[ \t]*```[ \t]*(\w*)[ \t]*\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE)


class NotJson(ValueError):
    """Why a text is not JSON, in words."""


def strictly(text: str) -> Any:
    """A text as JSON, without what JSON has not: NaN, Infinity, a key that stands twice. Raises NotJson."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content = dict(pairs)
        if len(content) < len(pairs):
            twice = next(key for key, _ in pairs if [key for key, _ in pairs].count(key) > 1)
            raise NotJson(f"the key {quoted(twice, 40)} stands twice")
        return content

    def refuse(name: str) -> Any:
        raise NotJson(f"{name} is not JSON")

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)
    except NotJson:
        raise
    except json.JSONDecodeError as error:
        raise NotJson(f"line {error.lineno}, column {error.colno}: {error.msg[:1].lower()}{error.msg[1:]}") from None
    except (ValueError, RecursionError):
        raise NotJson("it is nested too deeply, or holds too long a number") from None


def candidates(text: str) -> Iterator[str]:
    """Where JSON may stand in an answer: the whole of it, its fenced blocks, and from its first bracket to the last."""
    yield text.strip()
    for _, body in FENCE.findall(text):
        yield body.strip()
    for opening, closing in sorted((("{", "}"), ("[", "]")), key=lambda pair: text.find(pair[0]) % (len(text) + 1)):
        start, end = text.find(opening), text.rfind(closing)
        if 0 <= start < end:
            yield text[start : end + 1]
    yield from alone(text)


def alone(text: str) -> Iterator[str]:
    """JSON among words that hold brackets too, as in: {"a": 1}, where {a} is the count. What is open around it, or
    stands right beside another value, is a part of something and not the answer."""
    for match in islice(re.finditer(r"[{\[]", text), MOST_BRACKETS):
        before = text[: match.start()]
        if before.rstrip(BETWEEN)[-1:] in ("}", "]"):
            continue
        if before.count("{") == before.count("}") and before.count("[") == before.count("]"):
            with suppress(ValueError, RecursionError):
                end = json.JSONDecoder().raw_decode(text, match.start())[1]
                if text[end:].lstrip(BETWEEN)[:1] not in ("{", "["):
                    yield text[match.start() : end]


def json_in(text: str, strict: bool = False) -> Any:
    """The JSON of an answer; with ``strict`` nothing may stand around it. Raises NotJson, with the best reason."""
    if len(text) > LONGEST:
        raise NotJson(f"it is longer than {LONGEST:,} characters")
    if not text.strip():
        raise NotJson("the answer is empty")
    reason = None
    for part in [text.strip()] if strict else candidates(text):
        try:
            value = strictly(part)
        except NotJson as error:
            reason = error if part[:1] in "{[" or reason is None else reason
        else:
            if strict or isinstance(value, dict | list) or part == text.strip():
                return value
    raise reason or NotJson("it holds no JSON")


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """All values of a JSON tree that hold no others, with their paths; an empty object or list is one too."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    children = list(items)
    if not children:
        yield path, value
    for key, child in children:
        yield from leaves(child, (*path, key))


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 is 1.0, but true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return (type(one) is type(other) and one == other) or (
        isinstance(one, int | float) and isinstance(other, int | float) and one == other
    )


def compare(answer: Any, reference: Any) -> tuple[float, str]:
    """The share of fields that are equal, and the first that is not: every field of either side counts once."""
    ours, theirs = dict(leaves(answer)), dict(leaves(reference))
    paths = list(dict.fromkeys([*theirs, *ours]))
    odd = [path for path in paths if path not in ours or path not in theirs or not same(ours[path], theirs[path])]
    if not odd:
        return 1.0, ""
    path = odd[0]
    name = ".".join(map(str, path)) or "the value"
    shown = [json.dumps(side[path], ensure_ascii=False)[:60] if path in side else None for side in (ours, theirs)]
    if shown[0] is None:
        words = f"{name} is missing"
    elif shown[1] is None:
        words = f"{name} is not asked for"
    else:
        words = f"{name} is {shown[0]}, not {shown[1]}"
    return 1 - len(odd) / len(paths), f"{len(paths) - len(odd)} of {len(paths)} fields are right; {words}"


def read_schema(schema: Any, folder: Path | None) -> Any:
    """A schema as it stands in the task, or the file that it names. Raises UserError."""
    if not isinstance(schema, str):
        return schema
    if folder is None:
        raise UserError("schema names a file, which a task from the page cannot do: write the schema itself")
    try:
        return strictly((folder / schema).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, NotJson) as error:
        raise UserError(f"schema: the file {schema} cannot be read as JSON ({error})") from None


def json_scorer(
    schema: Any = None, fields: Any = None, strict: Any = False, at_least: Any = 1, folder: Path | None = None
) -> Judge:
    """The answer is JSON, fits ``schema``, and its fields equal the reference's (where there is one)."""
    checker = None if schema is None else validator(read_schema(schema, folder))
    compared, strict, line = (
        fields is None or flag(fields, "fields"),
        flag(strict, "strict"),
        number(at_least, "at_least", 0, 1),
    )

    def judge(given: Given) -> Score:
        try:
            value = json_in(given.text, strict)
        except NotJson as error:
            return said("json", False, f"not JSON: {error}", 0.0, "is not JSON")
        try:
            wrong = "" if checker is None else against_schema(checker, value)
        except UserError as error:
            return unknown("json", str(error))
        if not compared or not given.references:
            return said("json", not wrong, wrong, short="fits the schema" if checker and not wrong else "")
        results = []
        for reference in given.references:
            try:
                results.append(compare(value, reference_value(reference)))
            except NotJson as error:
                return unknown("json", f"the reference is not JSON: {error}")
        share, reason = max(results)
        passed = not wrong and share >= line
        return said("json", passed, "; ".join(filter(None, (wrong, reason))), 0.0 if wrong and share == 1 else share)

    return judge


@lru_cache(maxsize=2048)
def reference_value(reference: str) -> Any:
    """A reference as JSON; read once. Raises NotJson."""
    return strictly(reference)
