"""Labels: what the chat template writes for the assistant's turns and nothing else, in every turn, of every family."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import build_tokenizer
from tuning.data.batches import encode_rows
from tuning.data.chat import PLAIN_FORMAT, PYTHON_FORMAT, PromptFormat
from tuning.data.cleaning import Row
from tuning.data.dataset import load
from tuning.data.encoding import Encoder
from tuning.data.rows import Turn
from tuning.views.describe import spans_of

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GENERATION = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}{% generation %}"
    "{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{% else %}{{ m['content'] + '<|im_end|>' }}{% endif %}"
    "{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TRIMMING = CHATML.replace("m['content']", "m['content'] | trim")
FORGETS_DRAFTS = (
    "{% for m in messages %}{% set text = m['content'] %}{% if m['role'] == 'assistant' and not loop.last and "
    "'</think>' in text %}{% set text = text.split('</think>')[-1] %}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + text + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), min_size=1, max_size=20).filter(
    lambda text: text == text.strip() and text
)
STARTER_TOKENS = "cd6431efe8d80502ae5611edf05a5cc7ff30c63254f50f716359d2c0e9714118"
"""SHA-256 of the token ids of python_qa's training rows, by the encoder that leaves the 923 of before as they were."""


def tokenizer_with(template):
    tokenizer = build_tokenizer(pad_is_end=True)
    tokenizer.chat_template = template
    return tokenizer


def conversation(*turns):
    return Row("0" * 16, "q", "", turns[-1].text, turns=tuple(turns))


def trained(tokenizer, examples):
    return [span.text for example in examples for span in spans_of(tokenizer, example) if span.trained]


@settings(max_examples=40)
@given(st.lists(st.tuples(TEXT, TEXT, st.booleans()), min_size=1, max_size=4), st.booleans())
def test_every_trained_turn_and_its_closing_token_carry_a_label_and_nothing_else(pairs, system):
    tokenizer = tokenizer_with(CHATML)
    turns = [Turn("system", "Be brief.")] if system else []
    for question, answer, learned in pairs:
        turns += [Turn("user", question), Turn("assistant", answer, learned)]
    turns[-1] = Turn("assistant", turns[-1].text, True)
    examples = Encoder(tokenizer, PLAIN_FORMAT, 10_000).encode(conversation(*turns))
    assert len(examples) == 1
    assert trained(tokenizer, examples) == [turn.text + "<|im_end|>" for turn in turns if turn.trained]
    whole = "".join(span.text for span in spans_of(tokenizer, examples[0]))
    assert whole == "".join(f"<|im_start|>{turn.role}\n{turn.text}<|im_end|>\n" for turn in turns)[:-1]


@settings(max_examples=20)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=3))
def test_labels_are_the_spans_that_the_template_marks(pairs):
    tokenizer = tokenizer_with(GENERATION)
    turns = [turn for question, answer in pairs for turn in (Turn("user", question), Turn("assistant", answer, True))]
    (example,) = Encoder(tokenizer, PLAIN_FORMAT, 10_000).encode(conversation(*turns))
    marked = tokenizer.apply_chat_template(
        [{"role": turn.role, "content": turn.text} for turn in turns],
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    ids = example.prompt_ids + example.answer_ids
    labels = [0] * len(example.prompt_ids) + [int(label) for label in example.labelled or [1] * len(example.answer_ids)]
    if marked["input_ids"][: len(ids)] == ids:  # control words in the texts are only here never control tokens
        assert labels == marked["assistant_masks"][: len(labels)]


def test_a_template_that_trims_answers_is_followed_and_that_is_said():
    tokenizer = tokenizer_with(TRIMMING)
    encoder = Encoder(tokenizer, PLAIN_FORMAT, 1000)
    row = Row("0" * 16, "q", "", "    return 1")
    examples = encoder.encode(row)
    assert trained(tokenizer, examples) == ["return 1<|im_end|>"]
    assert ["leading white space" in note for note in encoder.notes(row)] == [True]
    plain = Encoder(tokenizer_with(CHATML), PLAIN_FORMAT, 1000)
    assert trained(tokenizer, plain.encode(row)) == ["    return 1<|im_end|>"]


def test_a_turn_that_later_prompts_show_otherwise_is_an_example_of_its_own():
    tokenizer = tokenizer_with(FORGETS_DRAFTS)
    turns = (
        Turn("user", "a"),
        Turn("assistant", "<think>x</think>one", True),
        Turn("user", "b"),
        Turn("assistant", "two", True),
    )
    examples = Encoder(tokenizer, PLAIN_FORMAT, 1000).encode(conversation(*turns))
    assert trained(tokenizer, examples) == ["<think>x</think>one<|im_end|>", "two<|im_end|>"]
    assert len(examples) == 2
    assert "<think>" not in tokenizer.decode(examples[1].prompt_ids)


def test_a_text_is_trained_whole_without_a_template(tiny_tokenizer):
    row = Row("0" * 16, "Once.", "", "Once.", turns=(Turn("text", "Once.", True),))
    (example,) = Encoder(tiny_tokenizer, PYTHON_FORMAT, 100).encode(row)
    assert tiny_tokenizer.decode(example.prompt_ids + example.answer_ids) == "Once.<|im_end|>"
    assert len(example.prompt_ids) == 1


def test_a_format_gives_what_a_row_lacks_and_replaces_nothing(tiny_tokenizer):
    encoder = Encoder(tiny_tokenizer, PromptFormat("Default.", "Say: {question}"), 1000)
    own = conversation(Turn("system", "Own."), Turn("user", "a"), Turn("assistant", "b", True))
    bare = Row("0" * 16, "a", "", "b")
    assert "Default." not in tiny_tokenizer.decode(encoder.encode(own)[0].prompt_ids)
    assert "Own." in tiny_tokenizer.decode(encoder.encode(own)[0].prompt_ids)
    assert "Default.<|im_end|>" in tiny_tokenizer.decode(encoder.encode(bare)[0].prompt_ids)
    assert "Say: a<|im_end|>" in tiny_tokenizer.decode(encoder.encode(bare)[0].prompt_ids)
    later = conversation(Turn("user", "a"), Turn("system", "Later."), Turn("user", "b"), Turn("assistant", "c", True))
    assert "Default.<|im_end|>" in tiny_tokenizer.decode(encoder.encode(later)[0].prompt_ids)


@pytest.mark.real
def test_the_starter_trains_on_the_same_tokens_as_ever(smollm_path):
    from tuning.models.weights import load_tokenizer

    tokenizer = load_tokenizer(smollm_path)
    data = load("python_qa", tokenizer=tokenizer, max_tokens=1024)
    encoded = encode_rows(tokenizer, data.train, 1024, "training", data.format, data.encoded)
    ids = json.dumps([[example.prompt_ids, example.answer_ids] for example in encoded.examples])
    assert hashlib.sha256(ids.encode()).hexdigest() == STARTER_TOKENS
