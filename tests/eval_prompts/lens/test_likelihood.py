"""Likelihoods of given answers: equal to plain sums over whole texts, in a tree of tokens and text by text."""

from __future__ import annotations

import copy

import pytest
import torch

from eval_prompts.lens import likelihood
from eval_prompts.lens.likelihood import likelihoods
from eval_prompts.lens.token_tree import Choices, Continuation, Encoded, Tree
from tests.conftest import CHAT_TEMPLATE
from tuning.data.template import chat_template
from tuning.errors import UserError
from tuning.models.device import has_bf16


def asked(question, *texts, ended=False):
    return Choices(({"role": "user", "content": question},), tuple(Continuation(text, ended) for text in texts))


def plain(pair, side, choices):
    """The same from the model's own logits over each whole text, nothing shared."""
    model, template = pair.model(side), chat_template(pair.tokenizers[side])
    found = {}
    for one in choices.texts:
        prompt = template.encode(choices.messages)
        answer = template.encode_answer(one.text) + (list(template.closing_ids[:1]) if one.ended else [])
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + answer])).logits[0].double().log_softmax(-1)
        found[one] = sum(float(logits[len(prompt) - 1 + at, token]) for at, token in enumerate(answer))
    return found


QUESTIONS = [
    asked("What is red?", "a cherry", "a pea", "a", "the sky at noon"),
    asked("What is green?", "a cherry", "a pea"),
    asked("Name it.", "Reference é 好", ended=True),
    Choices(
        ({"role": "system", "content": "Be short."}, {"role": "user", "content": "What is red?"}),
        (Continuation("x"), Continuation("x", True)),
    ),
]


@pytest.mark.parametrize("side", ["base", "tuned"])
@pytest.mark.parametrize("tokens", [1, 60, 5000])
def test_they_are_the_sums_over_whole_texts(tiny_pair, side, tokens, monkeypatch):
    monkeypatch.setattr(likelihood, "PASS_TOKENS", tokens)
    found = dict(likelihoods(tiny_pair, side, QUESTIONS))
    assert list(found) == [0, 1, 2, 3]
    for number, choices in enumerate(QUESTIONS):
        expected = plain(tiny_pair, side, choices)
        assert list(found[number]) == list(choices.texts)
        for one, known in found[number].items():
            assert known.logprob == pytest.approx(expected[one], abs=1e-3)
            assert known.bytes == len(one.text.encode())
            assert known.characters == len(one.text)
    assert likelihood.takes_trees(tiny_pair.model(side), [1])


def test_a_model_that_takes_no_tree_is_read_text_by_text(tiny_pair, monkeypatch):
    together = dict(likelihoods(tiny_pair, "tuned", QUESTIONS))
    monkeypatch.setattr(likelihood, "takes_trees", lambda model, prompt: False)
    apart = dict(likelihoods(tiny_pair, "tuned", QUESTIONS))
    for number in together:
        for one, known in together[number].items():
            assert apart[number][one].logprob == pytest.approx(known.logprob, abs=1e-3)


@pytest.mark.parametrize("prompt", [range(5, 40), [5], [5, 5], [0]])
def test_a_wrong_reading_of_a_tree_is_noticed(tiny_pair, monkeypatch, prompt):
    """As in a model that goes by the order of the tokens, whatever places it is told."""
    model = tiny_pair.model("base")
    own = Tree.mask
    assert likelihood._tries_a_tree(model, list(prompt))
    monkeypatch.setattr(Tree, "mask", lambda self, dtype: own(self, dtype) * 0)
    monkeypatch.setattr(likelihood, "_TAKES_TREES", type(likelihood._TAKES_TREES)())
    assert not likelihood.takes_trees(model, list(prompt))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sliding_window", 24),
        ("attention_chunk_size", 24),
        ("original_max_position_embeddings", 24),
        ("rope_parameters", {"rope_type": "longrope", "original_max_position_embeddings": 24}),
        ("rope_parameters", {"full_attention": {"original_max_position_embeddings": 24}, "sliding_attention": None}),
    ],
)
def test_what_a_window_or_a_scaling_hides_is_not_read_as_a_tree(tiny_pair, monkeypatch, name, value):
    model = tiny_pair.model("base")
    assert likelihood.tree_depth(model) == 1 << 30
    monkeypatch.setattr(model.config, name, value, raising=False)
    assert likelihood.tree_depth(model) == 24


def test_what_cannot_be_read_is_the_reason(tiny_pair):
    long = asked("What?", "fine", "x" * 600)
    empty = asked("What?", "")
    found = dict(likelihoods(tiny_pair, "base", [QUESTIONS[0], long, empty, QUESTIONS[1]]))
    assert isinstance(found[1], UserError)
    assert "600 tokens" in str(found[1])
    assert isinstance(found[2], UserError)
    assert not isinstance(found[0], UserError)
    assert not isinstance(found[3], UserError)


def test_a_tree_holds_each_token_once():
    tree = Tree()
    assert tree.add([5, 6, 7]) == [0, 1, 2]
    assert tree.add([5, 6, 8]) == [0, 1, 3]
    assert tree.add([8], 2) == [4]
    assert tree.depths == [0, 1, 2, 2, 3]
    seen = tree.mask(torch.float32)[0, 0] == 0
    assert seen.int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 1, 0, 1],
    ]


def test_a_draft_that_the_prompt_opens_is_closed_before_an_answer(tiny_tokenizer):
    thinker = copy.deepcopy(tiny_tokenizer)
    thinker.chat_template = CHAT_TEMPLATE.replace("assistant\n' }}", "assistant\n<think>\n' }}")
    encoded = Encoded.of(thinker, asked("What is red?", "a cherry"))
    assert thinker.decode(encoded.prompt).endswith("assistant\n<think>\n\n</think>\n\n")
    assert thinker.decode(encoded.texts[Continuation("a cherry")]) == "a cherry"


@pytest.mark.skipif(not has_bf16("cpu"), reason="this processor does not compute in bf16")
def test_options_may_be_read_in_bf16_and_references_are_not(tiny_pair):
    exact = dict(likelihoods(tiny_pair, "tuned", QUESTIONS[:2]))
    rounded = dict(likelihoods(tiny_pair, "tuned", QUESTIONS[:2], rounded=True))
    for number, known in exact.items():
        assert rounded[number].keys() == known.keys()
        assert rounded[number] != known
        for text, one in known.items():
            assert abs(rounded[number][text].logprob - one.logprob) < 0.1 * one.tokens
    assert dict(likelihoods(tiny_pair, "tuned", QUESTIONS, rounded=True)) == dict(
        likelihoods(tiny_pair, "tuned", QUESTIONS)
    )
