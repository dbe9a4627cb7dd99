"""Every column with a role is heeded in every layout that reads it, and whatever is marked as bad is not trained."""

from __future__ import annotations

import json

import pytest

from tuning.data.dataset import load
from tuning.data.options import Reading, column_roles
from tuning.errors import UserError

SAID = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
GOOD = {"question": "fine?", "answer": "yes"}
GREETING = "a greeting before the first question (kept before it, not trained)"


def loaded(tmp_path, *rows, columns=""):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load(str(path), reading=Reading(column_roles(columns)))


def talk(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


def told(row):
    """A row's turns, those in capitals that are not trained."""
    return [turn.text if turn.trained else turn.text.upper() for turn in row.turns]


@pytest.mark.parametrize(
    "history", [[["h", "r"]], talk(("user", "h"), ("assistant", "r")), [{"user": "h", "gpt": "r"}]]
)
@pytest.mark.parametrize("name", ["history", "chatHistory"])
def test_what_went_before_messages_goes_behind_their_system_prompt(tmp_path, history, name):
    rows = [{"messages": [{"role": "system", "content": "s"}, *SAID], name: history}]
    rows.append(
        {"messages": talk(("user", "h"), ("assistant", "r"), ("user", "q2"), ("assistant", "a")), name: history}
    )
    first, second = loaded(tmp_path, *rows).rows()
    assert told(first) == ["S", "H", "r", "Q", "a"]
    assert told(second) == ["H", "r", "Q2", "a"]  # it was there already
    (named,) = loaded(tmp_path, {"m": SAID, "h": history}, columns="messages=m,history=h").rows()
    assert told(named) == ["H", "r", "Q", "a"]


@pytest.mark.parametrize(
    "columns",
    [
        "messages=m,system=s,context=c",
        "messages=m,question=q,answer=a",
        "text=t,system=s",
        "text=t,label=l",
        "conversation=c,role=r,content=t,label=l",
        "chosen=c,rejected=r,label=l",
    ],
)
def test_a_role_that_its_layout_does_not_read_is_refused(columns):
    with pytest.raises(UserError, match=r"--columns names [a-z, ]+, which nothing reads beside"):
        column_roles(columns)


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        ("question=q,answer=a", {"q": "q", "a": "bad", "weight": 0}),
        ("question=q,answer=a", {"q": "q", "a": "bad", "Image": "cat.png"}),
        ("question=q,answer=a,label=l", {"q": "q", "a": "bad", "l": 0}),
        ("question=q,answer=a,label=l", {"q": "q", "a": "bad", "l": None}),
        ("messages=q,label=l", {"q": SAID, "l": False}),
        ("messages=q,trained=t", {"q": SAID, "t": "no"}),
        ("text=q", {"q": "bad", "train": False}),
    ],
)
def test_named_columns_do_not_hide_that_a_row_is_not_to_be_trained(tmp_path, columns, row):
    good = row | {"q": talk(("user", "fine?"), ("assistant", "a")) if isinstance(row["q"], list) else "fine?"}
    good |= {
        key: True if key in ("l", "t", "train") else 1 if key == "weight" else "" for key in row if key not in "qa"
    }
    data = loaded(tmp_path, good, row, columns=columns)
    assert [found.question for found in data.rows()] == ["fine?"]
    assert list(data.dropped.lines.values()) == [2]


@pytest.mark.parametrize(
    ("row", "is_left_out"),
    [
        ({"messages": SAID, "label": False}, True),
        ({"messages": SAID, "kto_tag": "false"}, True),
        ({"instruction": "q", "output": "a", "kto_tag": 0}, True),
        ({"instruction": "q", "output": "a", "ktoTag": None}, True),
        ({"prompt": "q", "response": "a", "label": 0}, True),
        ({"question": "q", "answer": "a", "label": "no"}, True),
        ({"prompt": "q", "response": "a", "label": 3}, False),
        ({"messages": SAID, "label": "anger"}, False),
        ({"messages": SAID, "label": None}, False),
    ],
)
def test_a_bad_answer_is_left_out_and_a_label_that_rates_nothing_is_unused(tmp_path, row, is_left_out):
    data = loaded(tmp_path, GOOD, row)
    label = list(row)[-1]
    assert len(data) == 2 - is_left_out
    assert data.unused == (() if is_left_out else (label,))
    assert dict(data.dropped.lines) == ({next(iter(data.dropped)): 2} if is_left_out else {})


