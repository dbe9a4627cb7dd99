"""Conversations in their spellings: who speaks, what stands at their head, what is counted; file and table alike."""

from __future__ import annotations

import json

import pytest

from tuning.data.dataset import load
from tuning.data.options import Reading, column_roles
from tuning.data.reading.conversations import AFTERWARDS, GREETING, NOTHING_TRAINED, TWO_SYSTEMS, UNANSWERED, UNTRAINED

GOOD = {"question": "fine?", "answer": "yes"}


def talk(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


SAID = talk(("user", "q"), ("assistant", "a"))
PROMPT, ANSWER = SAID[:1], SAID[1:]


def told(row):
    """A row's turns, those in capitals that are not trained."""
    if not row.turns:
        return [row.question.upper(), row.answer]
    return [turn.text if turn.trained else turn.text.upper() for turn in row.turns]


def stored(data):
    """What of its rows and of their account a table must give, too."""
    return sorted((row.id, *told(row)) for row in data.rows()), dict(data.dropped)


def from_table(path, reading):
    """The same data by way of a table."""
    pytest.importorskip("duckdb", reason="duckdb is not installed (tuning/ingest/requirements.txt)")
    from tuning.data.place import FILE, Place
    from tuning.ingest.load import ingest

    place = Place(FILE, str(path.with_suffix(".duckdb")), "t")
    account = ingest(str(path), place, reading=reading)
    return sorted((row.id, *told(row)) for row in load(place.name).rows()), dict(account.facts.dropped)


def read(tmp_path, text, name="rows.jsonl", columns="", table=False):
    path = tmp_path / name
    path.write_text(text)
    reading = Reading(column_roles(columns))
    data = load(str(path), reading=reading)
    if table:
        assert from_table(path, reading) == stored(data)
    return data


def read_rows(tmp_path, *rows, columns="", table=False):
    return read(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), columns=columns, table=table)


@pytest.mark.parametrize(
    "members",
    [
        [{"prompt": "q", "completion": "a"}, {"prompt": "q2", "completion": "a2"}],
        [{"instruction": "q", "output": "a"}, {"Instruction": "q2", "Output": "a2"}],
        [{"user": "q", "assistant": "a"}, {"user": "q2", "assistant": "a2"}, {"user": "and?"}],
        [{"user": "q"}, {"assistant": "a"}, {"human": "q2"}, {"gpt": "a2"}],
        [{"query": "q", "response": "a"}, *talk(("user", "q2"), ("assistant", "a2"))],
    ],
)
@pytest.mark.parametrize("system", [False, True])
def test_what_is_said_under_the_speakers_names_is_one_conversation(tmp_path, members, system):
    members = [{"system": "s"}, *members] if system else members
    expected = ["S"] * system + ["Q", "a", "Q2", "a2"]
    data = read(tmp_path, json.dumps({"title": "t", "conversation": members}), "one.json")
    assert [told(row) for row in data.rows()] == [expected]
    assert data.unused == ("title",)
    assert set(data.dropped) == ({UNANSWERED} if len(members) == 3 + system and "and?" in str(members) else set())
    (line,) = read_rows(tmp_path, {"conversation": members}).rows()
    assert told(line) == expected


def test_an_input_within_an_exchange_follows_its_question(tmp_path):
    (row,) = read_rows(tmp_path, {"chat": [{"instruction": "q", "input": "i", "output": "a"}]}).rows()
    assert (row.question, row.answer) == ("q\ni", "a")


@pytest.mark.parametrize(
    "history", [[{"user": "h", "assistant": "r"}], [{"question": "h", "answer": "r"}], [{"user": "h"}, {"gpt": "r"}]]
)
def test_a_history_of_exchanges_is_no_table_of_its_own(tmp_path, history):
    data = read(tmp_path, json.dumps({"question": "q", "answer": "a", "history": history}), "one.json", table=True)
    assert [told(row) for row in data.rows()] == [["H", "r", "Q", "a"]]
    text = read(tmp_path, json.dumps({"messages": json.dumps(SAID), "history": history}), "text.json")
    assert [told(row) for row in text.rows()] == [["H", "r", "Q", "a"]]
    beside = read(tmp_path, json.dumps({"messages": SAID, "history": history, "tools": [{"name": "f"}]}), "two.json")
    assert [told(row) for row in beside.rows()] == [["H", "r", "Q", "a"]]
    assert beside.unused == ("tools",)


