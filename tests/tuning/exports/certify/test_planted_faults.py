"""The faults that exports have in the field, planted one by one: the certificate of each is red, and says why."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.tuning.exports.gguf_models import QUESTIONS, build_tokenizer, make_subject
from tuning.data.chat import encode_messages
from tuning.exports import tensors
from tuning.exports.certify.certificate import certify
from tuning.exports.certify.llama_engine import LlamaCpp
from tuning.exports.certify.reference import load_reference
from tuning.exports.llama_cpp import families, model_file, vocabulary
from tuning.exports.llama_cpp.quantisation import Quantiser

pytest.importorskip("xllamacpp")


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    """A Llama with an untied head, an end token that llama.cpp does not know by name, and a token added to it."""
    return make_subject(tmp_path_factory.mktemp("faults"), tokenizer=build_tokenizer("<|fin|>", "<ask>"))


@pytest.fixture(scope="module")
def reference(subject):
    return load_reference(subject)


@pytest.fixture
def prove(short, subject, reference, tmp_path):
    def prove(kind="F32"):
        file = tmp_path / "model.gguf"
        model_file.write_model(subject, file, kind, lambda text, fraction: None)
        engine = LlamaCpp(file)
        try:
            quiet = lambda text, fraction: None  # noqa: E731
            return certify(engine, reference, QUESTIONS, quiet, precision=kind, about={})
        finally:
            engine.close()

    return prove


def without(*parts):
    whole = tensors.plain_changes
    return lambda subject: {
        name: change for name, change in whole(subject).items() if not any(part in name for part in parts)
    }


def test_without_a_fault_it_is_green(prove):
    proof = prove()
    assert proof.colour == "green", proof.lines()
    assert proof.figures["answers_equal"] == len(QUESTIONS)
    assert proof.figures["kept"] > 0.999
    assert proof.figures["strength"] == pytest.approx(1, abs=0.001)


def test_a_merge_that_changes_nothing(prove, monkeypatch):
    monkeypatch.setattr(tensors, "plain_changes", lambda subject: {})
    proof = prove()
    assert proof.colour == "red"
    assert "nearer to the base" in proof.sentence
    assert proof.figures["strength"] == pytest.approx(0, abs=0.01)


def test_an_adapter_whose_attention_part_is_lost(prove, monkeypatch):
    monkeypatch.setattr(tensors, "plain_changes", without("self_attn"))
    proof = prove()
    assert proof.colour == "red"
    assert "of the adapter's change" in proof.sentence


@pytest.mark.parametrize("written", ["{{ messages[-1]['content'] }}", None])
def test_a_wrong_and_a_missing_template(prove, monkeypatch, written):
    def template(writer, tokenizer):
        if written:
            writer.add_chat_template(written)
        return []

    monkeypatch.setattr(vocabulary, "template", template)
    proof = prove()
    assert proof.colour == "red"
    assert "template, begin token or tokenizer" in proof.sentence


def test_a_doubled_begin_token(prove, monkeypatch):
    special = vocabulary.special_tokens

    def doubled(writer, tokenizer):
        told = special(writer, tokenizer)
        writer.kv_data[0].pop("tokenizer.ggml.add_bos_token")
        writer.add_add_bos_token(True)
        return told

    def template(writer, tokenizer):
        writer.add_chat_template("{{ bos_token }}" + tokenizer.chat_template)
        return []

    monkeypatch.setattr(vocabulary, "special_tokens", doubled)
    monkeypatch.setattr(vocabulary, "template", template)
    proof = prove()
    assert proof.colour == "red"
    assert "prompts are read in other tokens" in proof.sentence


def test_a_wrong_end_token(prove, monkeypatch, subject):
    other = subject.tokenizer().convert_tokens_to_ids("<|endoftext|>")
    monkeypatch.setattr(vocabulary, "ends_of", lambda tokenizer: [other])
    proof = prove()
    assert proof.colour == "red"
    assert "Answers do not end at <|fin|>" in proof.sentence


def test_swapped_rotary_halves(prove, monkeypatch):
    monkeypatch.setattr(families, "in_pairs", lambda tensor, heads: tensor)
    assert prove().colour == "red"


def test_an_untied_head_left_out(prove, monkeypatch):
    monkeypatch.setattr(model_file, "PASSED_OVER", (*model_file.PASSED_OVER, "lm_head.weight"))
    assert prove().colour == "red"


def test_a_quantisation_that_loses_the_model(prove, monkeypatch):
    fair = Quantiser.round

    def crushed(self, name, tensor):
        if tensor.ndim > 1:
            tensor = np.sign(tensor) * np.abs(tensor).mean()
        return fair(self, name, tensor.astype(np.float32))

    monkeypatch.setattr(Quantiser, "round", crushed)
    proof = prove("Q8_0")
    assert proof.colour == "red"


def test_an_added_token_that_is_missing(prove, monkeypatch):
    listed = vocabulary.listed

    def lacking(spec, entries):
        tokens, types = listed(spec, entries)
        types[tokens.index("<ask>")] = vocabulary.UNUSED
        tokens[tokens.index("<ask>")] = "[PAD]"
        return tokens, types

    monkeypatch.setattr(vocabulary, "listed", lacking)
    proof = prove()
    assert proof.colour == "red"
    assert "prompts are read in other tokens" in proof.sentence


def test_tokens_of_answers_that_are_written_otherwise(prove, monkeypatch, subject):
    """Entries of the vocabulary that no prompt holds change places: only what is written shows it."""
    listed = vocabulary.listed
    held = {token for asked in QUESTIONS for token in encode_messages(subject.tokenizer(), asked.messages)}

    def swapped(spec, entries):
        tokens, types = listed(spec, entries)
        free = [number for number in range(3, 300) if number not in held]
        for one, other in zip(free[::2], free[1::2], strict=False):
            tokens[one], tokens[other] = tokens[other], tokens[one]
        return tokens, types

    monkeypatch.setattr(vocabulary, "listed", swapped)
    proof = prove()
    assert proof.colour == "red"
    assert "answers are written as" in proof.sentence
    assert proof.figures["prompts_equal"] == len(QUESTIONS)


def test_weights_that_are_no_numbers(prove, monkeypatch):
    fair = Quantiser.round

    def broken(self, name, tensor):
        return fair(self, name, np.where(tensor == tensor.flat[0], np.nan, tensor) if "ffn_down" in name else tensor)

    monkeypatch.setattr(Quantiser, "round", broken)
    proof = prove()
    assert proof.colour == "red"
    json.dumps(proof.to_dict(), allow_nan=False)


def test_a_word_that_ends_answers(prove, monkeypatch, subject, reference):
    """An answer that stops early has no other token than the tuned side's: its end is what is wrong."""
    prompts = [encode_messages(subject.tokenizer(), asked.messages) for asked in QUESTIONS]
    word = reference.answers("tuned", prompts, 3, lambda done: None)[0][2]
    ends = vocabulary.ends_of
    monkeypatch.setattr(vocabulary, "ends_of", lambda tokenizer: [*ends(tokenizer), word])
    proof = prove()
    assert proof.colour == "red"
    assert "which ended none in training" in proof.sentence