def test_a_label_is_used_once_a_row_heeds_it_and_the_others_are_counted(tmp_path):
    rows = ({"question": f"q{label}", "answer": "a", "label": label} for label in ("maybe", False, 0))
    data = loaded(tmp_path, *rows)
    assert data.used["label"] == "label"
    assert data.dropped == {
        "the label is false: a bad answer": 1,
        "the column 'label' beside a question and its answer (not used in those rows)": 2,
        "the label is 0, taken for a class and no rating (the rows are trained)": 1,
    }


@pytest.mark.parametrize(
    ("before", "count"),
    [
        ((("system", "s"), ("assistant", "hello")), 1),
        ((("assistant", "hello"), ("assistant", "well?")), 2),
        ((("system", "s"), ("assistant", "hello"), ("system", "t"), ("assistant", "well?")), 2),
    ],
)
def test_no_greeting_before_the_first_question_is_trained(tmp_path, before, count):
    data = loaded(tmp_path, {"messages": [*talk(*before), *SAID]})
    assert told(data.rows()[0]) == [*(text.upper() for _, text in before), "Q", "a"]
    assert data.dropped == {GREETING: count}


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([{"text": "hmm", "thought": True}, {"text": "a"}], "a content part that is a thought"),
        ([{"type": "text", "text": "a", "weight": 0}], "a content part with weight 0"),
        ([{"type": "text", "text": "a", "image_url": "cat.png"}], "an image, sound or film (the key 'image_url'"),
        ([{"type": "text", "text": "a", "weight": 1, "thought": False, "signature": "x"}], None),
    ],
)
def test_what_a_content_part_says_of_itself_is_heeded_or_named(tmp_path, parts, reason):
    data = loaded(tmp_path, GOOD, {"contents": [SAID[0], {"role": "model", "parts": parts}]})
    assert data.unused == (() if reason else ("contents.parts.signature",))
    assert len(data) == (1 if reason else 2)
    assert all(found.startswith(reason) for found in data.dropped)
    assert len(data.dropped) == bool(reason)


def test_a_message_with_an_image_is_left_out_and_one_without_is_not(tmp_path):
    seen, plain = ({"messages": [SAID[0] | {"images": images}, SAID[1]]} for images in (["cat.png"], []))
    exchanged = {"conversation": [{"user": "q", "assistant": "a", "images": "cat.png"}]}
    data = loaded(tmp_path, plain, seen, exchanged)
    assert data.dropped == {"an image, sound or film (the key 'images' of a message)": 2}
    assert set(data.dropped.lines.values()) == {2}
    assert len(data) == 1


def test_an_exchange_whose_keys_differ_in_case_alone_is_left_out(tmp_path):
    data = loaded(tmp_path, GOOD, {"conversation": [{"human": "q", "Human": "Q2", "assistant": "a"}]})
    assert dict(data.dropped.lines) == {"two keys of a message that differ in case alone": 2}


@pytest.mark.parametrize("name", ["systemInstruction", "system_instruction", "system"])
def test_a_system_prompt_may_be_a_message_of_its_own(tmp_path, name):
    system = {"role": "user", "parts": [{"text": "s"}], "extra": 1}
    data = loaded(tmp_path, {name: system, "contents": SAID}, {name: system, "question": "q2", "answer": "a2"})
    assert [told(row) for row in data.rows()] == [["S", "Q", "a"], ["S", "Q2", "a2"]]
    assert data.unused == (f"{name}.extra",)