@pytest.mark.parametrize(
    ("key", "beside"), [("history", {}), ("data", {"question": "the asked", "answer": "the said"}), ("rows", {"n": 2})]
)
def test_rows_under_a_key_are_rows_whatever_stands_beside_them(tmp_path, key, beside):
    rows = [{"question": f"q{at}", "answer": f"a{at}"} for at in (1, 2)]
    assert len(read(tmp_path, json.dumps({**beside, key: rows}), "rows.json")) == 2


@pytest.mark.parametrize("later", ["s", "other"])
def test_a_later_system_message_is_no_system_prompt(tmp_path, later):
    messages = [*SAID, *talk(("system", later), ("user", "q2"), ("assistant", "a2"))]
    data = read_rows(tmp_path, {"system": "s", "messages": messages})
    assert told(data.rows()[0]) == ["S", "Q", "a", later.upper(), "Q2", "a2"]
    assert not data.dropped


@pytest.mark.parametrize(("system", "reasons"), [("s", []), ("other", [TWO_SYSTEMS])])
def test_what_goes_before_a_prompts_messages_goes_behind_their_system_prompt(tmp_path, system, reasons):
    prompt = talk(("system", "s"), ("user", "q"))
    row = {"history": [["h", "r"]], "prompt": prompt, "completion": ANSWER, "system": system}
    data = read_rows(tmp_path, row, table=True)
    assert told(data.rows()[0]) == ["S", "H", "r", "Q", "a"]
    assert list(data.dropped) == reasons


def test_a_system_prompt_that_a_history_repeats_is_said_once(tmp_path):
    history = talk(("system", "s"), ("user", "h"), ("assistant", "r"))
    (row,) = read_rows(tmp_path, {"history": history, "messages": [*talk(("system", "s")), *SAID]}).rows()
    assert told(row) == ["S", "H", "r", "Q", "a"]


@pytest.mark.parametrize(
    ("row", "reasons"),
    [
        ({"prompt": [*talk(("assistant", "hi")), *PROMPT], "completion": ANSWER}, [GREETING]),
        ({"messages": [{"role": "assistant", "content": "hi", "weight": 0}, *SAID]}, [GREETING]),
        ({"messages": [*SAID, *talk(("system", "end"))]}, [AFTERWARDS]),
        ({"messages": [*SAID, *talk(("system", "end"), ("user", "q2"))]}, [UNANSWERED]),
        ({"messages": [PROMPT[0], {"Role": "assistant", "Content": "no", "Weight": 0}, *SAID]}, [UNTRAINED]),
        ({"contents": [PROMPT[0], {"role": "model", "parts": [{"Text": "a", "Train": True}]}]}, []),
        ({"prompt": PROMPT, "completion": [{"role": "assistant", "content": "no", "weight": 0}, *SAID]}, [UNTRAINED]),
    ],
)
def test_what_of_a_conversation_is_not_trained_is_counted_under_its_reason(tmp_path, row, reasons):
    data = read_rows(tmp_path, row)
    assert dict(data.dropped) == dict.fromkeys(reasons, 1)
    assert data.rows()[0].answer == "a"
    assert [text for text in told(data.rows()[0]) if text.islower()] == ["a"]


def turn_row(identity, kind, text, **more):
    return {"conversation_id": identity, "message_type": kind, "message": text, **more}


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (({}, {"label": False}), "the label is false: a bad answer"),
        (({"label": "no"}, {}), "the label is false: a bad answer"),
        (({}, {"kto_tag": 0}), "the kto_tag is false: a bad answer"),
        (({"kto_tag": None}, {"kto_tag": None}), "the kto_tag is missing, so that the answer may be bad"),
        (({}, {"label": 3}), None),
        (({}, {"kto_tag": True}), None),
    ],
)
def test_a_bad_answer_among_messages_that_are_rows_is_left_out(tmp_path, more, reason):
    rows = [turn_row(1, "instruction", "q", **more[0]), turn_row(1, "output", "a", **more[1])]
    fine = [turn_row(2, "instruction", "q2", **more[0] | {"label": True, "kto_tag": True})]
    fine += [turn_row(2, "output", "a2", label=True, kto_tag=True)]
    data = read_rows(tmp_path, *rows, *fine, table=True)
    assert data.dropped[reason] == (1 if reason else 0)
    assert [row.question for row in data.rows()] == (["q2"] if reason else ["q", "q2"])
    names = {"conversation_id": "c", "message_type": "r", "message": "t"}
    named = [{names.get(key, key): value for key, value in row.items()} for row in rows + fine]
    found = read_rows(tmp_path, *named, columns="conversation=c,role=r,content=t")
    assert dict(found.dropped) == dict(data.dropped)
    assert len(found) == len(data)


