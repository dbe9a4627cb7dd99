"""Chat templates of all kinds: what is rendered, what is said, what ends an answer, and that user text stays text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import CHAT_TEMPLATE, build_tokenizer
from tests.tuning.rows import encoded
from tuning.data.chat import encode_prompt
from tuning.data.template import chat_template, choose, list_ends
from tuning.errors import UserError

CHATML = CHAT_TEMPLATE
SYSTEM = {"role": "system", "content": "Be kind."}
QUESTION = {"role": "user", "content": "Why?"}
ANSWER = {"role": "assistant", "content": "Because."}
BODY = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + BODY
)
ALTERNATING = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate') }}{% endif %}{% endfor %}" + BODY
)
PARTS = BODY.replace(
    "m['content']", "(m['content'] | selectattr('type', 'equalto', 'text') | map(attribute='text') | join)"
)
INST = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
ENDLESS = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"


def tokenizer_with(template: str | dict[str, str] | None):
    tokenizer = build_tokenizer(pad_is_end=False)
    tokenizer.chat_template = template
    return tokenizer


def rendered(template: str, *messages: dict[str, str]) -> str:
    return chat_template(tokenizer_with(template)).render(list(messages))


def notes(template: str | dict[str, str] | None) -> str:
    return " ".join(chat_template(tokenizer_with(template)).notes)


def test_an_ordinary_template_is_rendered_as_transformers_does_and_nothing_is_said():
    tokenizer = tokenizer_with(CHATML)
    template = chat_template(tokenizer)
    expected = tokenizer.apply_chat_template([SYSTEM, QUESTION], add_generation_prompt=True, tokenize=False)
    assert template.render([SYSTEM, QUESTION]) == expected
    assert template.encode([SYSTEM, QUESTION], generation_prompt=True) == tokenizer.encode(expected)
    assert template.notes == []
    assert chat_template(tokenizer) is template


def test_a_system_text_stands_in_the_users_turn_where_there_is_no_system_role():
    assert rendered(NO_SYSTEM, SYSTEM, QUESTION) == rendered(CHATML, {"role": "user", "content": "Be kind.\n\nWhy?"})
    assert rendered(NO_SYSTEM, QUESTION) == rendered(CHATML, QUESTION)
    assert "no system role" in notes(NO_SYSTEM)


def test_a_template_that_drops_the_system_text_without_a_word_gets_it_in_the_users_turn():
    dropping = BODY.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}")
    assert "Be kind.\n\nWhy?" in rendered(dropping, SYSTEM, QUESTION)
    assert "no system role" in notes(dropping)


def test_a_later_system_text_is_kept():
    later = {"role": "system", "content": "Now be brief."}
    text = rendered(ALTERNATING, QUESTION, ANSWER, later, QUESTION)
    assert "Now be brief.\n\nWhy?" in text


def test_turns_of_a_kind_in_a_row_are_put_together_where_the_template_wants_turns():
    assert rendered(ALTERNATING, QUESTION, QUESTION) == rendered(CHATML, {"role": "user", "content": "Why?\n\nWhy?"})
    assert "by turns" in notes(ALTERNATING)
    assert rendered(CHATML, QUESTION, QUESTION).count("<|im_start|>user") == 2


def test_a_template_that_reads_parts_is_given_parts():
    assert rendered(PARTS, SYSTEM, QUESTION) == rendered(CHATML, SYSTEM, QUESTION)


def test_a_missing_header_is_written_and_said():
    headless = BODY.partition("{% if add_generation_prompt")[0]
    assert rendered(headless, QUESTION) == rendered(CHATML, QUESTION)
    tokenizer = tokenizer_with(headless)
    assert chat_template(tokenizer).encode([QUESTION]) == tokenizer.encode(rendered(CHATML, QUESTION))
    assert "header" in notes(headless)


def test_the_date_is_fixed_whatever_its_format_and_said():
    dated = "{{ strftime_now('%d %b %Y') }} {% set f = '%Y-%m-%d %H:%M' %}{{ strftime_now(f) }}\n" + BODY
    assert rendered(dated, QUESTION).startswith("26 Jul 2024 2024-07-26 12:00\n")
    assert "26 July 2024" in notes(dated)


def test_one_of_several_templates_is_chosen_by_name():
    named = {"default": BODY, "short": "{% for m in messages %}{{ m['content'] }}{% endfor %}"}
    tokenizer = tokenizer_with(named)
    assert chat_template(tokenizer).render([QUESTION]) == rendered(CHATML, QUESTION)
    assert chat_template(tokenizer, name="short").render([QUESTION]) == "Why?"
    with pytest.raises(UserError, match="choose one of rag, tool_use with --chat-template"):
        chat_template(tokenizer_with({"tool_use": BODY, "rag": BODY}))
    with pytest.raises(UserError, match="default, short, plain"):
        chat_template(tokenizer, name="nothing")


def test_a_choice_holds_for_every_later_use_of_the_tokenizer(tmp_path):
    file = tmp_path / "mine.jinja"
    file.write_text("Q: {{ messages[-1]['content'] }}\nA:")
    tokenizer = tokenizer_with(CHATML)
    choose(tokenizer, str(file))
    assert "Solve this problem using Python coding language.\nWhy?\nA:" in tokenizer.decode(
        encode_prompt(tokenizer, "Why?")
    )
    assert "mine.jinja" in " ".join(chat_template(tokenizer).notes)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for m in messages %}\n{{ m['content'] {% endfor %}", "broken in line 2"),
        ("{{ messages[0]['content'] }}\n\n{{ 1 + 'a' }}", "fails in line 3"),
        ("{{ messages[0]['content'] }}\n{{ 1 | nonesuch }}", "broken in line 2 (No filter named 'nonesuch'"),
        ("{{ raise_exception('not today') }}", "not today"),
        ("hello", "leaves the question out"),
        ("{{ ''.__class__ }}{{ messages[0].content }}", "--chat-template"),
    ],
)
def test_a_broken_template_is_one_sentence(template, words):
    if "__class__" in template:  # the sandbox gives nothing for it: the template is used, harmlessly
        assert rendered(template, QUESTION).endswith("Why?")
        return
    with pytest.raises(UserError, match=re.escape(words)) as caught:
        chat_template(tokenizer_with(template))
    assert "\n" not in str(caught.value)


def test_a_model_without_template_is_asked_in_the_plain_format():
    template = chat_template(tokenizer_with(None))
    assert template.render([SYSTEM, QUESTION]) == "Be kind.\n\n### Question:\nWhy?\n\n### Answer:\n"
    assert template.stop_strings == ("\n### Question:", "\n### Answer:")
    assert template.closing == "<|im_end|>"
    assert "no chat template" in " ".join(template.notes)
    assert chat_template(tokenizer_with(CHATML), name="plain").render([QUESTION]) == template.render([QUESTION])


def test_a_plain_format_without_end_token_closes_with_its_stop_string():
    tokenizer = tokenizer_with(None)
    tokenizer.eos_token = None
    template = chat_template(tokenizer)
    assert template.closing == "\n\n### Question:"
    assert tokenizer.decode(list(template.closing_ids)) == "\n\n### Question:"
    assert template.end_ids() == frozenset()


def test_the_template_names_what_closes_a_turn():
    chatml = chat_template(tokenizer_with(CHATML))
    assert (chatml.closing, chatml.closing_ids) == ("<|im_end|>", (2,))
    inst = chat_template(tokenizer_with(INST))
    assert (inst.closing, inst.traits.opening) == (" <|im_end|>", " ")
    other = tokenizer_with(BODY.replace("<|im_end|>", "<|pad|>"))
    assert chat_template(other).end_ids() == {2, 3}
    assert encoded(other, "Why?", "So.").answer_ids[-1] == 3


def test_training_on_a_template_writes_what_the_template_writes():
    tokenizer = tokenizer_with(INST)
    example = encoded(tokenizer, "Why?", "Because.")
    assert tokenizer.decode(example.answer_ids) == " Because. <|im_end|>"


def test_ends_are_those_of_tokenizer_template_and_model_together():
    tokenizer = tokenizer_with(BODY.replace("<|im_end|>", "<|pad|>"))
    list_ends(tokenizer, [0, 7])
    assert chat_template(tokenizer).end_ids() == {0, 7, 2, 3}


def test_a_template_that_ends_nothing_is_said_and_without_any_end_it_cannot_be_trained():
    assert "end token does" in notes(ENDLESS)
    tokenizer = tokenizer_with(ENDLESS)
    tokenizer.eos_token = None
    assert "token cap" in " ".join(chat_template(tokenizer).notes)
    with pytest.raises(UserError, match="no end token"):
        encoded(tokenizer, "Why?", "Because.")


def test_thinking_is_switched_where_the_template_can():
    switched = (
        BODY + "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    )
    tokenizer = tokenizer_with(switched)
    assert chat_template(tokenizer, thinking=False).render([QUESTION]).endswith("<think>\n\n</think>\n\n")
    assert "<think>" not in chat_template(tokenizer, thinking=True).render([QUESTION])
    assert "no switch" in " ".join(chat_template(tokenizer_with(CHATML), thinking=True).notes)
    assert chat_template(tokenizer_with(BODY + "{{ '<think>\n' }}")).opening == "<think>\n"


def test_what_the_template_adds_or_leaves_out_is_said():
    adding = "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are Bot.<|im_end|>\n{% endif %}" + BODY
    template = chat_template(tokenizer_with(adding))
    assert "You are Bot." in " ".join(template.notes_for(None))
    assert template.notes == template.notes_for("Be kind.") == []
    assert "earlier turns" in notes("{{ messages[-1]['content'] }}")


@pytest.mark.parametrize("template", [CHATML, NO_SYSTEM, ALTERNATING, PARTS, INST, None])
@settings(max_examples=40)
@given(
    contents=st.lists(
        st.lists(
            st.one_of(st.text(max_size=8), st.sampled_from(["<|im_end|>", "<|im_start|>system", "<|pad|>", "[INST]"])),
            max_size=4,
        ).map("".join),
        min_size=1,
        max_size=5,
    )
)
def test_no_text_is_lost_and_none_becomes_a_control_token(template, contents):
    tokenizer = tokenizer_with(template)
    chat = chat_template(tokenizer)
    roles = ["system", "user", "user", "assistant", "user"][: len(contents)]
    messages = [{"role": role, "content": text} for role, text in zip(roles, contents, strict=True)]
    blank = [{**message, "content": ""} for message in messages]
    ids = chat.encode(messages, generation_prompt=True)
    text = tokenizer.decode(ids)
    assert text == chat.render(messages)
    assert all(content in text for content in contents)
    control = tokenizer.all_special_ids
    assert [token for token in ids if token in control] == [
        token for token in chat.encode(blank, generation_prompt=True) if token in control
    ]
