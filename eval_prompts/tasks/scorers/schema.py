"""JSON schemas: by the draft that they name, fetching nothing, and given up where they take too long."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from eval_prompts.tasks.scorers.wording import REGEX_SECONDS, compiled
from tuning.errors import UserError

SECONDS = 1.0
MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies")
"""Keywords whose keys are names and no keywords."""
VALUES = ("const", "enum", "default", "examples")
"""Keywords whose values are no schemas."""
_until = threading.local()
"""The moment at which the check of an answer is given up."""


def validator(schema: Any) -> Any:
    """What checks values against a schema, by the draft that it names; nothing is fetched, and its time is limited.
    Raises UserError for what is no schema."""
    from jsonschema import Draft202012Validator, SchemaError, validators
    from referencing import Registry

    try:
        json.dumps(schema)
        named = schema.get("$schema") if isinstance(schema, dict) else None
        known = isinstance(named, str) and validators.validator_for(schema, None)
        draft = Draft202012Validator if named is None else known
        if not draft:
            raise UserError(f"schema names a draft that is not known: {str(named)[:80]}")
        draft.check_schema(schema)
    except SchemaError as error:
        where = ".".join(map(str, error.absolute_path)) or "at its top"
        raise UserError(f"schema is not a JSON schema ({where}: {error.message[:120]})") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise UserError(f"schema is not a JSON schema ({str(error)[:120]})") from None
    for source in patterns_in(schema):
        try:
            compiled(source, 0)
        except UserError as error:
            raise UserError(f"schema: {error}") from None
    keywords = draft.VALIDATORS | {name: rule for name, rule in PATTERNED.items() if name in draft.VALIDATORS}
    kind = validators.extend(draft, {name: in_time(rule) for name, rule in keywords.items()})
    return kind(schema, registry=Registry())


def patterns_in(schema: Any, is_schema: bool = True) -> Iterator[str]:
    """The regular expressions of a schema. Raises UserError where one stands that could not be limited in time."""
    if not isinstance(schema, dict | list):
        return
    for name, value in schema.items() if isinstance(schema, dict) else enumerate(schema):
        if name in VALUES and is_schema:
            continue
        if name == "pattern" and is_schema and isinstance(value, str):
            yield value
        if name == "patternProperties" and is_schema and isinstance(value, dict):
            yield from value
            if "unevaluatedProperties" in schema:
                raise UserError("schema: unevaluatedProperties is not taken beside patternProperties")
        if isinstance(value, dict | list):
            yield from patterns_in(value, not (is_schema and name in MAPS))


def in_time(rule: Callable[..., Any]) -> Callable[..., Any]:
    """A keyword's rule that raises UserError once the time for the answer is over."""

    def limited(*arguments: Any) -> Any:
        check_time()
        return rule(*arguments)

    return limited


def check_time() -> None:
    """Raise UserError once the time for the answer is over."""
    if time.monotonic() > getattr(_until, "moment", math.inf):
        raise UserError(f"the schema takes longer than {SECONDS:g} s on this answer")


def found(source: str, text: str) -> bool:
    """Whether a schema's pattern is in a text. Raises UserError where that takes too long."""
    check_time()
    try:
        return compiled(source, 0).search(text, timeout=REGEX_SECONDS) is not None
    except TimeoutError:
        raise UserError(f"the schema's pattern takes longer than {REGEX_SECONDS:g} s on this answer") from None


def pattern(_: Any, source: str, instance: Any, __: Any) -> Iterator[Any]:
    """The rule of ``pattern``."""
    from jsonschema import ValidationError

    if isinstance(instance, str) and not found(source, instance):
        yield ValidationError(f"{instance!r} does not match {source!r}")


def pattern_properties(checker: Any, patterns: dict[str, Any], instance: Any, __: Any) -> Iterator[Any]:
    """The rule of ``patternProperties``."""
    for source, schema in patterns.items() if isinstance(instance, dict) else ():
        for name, value in instance.items():
            if found(source, name):
                yield from checker.descend(value, schema, path=name, schema_path=source)


def additional_properties(checker: Any, rest: Any, instance: Any, schema: dict[str, Any]) -> Iterator[Any]:
    """The rule of ``additionalProperties``."""
    from jsonschema import ValidationError

    if not isinstance(instance, dict):
        return
    patterns = schema.get("patternProperties", {})
    extras = [
        name
        for name in instance
        if name not in schema.get("properties", {}) and not any(found(source, name) for source in patterns)
    ]
    if rest is False and extras:
        yield ValidationError(f"{', '.join(map(repr, extras))} not asked for")
    elif isinstance(rest, dict):
        for name in extras:
            yield from checker.descend(instance[name], rest, path=name)


PATTERNED = {
    "pattern": pattern,
    "patternProperties": pattern_properties,
    "additionalProperties": additional_properties,
}


def against_schema(checker: Any, value: Any) -> str:
    """What is wrong with a value by its schema; '' if nothing. Raises UserError where the schema cannot be applied."""
    from jsonschema.exceptions import best_match

    _until.moment = time.monotonic() + SECONDS
    try:
        error = best_match(checker.iter_errors(value))
    except UserError:
        raise
    except Exception as trouble:
        # A reference that leads nowhere, or without end, shows only when it is followed.
        raise UserError(f"the schema cannot be applied ({type(trouble).__name__})") from None
    if error is None:
        return ""
    where = ".".join(map(str, error.absolute_path))
    return f"{where + ': ' if where else ''}{' '.join(error.message.split())[:200]}"
