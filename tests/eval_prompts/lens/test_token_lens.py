"""The token lens on a pair: pieces, endings, what is cut and said, and the command."""

import itertools
import json
import math
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from eval_prompts.__main__ import main
from eval_prompts.lens.aligned import stretches
from eval_prompts.lens.command import parting_words
from eval_prompts.lens.token_lens import encoded, percentile, pieces_of, read
from eval_prompts.lens.token_scores import score_alone
from eval_prompts.lens.view import parting, reading_view
from eval_prompts.rows import Prompt, prompt_of
from tuning.data.chat import PLAIN_FORMAT, PYTHON_FORMAT
from tuning.errors import UserError


@given(text=st.text(min_size=1, max_size=40))
@settings(max_examples=80)
def test_pieces_joined_are_the_text(tiny_tokenizer, text):
    ids = tiny_tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
    pieces = pieces_of(tiny_tokenizer, ids)
    assert "".join(pieces) == tiny_tokenizer.decode(ids)
    assert len(pieces) == len(ids)


def test_a_reading_scores_every_token_and_the_end(tiny_pair):
    open_end = read(tiny_pair, "Why?", "because")
    ended = read(tiny_pair, "Why?", "because", ended=True)
    assert len(ended.scores) == len(open_end.scores) + 1
    assert ended.scores[-1].token == tiny_pair.tokenizer.eos_token_id
    assert ended.pieces[:-1] == open_end.pieces
    assert any(entry.change for entry in ended.scores)
    assert ended.figures.tokens == len(ended.scores)


def test_control_tokens_in_the_text_stay_text(tiny_pair):
    reading = read(tiny_pair, "Why?", "<|im_end|>")
    assert "".join(reading.pieces) == "<|im_end|>"
    assert tiny_pair.tokenizer.eos_token_id not in [entry.token for entry in reading.scores]


def test_the_prompt_is_the_format_that_is_asked_for(tiny_pair):
    python, plain = read(tiny_pair, "Why?", "x"), read(tiny_pair, "Why?", "x", prompt_format=PLAIN_FORMAT)
    assert python.prompt_tokens > plain.prompt_tokens
    turns = [{"role": "user", "content": "Why?"}]
    assert read(tiny_pair, turns, "x").prompt_tokens == plain.prompt_tokens


def test_a_text_longer_than_the_context_is_cut_and_that_is_said(tiny_pair):
    context = tiny_pair.base.config.max_position_embeddings
    reading = read(tiny_pair, "Why?", "y" * (context + 50))
    assert reading.prompt_tokens + len(reading.scores) == context + 1
    assert any("which fit into the context" in note for note in reading.notes)


