"""A model's own generation settings: followed as ``generate`` follows them, or said not to be."""

from __future__ import annotations

import json

import pytest
import torch

from eval_prompts.answers import Settings
from eval_prompts.decoding.choice import make_backend
from eval_prompts.decoding.engine import Engine
from eval_prompts.decoding.generation_defaults import GenerationDefaults
from eval_prompts.stream import Stream
from tuning.data.chat import encode_prompt


@pytest.mark.parametrize("values", [{"repetition_penalty": 1.3}, {"no_repeat_ngram_size": 2}])
def test_followed_settings_give_the_text_of_generate(tiny_pair, values):
    tokenizer = tiny_pair.tokenizer
    prompt = torch.tensor([encode_prompt(tokenizer, "Why?")])
    expected = tiny_pair.base.generate(prompt, max_new_tokens=24, do_sample=False, eos_token_id=2, **values)
    engine = Engine(make_backend(tiny_pair, "fp32"), tokenizer, defaults=GenerationDefaults(values))
    try:
        stream = Stream(["Why?"], ["base"], Settings(max_new_tokens=24))
        engine.submit(stream)
        (answer,) = stream.result()
    finally:
        engine.close()
    assert answer.text == tokenizer.decode([t for t in expected[0, prompt.shape[1] :].tolist() if t != 2])


def test_what_a_model_sets_is_read_and_said(tmp_path):
    settings = {"repetition_penalty": 1.05, "top_k": 20, "temperature": 0.7, "eos_token_id": [1, 2], "top_p": 1.0}
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    defaults = GenerationDefaults.of(tmp_path)
    assert defaults.values == {"repetition_penalty": 1.05, "top_k": 20, "temperature": 0.7}
    assert "not followed (repetition penalty 1.05, top k 20, temperature 0.7)" in defaults.note(False)
    assert "followed (repetition penalty 1.05, top k 20). Not followed: temperature" in defaults.note(True)


@pytest.mark.parametrize("value", [-1, "a lot", float("inf"), [1.1]])
def test_a_setting_that_makes_no_sense_is_left_out_and_told(tmp_path, value):
    settings = {"repetition_penalty": value, "no_repeat_ngram_size": 2.5, "top_k": 20}
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    defaults = GenerationDefaults.of(tmp_path)
    assert defaults.usable == {"top_k": 20}
    note = defaults.note(followed=True)
    assert "followed (top k 20)" in note
    assert "Left out: its repetition penalty makes no sense." in note


def test_a_model_that_sets_nothing_is_not_spoken_of(tmp_path):
    assert GenerationDefaults.of(tmp_path).note(False) is None
    (tmp_path / "generation_config.json").write_text('{"repetition_penalty": 1.0, "eos_token_id": 2}')
    assert GenerationDefaults.of(tmp_path).note(True) is None


def test_what_generate_would_force_or_forbid_is_said(tmp_path):
    settings = {"forced_eos_token_id": 2, "bad_words_ids": [[number] for number in range(7)], "num_beams": 1}
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    note = GenerationDefaults.of(tmp_path).note(followed=True)
    assert "Not followed: bad words ids, forced eos token id" in note
    assert "bad words ids (7 entries), forced eos token id 2)" in GenerationDefaults.of(tmp_path).note(followed=False)