@pytest.mark.parametrize("wrong", ["label=labels", "trained=kept", "context=cxt"])
def test_a_named_column_that_no_row_has_is_refused(tmp_path, wrong):
    with pytest.raises(UserError, match=f"has no column '{wrong.partition('=')[2]}', which --columns names as"):
        loaded(tmp_path, {"Q": "q", "A": "a", "lab": False}, columns=f"question=Q,answer=A,{wrong}")


@pytest.mark.parametrize(
    ("columns", "row"),
    [
        ("question=q,answer=a", {"q": "x", "a": "bad", "label": False}),
        ("question=q,answer=a", {"q": "x", "a": "bad", "kto_tag": "false"}),
        ("messages=m", {"m": SAID, "kto_tag": False}),
    ],
)
def test_named_columns_do_not_hide_that_an_answer_is_bad(tmp_path, columns, row):
    good = {key: True if value in (False, "false") else value for key, value in row.items()}
    found = loaded(tmp_path, row, good, columns=columns)
    assert len(found.rows()) == 1
    assert found.dropped == {f"the {list(row)[-1]} is false: a bad answer": 1}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"user": "q", "assistant": "a", "tool_calls": [{"name": "f"}]}, "a tool call"),
        (
            {"role": "assistant", "content": [{"type": "text", "text": float("nan")}]},
            "a content part of the type 'text'",
        ),
        ({"role": "user", "parts": [{"text": "what?", "inlineData": {"mimeType": "image/png"}}]}, "an image, sound"),
    ],
)
def test_what_a_message_holds_beside_its_text_leaves_the_row_out(tmp_path, message, reason):
    found = loaded(tmp_path, {"messages": [*SAID, message]}, GOOD)
    assert len(found.rows()) == 1
    assert any(told.startswith(reason) for told in found.dropped)


def test_a_missing_weight_says_nothing(tmp_path):
    (row,) = loaded(tmp_path, {"messages": [SAID[0], SAID[1] | {"weight": float("nan")}]}).rows()
    assert row.answer == "a" or told(row)[-1] == "a"


@pytest.mark.parametrize("blank", ["   ", [{"role": "assistant", "content": ""}]])
def test_a_pair_without_a_worse_answer_is_left_out(tmp_path, blank):
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": "q", "chosen": "a", "rejected": blank}, {"prompt": "q", "chosen": "a", "rejected": "b"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = load(str(path), reading=Reading(preference=True))
    assert len(found.rows()) == 1
    assert found.dropped == {"no rejected answer": 1}


def test_an_empty_system_message_gives_way_to_the_column(tmp_path):
    (row,) = loaded(tmp_path, {"system": "s", "messages": [{"role": "system", "content": " "}, *SAID]}).rows()
    assert told(row) == ["S", "Q", "a"]


def test_a_history_with_its_system_prompt_is_not_trained_twice(tmp_path):
    history = talk(("system", "s"), ("user", "h"), ("assistant", "r"))
    (row,) = loaded(tmp_path, {"history": history, "messages": [*history, *SAID]}).rows()
    assert told(row) == ["S", "H", "r", "Q", "a"]


def test_a_context_that_no_question_takes_leaves_the_row_out(tmp_path):
    prompt = talk(("system", "s"))
    found = loaded(tmp_path, {"prompt": prompt, "completion": SAID, "context": "c"}, GOOD)
    assert found.dropped == {"a context beside a prompt that asks nothing": 1}


@pytest.mark.parametrize("keys", [("role", "text"), ("speaker", "text"), ("from", "message")])
def test_a_file_of_one_conversation_is_one_whatever_its_keys(tmp_path, keys):
    path = tmp_path / "one.json"
    role, content = keys
    path.write_text(json.dumps({"messages": [{role: "user", content: "q"}, {role: "assistant", content: "a"}]}))
    (row,) = load(str(path)).rows()
    assert row.answer == "a" or told(row) == ["Q", "a"]
