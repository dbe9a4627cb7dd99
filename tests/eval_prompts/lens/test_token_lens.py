"""The token lens on a pair: pieces, endings, what is cut and said, and the command."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval_prompts.__main__ import main
from eval_prompts.lens.command import parting_words
from eval_prompts.lens.token_lens import percentile, pieces_of, read
from tuning.data.chat import PLAIN_FORMAT
from tuning.errors import UserError


@given(text=st.text(min_size=1, max_size=40))
@settings(max_examples=80, deadline=None)
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