def test_a_rated_text_is_left_out_where_it_is_bad_and_a_class_is_none(tmp_path):
    rows = [{"text": f"text {at}", "kto_tag": tag} for at, tag in enumerate((True, False))]
    for columns in ("", "text=text"):
        data = read_rows(tmp_path, *rows, columns=columns)
        assert [row.question for row in data.rows()] == ["text 0"]
        assert data.dropped == {"the kto_tag is false: a bad answer": 1}
    assert len(read_rows(tmp_path, {"text": "spam or not", "label": False})) == 1


@pytest.mark.parametrize("missing", [float("nan"), None, "  "])
def test_a_message_without_a_role_is_named_so(tmp_path, missing):
    rows = [turn_row(1, "instruction", "q"), turn_row(1, missing, "a")]
    data = read_rows(tmp_path, GOOD, *rows, table=True)
    assert data.dropped == {"a message has no role": 1}


def test_cells_of_messages_that_are_rows_may_be_empty_beside_other_layouts(tmp_path):
    lines = ["conversation_id,message_type,message,question,answer,text"]
    lines += ["1,instruction,q,,,", "1,output,a,,,", ",,,q2,a2,", ",instruction,lost,,,"]
    data = read(tmp_path, "\n".join(lines), "mixed.csv", table=True)
    assert sorted(row.question for row in data.rows()) == ["q", "q2"]
    assert data.dropped == {"a message without a conversation_id": 1}
    lines = ["conversation_id,message_type,message,text", "1,instruction,q,", "1,output,a,", ",,,a text"]
    data = read(tmp_path, "\n".join(lines), "texts.csv", table=True)
    assert sorted(row.question for row in data.rows()) == ["a text", "q"]


def test_numbers_and_objects_in_every_kind_of_list_are_as_written():
    import pyarrow
    from pyarrow import compute

    from tuning.data.reading.arrow_rows import written

    narrow = pyarrow.float32()
    kinds = [pyarrow.list_(narrow), pyarrow.large_list(narrow), pyarrow.list_(narrow, 2)]
    kinds += [pyarrow.list_view(narrow), pyarrow.large_list_view(narrow)]
    for kind in kinds:
        column = pyarrow.array([[9, 9], [0.1, 2.5], None, [0.2, 0.3]], kind).slice(1)
        assert written(column) == [["0.1", "2.5"], None, ["0.2", "0.3"]]
    items = [[("x", 1)], [("a", 0.1), ("b", None)], None, []]
    column = pyarrow.array(items, pyarrow.map_(pyarrow.string(), narrow)).slice(1)
    assert written(column) == [{"a": "0.1", "b": None}, None, {}]
    assert written(compute.run_end_encode(pyarrow.array([0.1, 0.1, None], narrow))) == ["0.1", "0.1", None]
    parts = [pyarrow.array([0.1], narrow), pyarrow.array(["x"])]
    places = pyarrow.array([0, 1], pyarrow.int8()), pyarrow.array([0, 0], pyarrow.int32())
    assert written(pyarrow.UnionArray.from_dense(*places, parts)) == ["0.1", "x"]
    twice = pyarrow.array([[("a", 1), ("a", 2)]], pyarrow.map_(pyarrow.string(), pyarrow.int64()))
    with pytest.raises(ValueError, match="twice"):
        written(twice)


