"""What is trained in every family's chat template: the assistant's spans of the rendered conversation, token by token.

What is asked stands before them; a family's own rendering of the whole is the reference for both.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tuning.data.families import CHATML, DEEPSEEK_R1, FAMILIES, Family
from tuning.data.chat import PLAIN_FORMAT
from tuning.data.cleaning import Row
from tuning.data.encoding import FORGOTTEN, Encoder
from tuning.data.rows import Turn
from tuning.data.template import chat_template
from tuning.data.template_traits import turn
from tuning.views.describe import spans_of

TOKENIZERS = {name: family.tokenizer() for name, family in FAMILIES.items()}
WORDS = st.text("ab é語😀.,?\n\t{}<|>/", min_size=1, max_size=12).map(str.strip).filter(bool)
PAIRS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3)


def row_of(pairs, system) -> Row:
    said = [Turn("system", system)] if system else []
    for question, answer in pairs:
        said += [Turn("user", question), Turn("assistant", answer, True)]
    return Row("0" * 16, pairs[0][0], "", pairs[-1][1], turns=tuple(said))


def reference(name: str, family: Family, messages: list[dict[str, str]], asked: bool) -> str:
    """The conversation as transformers renders it, a system text in the question where the family has none."""
    if family.folds and messages[0]["role"] == "system":
        first = {"role": "user", "content": f"{messages[0]['content']}\n\n{messages[1]['content']}"}
        messages = [first, *messages[2:]]
    if name == "parts only":
        messages = [turn(message["role"], message["content"], parts=True) for message in messages]
    template = chat_template(TOKENIZERS[name])._rendering._text  # with the date fixed
    return TOKENIZERS[name].apply_chat_template(
        messages, chat_template=template, tokenize=False, add_generation_prompt=asked
    )


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=6)
@given(pairs=PAIRS, system=st.sampled_from(["", "Be brief."]))
def test_trained_tokens_are_the_assistants_spans_of_the_rendered_conversation(name, pairs, system):
    family, tokenizer = FAMILIES[name], TOKENIZERS[name]
    row = row_of(pairs, system)
    messages = [{"role": turn.role, "content": turn.text} for turn in row.turns]
    examples = Encoder(tokenizer, PLAIN_FORMAT, 10_000).encode(row)
    assert (len(examples) == 1) or family.drafts
    found = [
        (example.prompt_ids + example.answer_ids, example.labelled or (True,) * len(example.answer_ids))
        for example in examples
    ]
    places = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    expected = []
    for at in places:
        told = messages[bool(system and family.late) :]
        at -= len(messages) - len(told)
        prompt, whole = (reference(name, family, told[:end], end == at) for end in (at, at + 1))
        assert whole.startswith(prompt)
        answer = whole[len(prompt) :]
        at += len(messages) - len(told)
        prompt = reference(name, family, messages[:at], True)
        assert messages[at]["content"] in answer
        # What comes after the closing belongs to nobody; a family that writes none is closed by the end token.
        end = answer.find(family.closing, answer.find(messages[at]["content"]) + len(messages[at]["content"]))
        told = answer[: end + len(family.closing)] if end >= 0 else answer.rstrip("\n") + family.closing
        expected.append((prompt, told))
    told = [span.text for example in examples for span in spans_of(tokenizer, example) if span.trained]
    assert told == [answer for _, answer in expected]
    for ids, _ in found[-1:]:
        prompt, answer = expected[-1]
        assert ids == tokenizer.encode(prompt + answer, add_special_tokens=False)
    assert sum(sum(labels) for _, labels in found) == sum(
        len(tokenizer.encode(answer, add_special_tokens=False)) for _, answer in expected
    )


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("yes", "\n</think>\n\nyes</s>"),
        ("<think>hm</think>yes", "hm</think>yes</s>"),
        ("hm</think>yes", "hm</think>yes</s>"),
    ],
)
def test_a_draft_that_the_prompt_opens_is_closed_before_the_answer(answer, told):
    tokenizer = Family(DEEPSEEK_R1, "</s>", controls=("<｜User｜>", "<｜Assistant｜>")).tokenizer()
    examples = Encoder(tokenizer, PLAIN_FORMAT, 1000).encode(row_of([("a", "x"), ("why?", answer)], ""))
    assert tokenizer.decode(examples[-1].prompt_ids).endswith("why?<｜Assistant｜><think>\n")
    assert [span.text for span in spans_of(tokenizer, examples[-1]) if span.trained] == [told]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("yes", "\n<think></think>\nyes<|endoftext|>"),
        ("<think>\nhm\n</think>\n\nyes", "\n<think>hm</think>\nyes<|endoftext|>"),
    ],
)
def test_what_a_template_writes_before_an_answer_is_trained_where_it_writes_no_end(answer, told):
    tokenizer = TOKENIZERS["GLM 4.6"]
    examples = Encoder(tokenizer, PLAIN_FORMAT, 1000).encode(row_of([("why?", answer)], ""))
    assert [span.text for span in spans_of(tokenizer, examples[0]) if span.trained] == [told]


@pytest.mark.parametrize(("length", "noted"), [(1, False), (2, False), (3, True)])
def test_a_turn_that_the_template_leaves_out_is_counted(length, noted):
    tokenizer = Family(CHATML.replace("in messages", "in messages[-4:]"), "<|im_end|>", "<|im_end|>").tokenizer()
    encoder, row = (
        Encoder(tokenizer, PLAIN_FORMAT, 1000),
        row_of([(f"q{n}?", "<think>x</think>a") for n in range(length)], ""),
    )
    encoder.encode(row)
    assert (FORGOTTEN in encoder.notes(row)) is noted


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if "{% generation %}" in family.template])
@settings(max_examples=6)
@given(pairs=PAIRS)
def test_labels_are_within_the_spans_that_a_template_marks(name, pairs):
    tokenizer, row = TOKENIZERS[name], row_of(pairs, "")
    (example,) = Encoder(tokenizer, PLAIN_FORMAT, 10_000).encode(row)
    marked = tokenizer.apply_chat_template(
        [{"role": turn.role, "content": turn.text} for turn in row.turns],
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    labels = [*[False] * len(example.prompt_ids), *(example.labelled or (True,) * len(example.answer_ids))]
    assert marked["input_ids"][: len(labels)] == example.prompt_ids + example.answer_ids
    masks = marked["assistant_masks"][: len(labels)]
    outside = [at for at, (label, mask) in enumerate(zip(labels, masks, strict=True)) if label and not mask]
    assert not outside
    inside = tokenizer.decode(
        [token for token, label, mask in zip(marked["input_ids"], labels, masks, strict=False) if mask and not label]
    )
    # SmolLM3 marks the header, too, which the prompt brings when it is asked.
    assert inside.replace("<|im_start|>assistant\n", "").strip() == ""
