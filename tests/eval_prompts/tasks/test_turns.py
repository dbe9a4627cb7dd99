"""Conversations in task files: what is given, what is asked turn by turn, and the way back to a file."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval_prompts.tasks.choice import AT_ONCE, page_of, pages_of
from eval_prompts.tasks.export import dump_task
from eval_prompts.tasks.files import parse_task, read_task
from eval_prompts.tasks.history import history_of, read_history
from eval_prompts.tasks.turns import divided
from tuning.errors import UserError


def task_of(questions, **fields):
    return parse_task(json.dumps({"name": "talk", "questions": questions, **fields}), "talk.yaml")


def messages(*words):
    """Turns as 'u one' (user), 'a two' (assistant), 's three' (system)."""
    roles = {"u": "user", "a": "assistant", "s": "system"}
    return [{"role": roles[word[0]], "content": word[2:]} for word in words]


def told(task):
    return [(one.id, one.after, one.text, one.references) for one in task.questions]


def asked(task):
    return [(*words, one.messages, one.turn) for words, one in zip(told(task), task.questions, strict=True)]


@pytest.mark.parametrize(
    ("row", "fields", "expected"),
    [
        ({"question": "one", "turns": ["two"], "answer": "b"}, {}, [("1", "", "one", ()), ("1/2", "1", "two", ("b",))]),
        ({"turns": ["one", "two"], "answer": ["a", "b"]}, {}, [("1", "", "one", ("a",)), ("1/2", "1", "two", ("b",))]),
        ({"turns": ["1", {"question": "2", "answer": "b"}]}, {}, [("1", "", "1", ()), ("1/2", "1", "2", ("b",))]),
        ({"messages": messages("u one", "u two", "a b")}, {}, [("1", "", "one", ()), ("1/2", "1", "two", ("b",))]),
        ({"messages": messages("u one", "a x", "u two", "a b")}, {}, [("1", "", "two", ("b",))]),
        (
            {"messages": messages("s be", "u one", "a a", "u two", "a b")},
            {"turns": "own"},
            [("1", "", "one", ("a",)), ("1/2", "1", "two", ("b",))],
        ),
        ({"id": "q", "messages": messages("u 1"), "turns": ["2"]}, {}, [("q", "", "1", ()), ("q/2", "q", "2", ())]),
        ({"question": "one", "answer": ["a", "b"]}, {}, [("1", "", "one", ("a", "b"))]),
    ],
)  # fmt: skip
def test_a_conversation_is_the_turns_that_nobody_answers_in_the_file(row, fields, expected):
    task = task_of([row], **fields)
    assert told(task) == expected
    again = parse_task(dump_task(task), "again.yaml")
    assert asked(again) == asked(task)
    assert again.prompts(again.questions) == task.prompts(task.questions)


def test_turns_that_the_file_answers_are_given_between_those_that_are_asked():
    task = task_of([{"messages": messages("u one", "u two", "a given", "u three")}])
    first, later = task.prompts(task.questions)
    assert list(first.messages) == messages("u one")
    assert (list(later.messages), later.after) == (messages("u two", "a given", "u three"), 0)
    assert asked(parse_task(dump_task(task), "again.yaml")) == asked(task)


def test_each_sample_of_a_conversation_goes_on_from_itself():
    task = task_of([{"turns": ["one", "two", "three"]}, {"question": "other"}])
    first, second, third, other = task.questions
    asked = [first, second, third, other, first, second, third]
    assert [prompt.after for prompt in task.prompts(asked)] == [None, 0, 1, None, None, 4, 5]


def test_a_later_turn_alone_stands_behind_references_or_is_refused():
    task = task_of([{"turns": ["one", "two"], "answer": ["a", "b"]}, {"turns": ["three", "four"]}])
    assert list(task.prompt(task.questions[1]).messages) == messages("u one", "a a", "u two")
    with pytest.raises(UserError, match="has no reference: it can only be asked turn by turn"):
        task.prompt(task.questions[3])
    assert task.own_question("two").id == ""
    assert task.own_question("one").id == "1"


@given(st.lists(st.sampled_from(["s", "u", "a"]), max_size=8), st.sampled_from(["given", "own"]))
def test_no_turn_is_lost(roles, mode):
    turns = messages(*(f"{role} {place}" for place, role in enumerate(roles)))
    try:
        found = divided(turns, mode, "here")
    except UserError:
        assert turns[-1]["role"] != "user"
        return
    kept = [message["content"] for turn in found for message in turn.messages]
    kept += [text for turn in found for text in turn.references]
    assert sorted(kept) == sorted(turn["content"] for turn in turns)
    assert all(turn.messages[-1]["role"] == "user" for turn in found)


def test_a_conversation_is_whole_on_its_page():
    rows = [{"turns": [f"{n} a", f"{n} b", f"{n} c"]} for n in range(34)]
    task = task_of(rows)
    pages = [page_of(task, number) for number in range(1, pages_of(task) + 1)]
    assert [one for page in pages for one in page] == list(task.questions)
    assert all(not page[0].after for page in pages)
    assert [len(page) for page in pages] == [51, 51]
    assert pages_of(task_of([{"turns": [str(n) for n in range(AT_ONCE + 1)]}])) == 1


@pytest.mark.parametrize(
    ("row", "fields", "words"),
    [
        ({"turns": "[1"}, {}, "line 1, turns: turns are a list of texts in JSON"),
        ({"turns": ["one", ""]}, {}, "turns: The question is empty"),
        ({"turns": ["one", {"ask": "two"}]}, {}, "no 'ask'"),
        ({"turns": ["one", {"messages": messages("a two")}]}, {}, "a turn is the user's"),
        ({"messages": messages("u one", "s two")}, {}, "ends with the user's turn, or with the answer"),
        ({"question": "one", "turns": ["two"]}, {"score": ["exact"]}, "exact needs a reference"),
        ({"question": "one"}, {"turns": "mine"}, "turns: it is given"),
    ],
)
def test_what_is_no_conversation_is_refused_by_line(row, fields, words):
    with pytest.raises(UserError, match=r"talk\.yaml, line 1") as refused:
        task_of([row], **fields)
    assert words in str(refused.value)


def test_a_table_holds_turns_as_json(tmp_path):
    (tmp_path / "talk.csv").write_text('question,turns\none,"[""two"", ""three""]"\nfour,\n')
    (tmp_path / "talk.yaml").write_text("name: talk\nquestions: talk.csv\n")
    task = read_task(tmp_path / "talk.yaml")
    assert [one.text for one in task.questions] == ["one", "two", "three", "four"]


def test_the_turns_before_a_question_are_read_from_a_file(tmp_path):
    file = tmp_path / "before.json"
    given_turns = messages("s be", "u one", "a two")
    for text in (
        json.dumps(given_turns),
        json.dumps({"messages": given_turns}),
        "\n".join(json.dumps(turn) for turn in given_turns),
    ):
        file.write_text(text)
        assert list(read_history(file)) == given_turns
    assert history_of([]) == read_history(None) == ()
    for wrong, words in (
        (messages("u one"), "end with the answer to it"),
        (messages("a one"), "begin with the user's"),
        (messages("s be"), "a system prompt alone"),
        (messages("u one", "a two", "s be"), "stands first"),
        ([{"role": "robot", "content": "x"}], "each turn has a role"),
    ):
        with pytest.raises(UserError, match=words):
            history_of(wrong)
    file.write_text("{")
    with pytest.raises(UserError, match=r"before\.json: a conversation is a list"):
        read_history(file)
    with pytest.raises(UserError, match="cannot be read"):
        read_history(tmp_path / "none.json")