@pytest.mark.parametrize(
    ("messages", "turns"),
    [
        ([{"user": "q", "assistant": None, "gpt": None}, {"user": None, "assistant": None, "gpt": "a"}], ["Q", "a"]),
        ([{"user": "q0", "assistant": None}, {"user": "q", "assistant": "a"}], ["Q0", "Q", "a"]),
        ([{"human": "q", "Bot": "a"}, {"human": "q2"}, {"bot": "a2"}], ["Q", "a", "Q2", "a2"]),
        ([{"user": "q", "gpt": "a", "gist": "g"}], ["Q", "a"]),
        ([{"user": "q", "machine": "a"}, {"user": "q2", "assistant": "a2"}], None),
        ([{"user": "ann", "text": "q"}, {"user": "q2", "assistant": "a2"}], None),
        ([{"system": "s", "machine": "a"}, {"user": "q2", "assistant": "a2"}], None),
    ],
)
def test_nothing_is_taken_for_a_message_that_has_a_text_beside_one_name(tmp_path, messages, turns):
    found = read_rows(tmp_path, {"messages": messages}, GOOD)
    assert [told(row) for row in found.rows() if row.line == 1] == ([turns] if turns else [])
    assert found.dropped == ({} if turns else {"a message has no role": 1})


@pytest.mark.parametrize("message", [{"role": "assistant", "content": "a"}, {"question": "q", "answer": "a"}])
@pytest.mark.parametrize(("key", "value", "bad"), [("label", False, 1), ("KTO_tag", "no", 1), ("label", 0, 0)])
def test_a_message_may_call_its_answer_bad(tmp_path, message, key, value, bad):
    data = read_rows(tmp_path, {"messages": [*PROMPT, message | {key: value}]}, GOOD)
    assert data.dropped == ({NOTHING_TRAINED: 1} if bad else {})
    assert data.unused == ("messages.label",) * (1 - bad)
    earlier = read_rows(tmp_path, {"messages": [*PROMPT, message | {key: value}, *SAID]})
    assert earlier.dropped == ({UNTRAINED: 1} if bad else {})
    good = read_rows(tmp_path, {"messages": [*PROMPT, message | {"kto_tag": True, "label": True}]})
    assert (len(good), good.unused) == (1, ())


def test_a_row_uses_the_first_of_several_system_columns_that_it_fills(tmp_path):
    lines = ["system,system_prompt,question,answer,history,chat_history"]
    lines += [",s,q,a,,", "s,s,q2,a,,", 's,other,q3,a,,"[[""h"",""r""]]"']
    data = read(tmp_path, "\n".join(lines), "two.csv", table=True)
    expected = [["S", "Q", "a"], ["S", "Q2", "a"], ["S", "H", "r", "Q3", "a"]]
    assert [told(row) for row in data.rows()] == expected
    assert data.dropped == {"the column 'system_prompt' beside a question and its answer (not used in those rows)": 1}


def test_an_object_of_nulls_is_no_image_and_no_call(tmp_path):
    image, call = {"bytes": None, "path": None}, {"name": None, "arguments": ""}
    messages = [SAID[0] | {"images": [None]}, SAID[1] | {"function_call": call, "tool_calls": [call]}]
    assert len(read_rows(tmp_path, {"messages": messages, "image": image}, GOOD)) == 2


def test_json_that_was_said_is_text_in_a_table_too(tmp_path):
    said = json.dumps(ANSWER)
    (row,) = read_rows(tmp_path, {"messages": talk(("user", said), ("assistant", said))}, table=True).rows()
    assert (row.question, row.answer) == (said, said)


@pytest.mark.parametrize(("name", "value"), [("chat", "general"), ("contents", "a page"), ("dialog", {"id": 1})])
def test_a_column_called_as_a_chat_that_holds_none_hides_no_question(tmp_path, name, value):
    data = read_rows(tmp_path, GOOD | {name: value}, {"question": "q2", "answer": "a2", name: ""}, table=True)
    assert len(data) == 2
    assert data.unused == (name,)
    data = read_rows(tmp_path, GOOD | {name: value}, {name: SAID}, {"question": None, "answer": "a", name: value})
    assert len(data) == 2
    assert data.dropped[f"the column {name!r} is no list of messages"] == 1
    assert data.dropped[f"the column {name!r} beside a question and its answer (not used in those rows)"] == 1


def test_several_answers_in_an_exchange_are_no_text_and_an_empty_weight_says_nothing(tmp_path):
    blank = {"user": "q", "assistant": "a", "weight": "", "label": ""}
    data = read_rows(tmp_path, {"messages": [{"user": "q", "assistant": ["a", "b"]}]}, {"messages": [blank]})
    assert [told(row) for row in data.rows()] == [["Q", "a"]]
    assert data.dropped == {"the assistant of a message holds a list, not text": 1}
