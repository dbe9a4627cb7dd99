"""Whatever rows there are: the table and the file give one set, with one account of what was left out."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tuning.ingest.tables import file_place, rows_of, write_jsonl, write_parquet
from tuning.data import cleaning, dataset
from tuning.data.probe_questions import PROBE_QUESTIONS
from tuning.data.rows import RawRow
from tuning.errors import UserError
from tuning.ingest import raw as raw_rows
from tuning.ingest.load import ingest
from tuning.ingest.snapshot import content_hash

pytest.importorskip("duckdb", reason="duckdb is not installed (tuning/ingest/requirements.txt)")
PROBES = cleaning.Excluded(PROBE_QUESTIONS.values())
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TEXT, min_size=4, max_size=4))
def test_the_content_hash_in_sql_is_the_digest_in_python(texts):
    import duckdb

    names = ("QuestionAsked", "QuestionInput", "OutputAnswer", "AnswerCheck")
    columns = ", ".join(f"? AS {name}" for name in names)
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT {content_hash(names)} FROM (SELECT {columns})", texts).fetchall()
    assert found == [(cleaning.digest(*texts)[:16],)]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["A?", " a?", "", "İ ẞ", "Implement a KNN classifier in Python."]) | TEXT,
            st.sampled_from(["", "x", "\x00", "é "]),
            st.sampled_from(["yes", " ", "no\n", "👍"]),
        ),
        min_size=1,
    )
)
def test_any_rows_give_the_same_set_from_file_and_table(tmp_path_factory, triples):
    folder = tmp_path_factory.mktemp("any")
    keys = ("instruction", "input", "output")
    rows = [dict(zip(keys, triple, strict=True)) for triple in triples]
    source, place = write_parquet(folder / "s.parquet", rows), file_place(folder / "t.duckdb")
    # Where there is no instruction, the input is the question.
    raw = [RawRow(*triple) if triple[0] else RawRow(triple[1], "", triple[2]) for triple in triples]
    if not any(isinstance(cleaning.clean_row(row, PROBES), cleaning.Row) for row in raw):
        for read in (lambda: dataset.load(source), lambda: ingest(source, place)):
            with pytest.raises(UserError, match=r"^No row of .*s\.parquet can be used \("):
                read()
        return
    direct = dataset.load(source)
    loaded = ingest(source, place)
    assert rows_of(direct) == rows_of(dataset.load(place.name))
    assert loaded.facts.dropped == direct.dropped


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 4) | st.none(),
            st.sampled_from(["instruction", " Output", "OUTPUT\x1f", "input", "user", "gpt", "İ", "system"])
            | st.none(),
            st.sampled_from(["", "  x", "y\n", "\x00", "[]"]) | TEXT | st.none(),
        ),
        min_size=1,
        max_size=24,
    ),
    st.sampled_from(["number", "text", "float"]),
)
def test_any_messages_give_the_same_set_from_file_and_table(tmp_path_factory, messages, identity):
    folder = tmp_path_factory.mktemp("any")
    made = {"number": int, "text": lambda number: f"c{number}" if number else "", "float": float}[identity]
    simple = [(9, "instruction", "A?"), (9, "output", "Yes.")]
    rows = [
        {"conversation_id": None if number is None else made(number), "message_type": kind, "message": text}
        for number, kind, text in [*messages, *simple]
    ]
    source, place = write_parquet(folder / "s.parquet", rows), file_place(folder / "t.duckdb")
    direct = dataset.load(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(raw_rows, "JOINED_AT_ONCE", 5)  # stretches that conversations reach over
        loaded = ingest(source, place)
    assert rows_of(direct) == rows_of(dataset.load(place.name))
    assert loaded.facts.dropped == direct.dropped


def test_rows_of_several_layouts_give_the_same_set_and_the_same_account(tmp_path):
    turns = [
        {"conversation_id": 7, "message_type": kind, "message": text}
        for kind, text in (("instruction", "one?"), ("output", "1"))
    ]
    pair = {"question": "two?", "answer": "2", "context": "c"}
    chat = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "context": "lost"}
    for at, rows in enumerate(([*turns, pair, chat], [pair, chat, *turns])):
        path = tmp_path / f"{at}.json"
        path.write_text(json.dumps({"version": 1, "rows": rows}))
        loaded = ingest(str(path), file_place(tmp_path / f"{at}.duckdb"))
        direct = dataset.load(str(path))
        assert len(direct) == 3
        assert rows_of(dataset.load(loaded.place.name)) == rows_of(direct)
        assert loaded.facts.dropped == direct.dropped
        assert "(not used in those rows): 1" in str(loaded)
        assert "columns not used: version" in str(loaded)
        assert "The rows are those under 'rows'." in str(loaded)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_what_messages_say_of_themselves_gives_the_same_set_and_the_same_account(tmp_path, kind):
    def told(identity, *turns, **beside):
        keys = {"weight": None, "image": None, "context": None} | beside
        return [
            {"conversation_id": identity, "message_type": kind, "message": f"{text}{identity}"} | keys
            for kind, text in turns
        ]

    asked, answered = ("instruction", "q"), ("output", "a")
    rows = [
        *told("1", asked, answered, context="in vain"),
        *told("2", asked),
        *told("2", answered, weight=0),
        *told("3", ("user", "q")),
        *told("3", ("assistant", "bad"), weight=0),
        *told("3", ("user", "again"), ("assistant", "good")),
        *told("4", asked, answered, image="cat.png"),
        *told("5", asked, answered, weight=72),
    ]
    if kind == "jsonl":  # the number 1 is another conversation, and other rows use the context
        rows += [*told(1, ("user", "other"), ("assistant", "answer")), {"question": "q", "answer": "a", "context": "c"}]
    source = (write_parquet if kind == "parquet" else write_jsonl)(tmp_path / f"s.{kind}", rows)
    loaded = ingest(source, file_place(tmp_path / "t.duckdb"))
    direct = dataset.load(source)
    assert rows_of(dataset.load(loaded.place.name)) == rows_of(direct)
    assert loaded.facts.dropped == direct.dropped
    assert loaded.facts.lines == direct.dropped.lines
    assert loaded.facts.unused == list(direct.unused)
    beside = {"the column 'context' beside one message a row (not used in those rows)": 2}
    assert direct.dropped == {
        "no turn of the assistant is to be trained (weight 0, train false or a false label)": 1,
        "an answer with weight 0, train false or a false label (kept before the next, not trained)": 1,
        "an image, sound or film (the column 'image')": 1,
        "weight is neither 0 nor 1 (the rows are trained)": 1,
    } | (beside if kind == "jsonl" else {})
    assert len(direct) == (5 if kind == "jsonl" else 3)


@given(
    st.lists(st.lists(st.sampled_from("abcd"), max_size=9).map(" ".join), min_size=1, max_size=3),
    st.lists(st.sampled_from("abcd"), max_size=14).map(" ".join),
)
def test_what_repeats_a_question_is_what_holds_half_of_its_runs(questions, text):
    def runs(words):
        return {" ".join(words[at : at + 5]) for at in range(max(1, len(words) - 4))}

    def repeated(question):
        found = [f" {run} " in f" {text} " for run in runs(question.split())]
        return sum(found) >= len(found) / 2

    asked = [question for question in questions if question]
    assert cleaning.Excluded(asked).repeated_in(text) == any(map(repeated, asked))
