"""The SQL condition that chooses rows of a table, read as an expression before any database sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tuning.data.place import Place
from tuning.errors import UserError
from tuning.files import first_line
from tuning.ingest.warehouse import driver, redacted, scalar

if TYPE_CHECKING:
    from duckdb import Expression

SETTINGS = frozenset({"current_setting", "getenv", "getvariable"})


def condition(place: Place) -> Expression:
    """The condition of ``place`` as an expression over its columns.

    Raises UserError if it is none, or reaches beyond the row that it is asked of: to other tables and files, which are
    named in subqueries only, or to settings, of which MotherDuck's token is one.
    """
    duckdb = driver()
    try:
        expression: Expression = duckdb.SQLExpression(place.where)
        with duckdb.connect() as parser:
            tree = json.loads(scalar(parser, "SELECT json_serialize_sql(?)", [f"SELECT 1 WHERE ({place.where}\n)"]))
    except duckdb.Error as error:
        raise refused(place, first_line(error)) from None
    if tree["error"]:
        raise refused(place, tree["error_message"])
    for node in nodes(tree):
        if node.get("class") == "SUBQUERY" or node.get("function_name") in SETTINGS:
            raise UserError("where= may ask for the columns of the row alone: no query and no setting in it.")
    return expression


def refused(place: Place, reason: str) -> UserError:
    """The error for a condition that is none."""
    return UserError(f"where= is no condition on {place.label}: {redacted(reason)}")


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """All objects in a JSON value, however deep."""
    waiting = [tree]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)
