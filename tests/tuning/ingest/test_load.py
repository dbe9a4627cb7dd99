"""A load holds what training would read, changes nothing twice, and changes only what has changed."""

from __future__ import annotations

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tuning.ingest.tables import content, file_place, query, questions, rows_of, write_jsonl, write_parquet
from tuning.data import cleaning, dataset
from tuning.data.place import parse, parse_target
from tuning.data.probe_questions import PROBE_QUESTIONS
from tuning.ingest.load import ingest

pytest.importorskip("duckdb", reason="duckdb is not installed (tuning/ingest/requirements.txt)")
PROBES = cleaning.Excluded(PROBE_QUESTIONS.values())
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def one_message_per_row(rows):
    messages = []
    for number, row in enumerate(rows):
        for kind, text in (("output", row["output"]), ("input", row["input"]), ("instruction", row["instruction"])):
            messages.append({"message": text, "message_type": kind, "message_id": 0, "conversation_id": number})
    random.Random(0).shuffle(messages)
    return [*messages, {"message": "alone", "message_type": "input", "message_id": 0, "conversation_id": -1}]


def test_the_embedded_set_is_the_same_set_from_its_table(tmp_path):
    place = file_place(tmp_path / "t.duckdb")
    loaded = ingest("python_qa", place)
    direct, back = dataset.load("python_qa"), dataset.load(place.name)
    assert rows_of(direct) == rows_of(back)
    assert direct.fingerprint == back.fingerprint
    assert back.revision == loaded.facts.snapshot
    assert loaded.facts.splits == {name: len(direct.split(name)) for name in cleaning.SPLITS}


@pytest.mark.parametrize("shape", ["jsonl", "parquet", "messages", "chat"])
def test_every_layout_gives_the_rows_that_training_reads(tmp_path, shape):
    rows = [*questions(60), *questions(3), {"instruction": "Empty?", "input": "", "output": " "}]
    if shape == "messages":
        source = write_parquet(tmp_path / "s.parquet", one_message_per_row(rows))
    elif shape == "chat":
        turns = [[("user", row["instruction"]), ("assistant", row["output"]), ("user", "more")] for row in rows]
        chats = [{"messages": [{"role": role, "content": text} for role, text in chat]} for chat in turns]
        source = write_jsonl(tmp_path / "s.jsonl", chats)
    else:
        source = (write_parquet if shape == "parquet" else write_jsonl)(tmp_path / f"s.{shape}", rows)
    place = file_place(tmp_path / "t.duckdb")
    loaded = ingest(source, place)
    direct = dataset.load(source)
    assert rows_of(direct) == rows_of(dataset.load(place.name))
    assert loaded.facts.dropped == direct.dropped


def test_two_answers_to_one_question_stay_and_the_same_answer_twice_does_not(tmp_path):
    rows = [*questions(5, answer="first"), *questions(5, answer="second"), *questions(5, answer="first")]
    loaded = ingest(write_parquet(tmp_path / "s.parquet", rows), file_place(tmp_path / "t.duckdb"))
    found = query(tmp_path / "t.duckdb", "SELECT Id, QuestionAsked, OutputAnswer, DataSplit FROM questions")
    assert {answer for _, _, answer, _ in found} == {f"{word} {n}" for n in range(5) for word in ("first", "second")}
    assert len({row_id for row_id, *_ in found}) == 10
    assert len({(question, split) for _, question, _, split in found}) == 5
    assert loaded.facts.dropped == {"duplicate row": 5}


def test_a_rerun_changes_nothing_not_even_the_load_time(tmp_path):
    source, place = write_jsonl(tmp_path / "s.jsonl", questions(40)), file_place(tmp_path / "t.duckdb")
    first = ingest(source, place)
    before = content(tmp_path / "t.duckdb")
    again = ingest(source, place)
    assert (first.added, first.removed, first.unchanged) == (40, 0, 0)
    assert (again.added, again.removed, again.unchanged) == (0, 0, 40)
    assert content(tmp_path / "t.duckdb") == before


def test_a_changed_source_changes_only_its_changed_rows(tmp_path):
    place = file_place(tmp_path / "t.duckdb")
    ingest(write_jsonl(tmp_path / "s.jsonl", questions(40)), place)
    before = {row[0]: row for row in content(tmp_path / "t.duckdb")}
    changed = [*questions(30), *questions(5, 30, "better"), *questions(2, 100)]
    loaded = ingest(write_jsonl(tmp_path / "s.jsonl", changed), place)
    after = {row[0]: row for row in content(tmp_path / "t.duckdb")}
    assert (loaded.added, loaded.removed, loaded.unchanged) == (7, 10, 30)
    questions_now = {row.question for _, row in rows_of(dataset.load(place.name)).values()}
    assert questions_now == {row["instruction"] for row in changed}
    assert sum(before.get(key) == row for key, row in after.items()) == 30