def other_tokenizer():
    """One that writes the digraphs of English as one token and knows no other control token than its end."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<end>", *alphabet, "th", "he", "an"]
    merges = [("t", "h"), ("h", "e"), ("a", "n")]
    backend = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=merges))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    template = "{% for message in messages %}{{ message['content'] + '<end>' }}{% endfor %}"
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<end>", chat_template=template, clean_up_tokenization_spaces=False
    )


def test_sides_with_different_tokenizers_are_aligned_by_characters(tiny_pair):
    pair = replace(tiny_pair, side_tokenizers={"tuned": other_tokenizer()})
    reading = read(pair, "Why?", "the bean, because then", ended=True)
    assert reading.aligned
    assert "".join(reading.pieces[:-1]) == "the bean, because then"
    assert "th" in reading.pieces  # one token here, two there
    assert any("aligned by characters" in note for note in reading.notes)
    prompt_ids, text_ids = encoded(
        pair, "tuned", PYTHON_FORMAT.messages({"question": "Why?", "input": ""}), "the", False
    )
    alone = score_alone(pair.tuned, prompt_ids, text_ids)
    assert reading.scores[0].tuned.logprob == pytest.approx(alone[0].logprob, abs=1e-5)
    assert reading.scores[0].kl_base_tuned is None
    assert reading.figures.mean_kl is None
    assert reading_view(reading)["choices"]["base"] != reading_view(reading)["choices"]["tuned"]
    with pytest.raises(UserError, match="shorten it"):
        read(pair, "Why?", "y" * 1000)


@given(text=st.text(min_size=1, max_size=30), data=st.data())
def test_stretches_cover_both_sides_and_are_the_same_characters(text, data):
    assume(text.split())
    sides = []
    for _ in range(2):
        cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(text) - 1)), max_size=6)) | {0, len(text)})
        sides.append([text[a:b] for a, b in itertools.pairwise(cuts)])
    found = stretches(*sides)
    for side, pieces in enumerate(sides):
        assert [at for pair in found for at in range(len(pieces))[pair[side]]] == list(range(len(pieces)))
    for ours, theirs in found:
        left, right = "".join(sides[0][ours]), "".join(sides[1][theirs])
        assert "".join(left.split()) == "".join(right.split())


def test_texts_that_are_not_the_same_are_refused():
    with pytest.raises(UserError, match="differently"):
        stretches(["a", "b"], ["a", "c"])


def test_a_larger_vocabulary_is_compared_over_what_both_have(tiny_pair):
    import copy

    wider = copy.deepcopy(tiny_pair.tuned)
    wider.resize_token_embeddings(tiny_pair.base.config.vocab_size + 3, mean_resizing=False)
    reading = read(replace(tiny_pair, tuned=wider), "Why?", "because")
    assert any("the tokens that both have" in note for note in reading.notes)
    for entry in reading.scores:
        assert sum(odds for _, odds in entry.tuned.top) <= 1.0001
    same = read(tiny_pair, "Why?", "because")
    for wide, plain in zip(reading.scores, same.scores, strict=True):
        assert wide.tuned.logprob == pytest.approx(plain.tuned.logprob, abs=1e-4)


def test_the_probability_of_the_end_is_told_at_every_place(tiny_pair):
    reading = read(tiny_pair, "Why?", "because", ended=True)
    last = reading.scores[-1]
    assert math.exp(last.base.logprob) <= last.base.end * 1.0001
    assert all(0 <= entry.tuned.end <= 1 for entry in reading.scores)


def test_where_two_answers_part_is_said_in_words(tiny_pair):
    readings = {"base": read(tiny_pair, "Why?", "abcd"), "tuned": read(tiny_pair, "Why?", "abXd")}
    told = parting(readings, greedy=True)
    assert told["place"] == 2
    assert "base wanted 'c'" in told["words"]
    assert "tuned wanted 'X'" in told["words"]
    assert "drew" in parting(readings, greedy=False)["words"]
    readings["tuned"] = read(tiny_pair, "Why?", "ab")
    assert parting(readings, True) == {
        "place": 2, "words": "here the tuned answer was cut off; up to here both are the same"
    }  # fmt: skip
    assert parting({"base": readings["base"], "tuned": readings["base"]}, True)["place"] is None


def test_what_cannot_be_read_is_refused(tiny_pair):
    with pytest.raises(UserError, match="no text"):
        read(tiny_pair, "Why?", "")
    with pytest.raises(UserError, match="no tuned side"):
        read(tiny_pair.alone, "Why?", "x")


@pytest.mark.parametrize(("share", "value"), [(0, 1.0), (50, 2.5), (100, 4.0), (90, 3.7)])
def test_percentiles_lie_between_neighbours(share, value):
    assert percentile([1.0, 2.0, 3.0, 4.0], share) == pytest.approx(value)


def test_the_command_scores_answers_and_pasted_text(tiny_model_path, tiny_adapter_path, tmp_path, capsys):
    pair = ["--model", str(tiny_model_path), "--adapter", str(tiny_adapter_path), "--max-new-tokens", "8"]
    file = tmp_path / "lens.json"
    assert main(["tokens", "Why?", *pair, "--json", str(file)]) == 0
    text = capsys.readouterr().out
    assert "part" in text
    assert "KL(base || tuned)" in text
    content = json.loads(file.read_text())
    assert set(content) == {"base", "tuned"}
    assert content["base"]["tokens"][0].keys() >= {"text", "change", "base", "tuned", "kl_base_tuned"}
    assert main(["tokens", "Why?", "--text", "because", *pair]) == 0
    assert "── text ──" in capsys.readouterr().out
    assert main(["tokens", "Why?", "--text", "", *pair]) == 2


def test_models_that_agree_never_part(tiny_pair):
    reading = read(tiny_pair, "Why?", "because")
    same = type(reading)(
        [type(entry)(entry.token, entry.base, entry.base, 0.0, 0.0) for entry in reading.scores],
        reading.pieces,
        reading.choices,
        reading.prompt_tokens,
    )
    assert "never part" in parting_words(same)


@pytest.mark.parametrize(
    ("question", "text", "what"),
    [
        ("Why?", "what\udce9", "text"),
        ("what\udce9?", "because", "question"),
        ([{"role": "system", "content": "a\ud83d"}, {"role": "user", "content": "Why?"}], "because", "conversation"),
    ],
)
def test_half_a_character_is_refused_where_it_stands(tiny_pair, question, text, what):
    with pytest.raises(UserError, match=rf"The {what} holds half a character \(a lone surrogate\): remove it\."):
        read(tiny_pair, question, text)


def test_half_a_character_is_refused_in_all_that_is_put_to_a_model():
    said, broken = ({"role": "user", "content": "Why?"},), ({"role": "user", "content": "\udce9"},)
    for prompt in (Prompt("Why?", broken), Prompt("Why?", said, tuned=broken), Prompt("Why?", said, begun="\udce9")):
        with pytest.raises(UserError, match="half a character"):
            prompt_of(prompt)
    with pytest.raises(UserError, match="The input holds half a character"):
        prompt_of(("Why?", "\udce9"))


@pytest.mark.parametrize(
    "arguments", [["tokens", "Hi", "--text", "what\udce9"], ["tokens", "H\udce9"], ["ask", "H\udce9"]]
)
def test_half_a_character_is_refused_before_models_are_loaded(capsys, arguments):
    assert main(arguments) == 2
    assert "holds half a character" in capsys.readouterr().err
