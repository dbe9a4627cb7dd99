"""Conversations asked turn by turn: each side behind its own answers, token by token as its template writes them."""

from __future__ import annotations

import pytest

from eval_prompts.answers import UNSAID, Settings
from eval_prompts.rows import Prompt
from eval_prompts.tasks.catalogue import python_task
from eval_prompts.tasks.files import parse_task
from eval_prompts.tasks.history import behind, conversation_of
from tuning.data.chat import Message
from tuning.errors import UserError

TASK = parse_task(
    "name: talk\nsystem: Be brief.\nquestions:\n- {question: 'Hi?', turns: ['And?', 'Why?']}\n- Alone?\n", "t"
)


def said(role, text):
    return Message(role=role, content=text)


def test_each_side_goes_on_from_its_own_answers_token_by_token(lens):
    stream = lens.ask(TASK.prompts(TASK.questions), Settings(max_new_tokens=9))
    answers = {(answer.index, answer.side): answer for answer in stream.result()}
    for row in stream.rows:
        turns = [said("system", "Be brief."), said("user", "Hi?" if row.index < 3 else "Alone?")]
        for index in range(1, row.index + 1) if row.index < 3 else ():
            turns += [said("assistant", answers[index - 1, row.side].said), said("user", ["And?", "Why?"][index - 1])]
        expected = lens.pair.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        assert row.ids[: row.prompt_length] == expected
        assert list(stream.conversation(row.index, row.side)) == turns
        assert list(stream.prompts[row.index].to(row.side)) == turns
    assert stream.prompts[2].tuned is not None
    assert stream.prompts[3].tuned is None
    asked_whole = Prompt("Why?", stream.prompts[2].messages, tuned=stream.prompts[2].tuned)
    again = lens.ask([asked_whole], Settings(max_new_tokens=9)).result()
    assert [one.text for one in again] == [answers[2, side].text for side in ("base", "tuned")]


def test_a_turn_that_cannot_be_asked_ends_alone_and_says_why(lens):
    long = "x" * 470
    stream = lens.ask(
        [*conversation_of(python_task(), "Hi?", [long, "Then?"]), Prompt("Alone?", (said("user", "Alone?"),))],
        Settings(max_new_tokens=4),
    )
    by_key = {(answer.index, answer.side): answer for answer in stream.result()}
    for side in ("base", "tuned"):
        assert by_key[0, side].state == by_key[3, side].state == "capped"
        assert by_key[1, side].state == by_key[2, side].state == "failed"
        assert "The conversation is" in by_key[1, side].problem
        assert "this model holds 512: begin a new one" in by_key[2, side].problem
    empty = conversation_of(python_task(), "Hi?", ["And?"])
    stream = lens.ask(empty, Settings(max_new_tokens=4, stop=tuple(by_key[0, side].text[:1] for side in ("base",))))
    told = {(answer.index, answer.side): answer for answer in stream.result()}
    assert (told[0, "base"].said, told[1, "base"].state, told[1, "base"].problem) == ("", "failed", UNSAID)


def test_the_end_of_the_context_is_no_token_cap(lens):
    [full, _] = lens.ask([Prompt("?", (said("user", "y" * 440),))], Settings(max_new_tokens=300)).result()
    [capped, _] = lens.ask([Prompt("?", (said("user", "y"),))], Settings(max_new_tokens=3)).result()
    assert (full.state, full.full) == ("capped", True)
    assert (capped.state, capped.full) == ("capped", False)
    with pytest.raises(UserError, match=r"The conversation is .* begin a new one"):
        lens.ask([Prompt("?", (said("user", "a"), said("assistant", "b"), said("user", "y" * 600)))])


def test_turns_before_a_question_stand_behind_the_system_prompt():
    history = (said("user", "a"), said("assistant", "b"))
    [prompt] = conversation_of(TASK, "And?", history=history)
    assert list(prompt.messages) == [said("system", "Be brief."), *history, said("user", "And?")]
    led = (said("system", "Mine."), *history)
    assert behind(led, prompt).messages[0] == said("system", "Mine.")
    assert [turn["role"] for turn in behind(led, prompt).messages].count("system") == 1
    [python] = conversation_of(python_task(), "And?", history=history)
    assert python.messages[-1] == said("user", "And?")
    [first, later] = conversation_of(TASK, "One?", ["Two?"])
    assert behind(history, later) is later
    assert behind((), first) is first
