"""Scorers: what passes, what fails, and what nothing is said of."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval_prompts.tasks.scorers.base import Given, Outcome
from eval_prompts.tasks.scorers.figures import letter_of, numbers_in
from eval_prompts.tasks.scorers.names import KINDS, make
from eval_prompts.tasks.scorers.overlap import chrf_figure, common_length
from eval_prompts.tasks.scorers.sql import query_in
from eval_prompts.tasks.scorers.structure import compare
from eval_prompts.tasks.scorers.wording import normalise
from tuning.errors import UserError

P, F, N, M = Outcome.PASSES, Outcome.FAILS, Outcome.NOT_RUN, Outcome.MEASURED
SHOP = "create table item(name text, price real); insert into item values ('tea', 2.5), ('jam', 4), ('pie', 4);"


def score(spec, text, reference=(), stopped=None, **columns):
    references = tuple(filter(None, [reference] if isinstance(reference, str) else reference))
    return make(spec)(Given(text, references, columns, stopped))


def outcome(*arguments, **named):
    found = score(*arguments, **named)
    return found and found.outcome


@pytest.mark.parametrize(
    ("spec", "text", "reference", "expected"),
    [
        ("exact", " Bamako\n", "Bamako", P),
        ("exact", "bamako", "Bamako", F),
        ("normalised", "«Bamako!»", "bamako", P),
        ("normalised", "Résumé", "resume", F),
        ("normalised", "+", "-", F),
        ("contains", "The capital is bamako.", "Bamako", P),
        ("contains", "Somalia lies in Africa.", "Mali", F),
        ("contains", "It costs 120 dollars", "12", F),
        ("contains", "New\n York", "new york", P),
        ("contains", "首都是巴马科。", "巴马科", P),
        ("contains", "STRASSE", "Straße", P),
        ("contains", "e\u0301te\u0301", "été", P),
        ("contains", "C++ is fast", "C++", P),
        ({"contains": {"case": True}}, "bamako", "Bamako", F),
        ({"contains": {"text": ["arr", "matey"]}}, "Arr, matey!", "", P),
        ({"contains": {"words": False}}, "Somalia", "mali", P),
        ({"excludes": "sorry"}, "I am sorry.", "", F),
        ({"excludes": ["sorry", "as an AI"]}, "Bamako.", "", P),
        ("any_of", "It is Beijing.", "Peking | Beijing", P),
        ("any_of", "It is Pekin.", "Peking | Beijing", F),
        ({"regex": r"^yes\b"}, "yes, it is", "", P),
        ({"regex": {"pattern": "yes", "whole": True}}, "yes, it is", "", F),
        ("regex", "B12", r"[A-Z]\d+", P),
        ("number", "3 + 4 = 7.", "7", P),
        ("number", "It costs $1,234.50 in all.", "1234.5", P),
        ("number", "−3", "-3", P),
        ("number", "0.1 and 0.2 give 0.30000000000000004", "0.3", P),
        ("number", "about 3.2", "3.14", F),
        ({"number": {"relative": 0.05}}, "about 3.2", "3.14", P),
        ({"number": {"which": "first"}}, "7 is 3 + 4", "7", P),
        ({"number": {"which": "only"}}, "7 or 8", "7", F),
        ({"number": {"decimal": ","}}, "Es sind 1.234,5 Euro", "1234,5", P),
        ("number", "None at all", "7", F),
        ("number", "7", "seven", N),
        ({"length": {"most": 3}}, "one two three", "", P),
        ({"length": {"most": 3}}, "one two three four", "", F),
        ({"length": {"least": 2, "unit": "lines"}}, "one\n\n", "", F),
        ({"language": "de"}, "Das ist ein ganz gewöhnlicher deutscher Satz über das Wetter.", "", P),
        ({"language": "de"}, "This is a perfectly ordinary English sentence about the weather.", "", F),
        ({"language": "de"}, "Ja.", "", N),
        ("no_repeats", "one two three", "", P),
        ("no_repeats", "again and again it says the very same thing over. " * 30, "", F),
        ("exact", "x", "", None),
        ("bleu", "x", "", None),
    ],
)
def test_what_a_scorer_says(spec, text, reference, expected):
    assert outcome(spec, text, reference) is expected


@pytest.mark.parametrize("good", ["a", "b"])
def test_any_of_several_references_will_do(good):
    assert outcome("exact", good, ("a", "b")) is P


def test_whether_the_model_ended_the_answer():
    assert [outcome("ends", "x", stopped=stopped) for stopped in (True, False, None)] == [P, F, None]


OPTIONS = ["Oxygen", "Nitrogen", "Nitrogen oxide"]


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("(B) Nitrogen", "B"),
        ("The answer is B.", "B"),
        ("A is wrong, so the answer is C", "C"),
        ("A common gas: nitrogen.", "B"),
        ("Nitrogen oxide", "C"),
        ("I think it's nitrogen", "B"),
        ("B or C", None),
        ("Neither", None),
        ("", None),
        ("**C**", "C"),
        (r"\boxed{A}", "A"),
        ("Answer: D", None),
    ],
)
def test_the_option_that_an_answer_names(text, letter):
    assert letter_of(text, OPTIONS) == letter


def test_options_are_a_list_or_lines_and_the_reference_a_letter_or_words():
    for options in (OPTIONS, json.dumps(OPTIONS), "A) Oxygen | B) Nitrogen | C) Nitrogen oxide", "\n".join(OPTIONS)):
        for reference in ("B", "nitrogen", "(b)"):
            assert outcome("choice", "It is B.", reference, options=options) is P
            assert outcome("choice", "It is C.", reference, options=options) is F
    assert outcome("choice", "B", "B") is None
    assert outcome("choice", "B", "Helium", options=OPTIONS) is N
    assert outcome("choice", "B", "B", options=["only one"]) is N


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


@pytest.mark.parametrize("schema", [{"type": "objekt"}, 5, {"$ref": 5}, "missing.json"])
def test_a_schema_that_is_none_is_refused(schema):
    with pytest.raises(UserError, match=r"^json: schema"):
        make({"json": {"schema": schema}})


def test_a_schema_reaches_for_nothing_and_its_patterns_are_limited():
    assert outcome({"json": {"schema": {"$ref": "http://127.0.0.1:9/x"}}}, "{}") is N
    assert outcome({"json": {"schema": {"$ref": "#/nowhere"}}}, "{}") is N
    began = time.monotonic()
    assert outcome({"json": {"schema": {"pattern": "(a|aa|aaa)+$"}}}, json.dumps("a" * 200 + "b")) in (N, F)
    assert time.monotonic() - began < 20


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


@pytest.mark.parametrize(
    "schema", ["create table", "attach 'x' as y", "create table t(a); insert into t values (1, 2)"]
)
def test_a_question_whose_database_cannot_be_made_says_nothing_of_the_answer(schema):
    assert outcome("sql", "select 1", "select 1", schema=schema) is N
    assert outcome("sql", "select 1", "select 1", schema="") is None


def test_a_database_that_never_ends_is_given_up():
    endless = "create table t as with recursive n(i) as (select 1 union all select i + 1 from n) select i from n"
    assert outcome("sql", "select 1", "select 1", schema=endless) is N


def test_figures_pass_or_fail_only_where_a_line_is_drawn():
    for name in ("bleu", "chrf", "rouge_l"):
        assert score(name, "the same words here", "the same words here").score == pytest.approx(1)
        assert outcome(name, "the same words here", "the same words here") is M
        assert outcome({name: {"at_least": 0.5}}, "the same words here", "the same words here") is P
        assert outcome({name: {"at_least": 0.5}}, "quite another thing", "zzz yyy xxx") is F


@settings(max_examples=150, deadline=None)
@given(st.text("ab !?-é 漢", max_size=40), st.lists(st.text("ab !?-é 漢", max_size=40), min_size=1, max_size=3))
def test_chrf_is_sacrebleus(answer, references):
    from sacrebleu.metrics.chrf import CHRF

    for order in (0, 1, 2):
        expected = CHRF(word_order=order).sentence_score(answer, references).score
        assert chrf_figure(answer, tuple(references), order) == expected


def slow_common_length(one, other):
    rows = [[0] * (len(other) + 1)]
    for item in one:
        row = [0]
        for at, word in enumerate(other):
            row.append(rows[-1][at] + 1 if word == item else max(row[-1], rows[-1][at + 1]))
        rows.append(row)
    return rows[-1][-1]


@given(st.lists(st.sampled_from("abcd"), max_size=40), st.lists(st.sampled_from("abcd"), max_size=40))
def test_the_common_subsequence_is_that_of_the_textbook(one, other):
    assert common_length(one, other) == slow_common_length(one, other)


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


EVERY = [
    "exact", "normalised", "contains", {"excludes": "x"}, "any_of", {"regex": "a+"}, "number", "choice", "json", "bleu",
    "chrf", "rouge_l", {"length": {"most": 5}}, {"language": "en"}, "ends", "no_repeats", "sql",
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.text(min_size=1, max_size=20), st.booleans())
def test_no_text_breaks_a_scorer(text, reference, stopped):
    given = Given(text, (reference,) if reference.strip() else (), {"options": ["a", "b"], "schema": SHOP}, stopped)
    for spec in EVERY:
        found = make(spec)(given)
        assert found is None or found.score is None or 0 <= found.score <= 1
        assert found is None or (found.score is None) == (found.outcome is N)


@given(st.text(max_size=40))
def test_normalising_twice_changes_nothing(text):
    assert normalise(normalise(text)) == normalise(text)


@given(st.floats(-1e12, 1e12, allow_nan=False), st.sampled_from(["{:.3f}", "{:,.3f}"]))
def test_a_number_is_read_as_it_is_written(figure, style):
    written = style.format(figure)
    assert numbers_in(f"So it is {written} then") == [float(written.replace(",", ""))]


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


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("contians", "did you mean contains"),
        ("zzz", "there are exact, normalised"),
        ({"regex": {"patern": "x"}}, "regex has no option 'patern': did you mean pattern"),
        ({"length": {}}, "least or most"),
        ({"length": {"least": 5, "most": 2}}, "below least"),
        ({"number": {"tolerance": "x"}}, "tolerance must be a number"),
        ({"number": {"which": "middle"}}, "one of last, first"),
        ({"excludes": {}}, "excludes needs the option text"),
        ({"contains": {"case": "perhaps"}}, "case must be true or false"),
        ({"ends": 3}, "ends has no options"),
        ({"language": "xx"}, "language: code"),
        ({"own": {"file": "x.py"}}, "from the page cannot do"),
        ({"a": 1, "b": 2}, "a name with its options"),
        (None, "a name with its options"),
        ([], "a name with its options"),
    ],
)
def test_a_scorer_that_cannot_be_is_refused_with_the_nearest(spec, words):
    with pytest.raises(UserError, match=words):
        make(spec)


def test_every_scorer_says_in_a_sentence_what_it_asks():
    assert all(kind.summary.endswith(".") for kind in KINDS.values())


def test_a_function_of_ones_own(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def score(answer, question):\n"
        "    if answer == 'raise': raise ValueError('no')\n"
        "    return {'yes': True, 'half': (0.5, 'so so'), 'odd': 'odd', 'more': 2}.get(answer, question['n'] == 3)\n"
    )
    scorer = make({"own": {"file": "mine.py"}}, tmp_path)
    said = {text: scorer(Given(text, columns={"n": 3})) for text in ("yes", "half", "odd", "more", "raise", "x")}
    assert [said[text].outcome for text in said] == [P, M, N, N, N, P]
    assert (said["half"].score, said["half"].reason) == (0.5, "so so")
    for content, words in (("x = 1", "no function score"), ("1/0", "ZeroDivisionError")):
        (tmp_path / "bad.py").write_text(content)
        with pytest.raises(UserError, match=words):
            make({"own": {"file": "bad.py"}}, tmp_path)
    with pytest.raises(UserError, match=r"no file none\.py"):
        make({"own": {"file": "none.py"}}, tmp_path)
