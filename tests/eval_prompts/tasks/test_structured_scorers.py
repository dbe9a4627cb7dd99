"""Scorers of answers that are data: JSON by its fields, a query by its rows."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval_prompts.tasks.scorers.names import make
from eval_prompts.tasks.scorers.sql import query_in
from eval_prompts.tasks.scorers.structure import compare
from tests.eval_prompts.tasks.scores import SHOP, F, N, P, outcome, score
from tuning.errors import UserError


@pytest.mark.parametrize(
    ("text", "reference", "expected", "share"),
    [
        ('{"a": 1}', '{"a": 1.0}', P, 1),
        ('Sure:\n```json\n{"a": [1, 2]}\n```\nDone.', '{"a": [1, 2]}', P, 1),
        ('It is {"a": 1, "b": 2} here', '{"a": 1, "b": 3}', F, 0.5),
        ('{"a": true}', '{"a": 1}', F, 0),
        ('{"a": 1, "c": 1}', '{"a": 1}', F, 0.5),
        ('{"a": 1, "a": 2}', '{"a": 2}', F, 0),
        ('{"a": NaN}', '{"a": 1}', F, 0),
        ("{'a': 1}", '{"a": 1}', F, 0),
        ("no JSON", '{"a": 1}', F, 0),
        ("", '{"a": 1}', F, 0),
        ("[" * 5000, "[]", F, 0),
        ("[]", "{}", F, 0),
        ('Not {this} but {"a": 1}, where {a} is the count', '{"a": 1}', P, 1),
        ('{"a": 1} {"a": 2}', '{"a": 1}', F, 0),
        ('{"a": 1, "b": {"c": 2}', '{"c": 2}', F, 0),
        ('{"a": 1', '{"a": 1}', F, 0),
        ('{"a": 1}', "not JSON", N, None),
    ],
)
def test_json_is_compared_field_by_field(text, reference, expected, share):
    found = score("json", text, reference)
    assert (found.outcome, found.score) == (expected, share)
    assert found.reason or expected is P


def test_json_must_fit_its_schema():
    schema = {"type": "object", "required": ["age"], "properties": {"age": {"type": "integer", "minimum": 0}}}
    spec = {"json": {"schema": schema}}
    assert outcome(spec, '{"age": 3}') is P
    assert "age: -1 is less" in score(spec, '{"age": -1}').reason
    assert outcome(spec, "{}") is F
    assert outcome({"json": {"strict": True}}, 'Here: {"a": 1}') is F
    assert outcome({"json": {"at_least": 0.5}}, '{"a": 1, "b": 2}', '{"a": 1, "b": 3}') is P


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objekt"},
        5,
        {"$ref": 5},
        "missing.json",
        {"$schema": "nowhere"},
        {"properties": {"pattern": {"pattern": "(?P<"}}},
        {"unevaluatedProperties": False, "patternProperties": {"a": {}}},
    ],
)
def test_a_schema_that_is_none_is_refused(schema):
    with pytest.raises(UserError, match=r"^json: schema"):
        make({"json": {"schema": schema}})


def test_a_schema_reaches_for_nothing_and_its_patterns_are_limited():
    assert outcome({"json": {"schema": {"$ref": "http://127.0.0.1:9/x"}}}, "{}") is N
    assert outcome({"json": {"schema": {"$ref": "#/nowhere"}}}, "{}") is N
    began = time.monotonic()
    assert outcome({"json": {"schema": {"pattern": "(a|aa|aaa)+$"}}}, json.dumps("a" * 200 + "b")) in (N, F)
    assert time.monotonic() - began < 20


def test_a_schema_is_of_the_draft_that_it_names():
    seventh = {"$schema": "http://json-schema.org/draft-07/schema#", "dependencies": {"a": ["b"]}}
    assert outcome({"json": {"schema": seventh}}, '{"a": 1}') is F
    assert outcome({"json": {"schema": {"dependencies": {"a": ["b"]}}}}, '{"a": 1}') is P


def test_names_by_a_pattern_are_checked_and_a_schema_that_explodes_is_given_up():
    rest = {"patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": {"type": "string"}}
    assert outcome({"json": {"schema": rest}}, '{"x1": 1, "y": "b"}') is P
    assert score({"json": {"schema": rest}}, '{"x1": 1, "y": 2}').reason == "y: 2 is not of type 'string'"
    closed = rest | {"additionalProperties": False}
    assert score({"json": {"schema": closed}}, '{"x1": 1, "y": 2}').reason == "'y' not asked for"
    assert outcome({"json": {"schema": {"patternProperties": {"^(a|aa)+$": {}}}}}, json.dumps({"a" * 90 + "b": 1})) is N
    again = {f"d{at}": {"allOf": [{"$ref": f"#/$defs/d{at + 1}"}] * 2} for at in range(30)} | {"d30": {}}
    assert "takes longer" in score({"json": {"schema": {"$defs": again, "$ref": "#/$defs/d0"}}}, "{}").reason


def test_a_regex_that_explodes_is_given_up():
    found = score({"regex": "(a|aa|aaa)+$"}, "a" * 200 + "b")
    assert found.outcome in (N, F)
    with pytest.raises(UserError, match="not a regular expression"):
        make({"regex": "("})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("```sql\nSELECT name FROM item WHERE price > 3\n```", P),
        ("You can write SELECT name AS n FROM item WHERE price >= 4.0; it works", P),
        ("```sql\nselect name from item where price > 3 order by name desc;\n```", P),
        ("```sql\nselect name, price from item where price > 3\n```", F),
        ("```sql\nselect nothing from item\n```", F),
        ("There is none", F),
        ("I'd go with this: SELECT name FROM item WHERE price > 3;", P),
        ("You can select the names with this query:\n\nSELECT name FROM item WHERE price > 3\n\nIt gives two.", P),
        ("Use a SELECT statement:\nSELECT name FROM item WHERE price > 3\nThis query returns the names.", P),
        ("```sql SELECT name FROM item WHERE price > 3```", P),
        ("```SELECT name FROM item WHERE price > 3``` gives them", P),
        ("```sql\n-- Select all names above 3\nSELECT name\n\nFROM item WHERE price > 3\n```", P),
        ("The `SELECT` keyword: `SELECT name FROM item WHERE price > 3` does it.", P),
        ("```sql\nSELECT name FROM item WHERE price > 3", P),
        ("SELECT name FRM item UNION SELECT name FROM item WHERE price > 3", F),
        ("SELECT nme FROM item WHERE name IN (SELECT name FROM item WHERE price > 3)", F),
        ("```sql\ndelete from item\n```", F),
        ("with x as (delete from item returning *) select * from x", F),
        ("with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n", F),
        ("select name from item a, item b, item c, item d", F),
        ("select zeroblob(1000000000)", F),
        ("select load_extension('x')", F),
        ("select * from pragma_database_list", F),
        ("select name from item where price > 3; drop table item", P),
    ],
)
def test_a_query_is_judged_by_its_rows(text, expected):
    assert outcome("sql", text, "select name from item where price > 3", schema=SHOP) is expected


def test_the_order_of_rows_counts_where_the_reference_asks_for_it():
    reference = "select name from item order by price, name desc"
    assert outcome("sql", "select name from item order by price, name desc", reference, schema=SHOP) is P
    assert outcome("sql", "select name from item order by price, name", reference, schema=SHOP) is F
    assert "not their order" in score("sql", "select name from item order by name", reference, schema=SHOP).reason
    for within in ("select name from (select * from item order by price)", "select name from item -- order by name"):
        assert outcome("sql", "select name from item order by name desc", within, schema=SHOP) is P


def test_any_of_several_queries_will_do():
    good = ("select price from item", "select name from item")
    assert outcome("sql", "select name from item", good, schema=SHOP) is P
    assert outcome("sql", "select 1", good, schema=SHOP) is F


@pytest.mark.parametrize(
    "schema", ["create table", "attach 'x' as y", "create table t(a); insert into t values (1, 2)"]
)
def test_a_question_whose_database_cannot_be_made_says_nothing_of_the_answer(schema):
    assert outcome("sql", "select 1", "select 1", schema=schema) is N
    assert outcome("sql", "select 1", "select 1", schema="") is None


def test_a_database_that_never_ends_is_given_up():
    endless = "create table t as with recursive n(i) as (select 1 union all select i + 1 from n) select i from n"
    assert outcome("sql", "select 1", "select 1", schema=endless) is N


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON)
def test_fields_are_all_right_exactly_where_the_values_are_equal(one, other):
    assert compare(one, one)[0] == 1
    share, reason = compare(one, other)
    assert 0 <= share <= 1
    assert (share == 1) == (json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True))
    assert compare(other, one)[0] == share
    assert bool(reason) == (share < 1)


@given(JSON)
def test_json_is_found_however_it_is_wrapped(value):
    text = json.dumps(value)
    assert outcome("json", text, text) is P
    assert outcome("json", f"Here you are:\n```json\n{text}\n```\n", text) is P or not isinstance(value, list | dict)


@given(st.text("abc\"';- \n", max_size=30))
def test_a_query_is_never_more_than_one_statement(text):
    query = query_in(f"select {text}; select 2")
    with closing(sqlite3.connect(":memory:")) as connection:
        try:
            connection.execute(query)
        except (sqlite3.Warning, sqlite3.ProgrammingError) as error:
            assert "one statement" not in str(error)  # noqa: PT017
        except sqlite3.Error:
            pass
