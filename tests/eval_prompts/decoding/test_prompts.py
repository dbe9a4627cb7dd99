"""Prompts of a task's own: the engine reads the conversation it is given, and cuts answers off at stop texts."""

from __future__ import annotations

import pytest

from eval_prompts.answers import Settings
from eval_prompts.rows import Prompt, prompt_of
from eval_prompts.stream import Stream
from tuning.data.chat import PLAIN_FORMAT, PromptFormat, encode_messages, encode_prompt
from tuning.errors import UserError


def ask(engine, questions, format=PLAIN_FORMAT, **options):
    stream = Stream(questions, ["base"], Settings(**options), format=format)
    engine.submit(stream)
    return stream


def test_a_question_is_read_in_the_format_it_is_asked_in(tiny_pair, engine_for):
    engine = engine_for(tiny_pair)
    format = PromptFormat("Talk like a pirate.", "{question}!")
    stream = ask(engine, ["Where?"], format, max_new_tokens=2)
    stream.result()
    expected = encode_messages(tiny_pair.tokenizer, format.messages({"question": "Where?"}))
    assert stream.rows[0].ids[: stream.rows[0].prompt_length] == expected
    default = Stream(["Where?"], ["base"], Settings(max_new_tokens=2))
    engine.submit(default)
    default.result()
    row = default.rows[0]
    assert row.ids[: row.prompt_length] == encode_prompt(tiny_pair.tokenizer, "Where?")


def test_a_whole_conversation_is_asked_as_it_is(tiny_pair, engine_for):
    turns = [("user", "One?"), ("assistant", "1"), ("user", "Two?")]
    prompt = Prompt("Two?", tuple({"role": role, "content": content} for role, content in turns))
    stream = ask(engine_for(tiny_pair), [prompt], max_new_tokens=2)
    (answer,) = stream.result()
    assert answer.question == "Two?"
    row = stream.rows[0]
    assert row.ids[: row.prompt_length] == encode_messages(tiny_pair.tokenizer, prompt.messages)


def test_an_answer_ends_at_the_first_stop_text_and_does_not_show_it(tiny_pair, engine_for):
    engine = engine_for(tiny_pair)
    (whole,) = ask(engine, ["Why?"], max_new_tokens=40).result()
    assert len(whole.text) > 12
    for length in (1, 3, 9):
        stop = whole.text[8 : 8 + length]
        stream = ask(engine, ["Why?"], max_new_tokens=40, stop=("never there", stop))
        (answer,) = stream.result()
        assert answer.state == "ended"
        assert answer.text == whole.text[: whole.text.index(stop)]
        assert answer.tokens <= whole.tokens
        assert all(stop not in seen.text for seen in stream.answers)


@pytest.mark.parametrize("stop", [("",), ("x" * 300,), ("x",) * 9, ["x"], "x", (1,)])
def test_stop_texts_that_cannot_be_are_refused(stop):
    with pytest.raises(UserError, match="top text"):
        Settings(stop=stop)


def test_a_prompts_size_counts_what_was_asked_and_not_the_format():
    assert prompt_of(("four", "two"), PromptFormat("x" * 100)).size == 7