def test_a_table_changed_by_hand_is_put_right(tmp_path):
    import duckdb

    source, place = write_jsonl(tmp_path / "s.jsonl", questions(20)), file_place(tmp_path / "t.duckdb")
    first = ingest(source, place)
    with duckdb.connect(place.database) as connection:
        connection.execute("UPDATE questions SET OutputAnswer = 'forged' WHERE Id = (SELECT min(Id) FROM questions)")
        connection.execute("INSERT INTO questions SELECT * FROM questions WHERE Id = (SELECT max(Id) FROM questions)")
        connection.execute("DELETE FROM questions WHERE Id = (SELECT quantile_disc(Id, 0.5) FROM questions)")
    assert dataset.load(place.name).revision != first.facts.snapshot
    ingest(source, place)
    back = dataset.load(place.name)
    assert back.revision == first.facts.snapshot
    assert len(content(tmp_path / "t.duckdb")) == 20


def test_a_condition_chooses_rows_and_leaves_the_snapshot(tmp_path):
    place = file_place(tmp_path / "t.duckdb")
    loaded = ingest(write_jsonl(tmp_path / "s.jsonl", questions(40)), place)
    some = dataset.load(f"{place.name}&where=QuestionInput = '' AND OutputAnswer LIKE '%1%'")
    assert {row.answer for _, row in rows_of(some).values()} == {
        f"answer {n}" for n in range(40) if n % 3 and "1" in str(n)
    }
    assert some.revision == loaded.facts.snapshot


def test_a_table_feeds_another_table(tmp_path):
    first, second = file_place(tmp_path / "a.duckdb"), file_place(tmp_path / "b.duckdb", "order")
    one = ingest(write_jsonl(tmp_path / "s.jsonl", questions(40)), first)
    two = ingest(first.name, second)
    assert one.facts.snapshot == two.facts.snapshot == two.facts.revision


def test_the_default_target_is_one_file_in_the_data_folder(data_folder):
    place = parse_target(None, None)
    ingest("python_qa", place)
    assert [path.name for path in data_folder.glob("*.duckdb")] == ["lora_lens.duckdb"]
    assert len(dataset.load("duckdb:")) == len(dataset.load("python_qa"))


@given(
    st.text(string.ascii_letters + "/._- é", min_size=1, max_size=30),
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True),
    st.text(min_size=1).filter(lambda text: text == text.strip()),
)
def test_a_place_is_read_from_its_name(database, table, where):
    place = parse(f"duckdb:{database}?table={table}&where={where}")
    assert (place.database, place.table, place.where) == (database, table, where)
    assert parse(place.name).name == place.name


def test_conversations_come_back_from_a_table_as_they_are_in_the_file(tmp_path):
    def turns(*pairs):
        return [{"role": role, "content": text} for role, text in pairs]

    chats = [
        {
            "messages": turns(
                ("system", f"s{n}"), ("user", f"a{n}"), ("assistant", "b"), ("user", "c"), ("assistant", "d")
            )
        }
        for n in range(5)
    ]
    messages = [
        {"conversation_id": n, "message_type": kind, "message": f"{kind} {n}"}
        for n in range(5)
        for kind in ("user", "assistant", "user", "assistant")
    ]
    for number, rows in enumerate((chats, messages, [{"text": f"Once {n}."} for n in range(5)])):
        source = write_jsonl(tmp_path / f"{number}.jsonl", rows)
        place = file_place(tmp_path / f"{number}.duckdb")
        ingest(source, place)
        direct, back = dataset.load(source), dataset.load(place.name)
        assert len(direct) == 5
        assert all(row.turns for row in direct.rows())
        assert rows_of(direct) == rows_of(back)
        assert direct.fingerprint == back.fingerprint


def test_a_table_of_an_earlier_version_is_read_and_loaded_into(tmp_path):
    place = file_place(tmp_path / "t.duckdb")
    ingest(write_jsonl(tmp_path / "s.jsonl", questions(40)), place)
    import duckdb

    with duckdb.connect(place.database) as connection:
        connection.execute("ALTER TABLE questions DROP COLUMN Conversation")
    before = rows_of(dataset.load(place.name))
    loaded = ingest(str(tmp_path / "s.jsonl"), place)
    assert (loaded.added, loaded.removed, loaded.unchanged) == (0, 0, 40)
    chat = [{"messages": [{"role": role, "content": "x"} for role in ("system", "user", "assistant")]}]
    assert ingest(write_jsonl(tmp_path / "c.jsonl", [*questions(40), *chat]), place).added == 1
    after = rows_of(dataset.load(place.name))
    assert before.items() <= after.items()
    assert len(after) == 41
