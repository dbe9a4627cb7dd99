"""Every target but the GGUF itself: written, read back, certified; and what cannot be written, in one sentence."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from tests.tuning.exports.gguf_models import QUESTIONS, build_tokenizer, make_subject, write_adapter, write_model
from tuning.data.chat import PromptFormat
from tuning.errors import UserError
from tuning.exports import formats, merged, ollama
from tuning.exports import subject as subjects


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    return make_subject(tmp_path_factory.mktemp("targets"), "llama, tied head", rank_pattern={"q_proj": 2})


def test_an_adapter_and_a_merged_model_are_green_and_say_so_in_their_cards(short, subject, tmp_path):
    for kind, precision in (("adapter", None), ("merged", "bf16")):
        made = formats.export(subject, tmp_path / kind, kind, precision, questions=QUESTIONS)
        assert made.certificate.colour == "green", made.certificate.lines()
        assert json.loads((tmp_path / kind / "certificate.json").read_text())["colour"] == "green"
        assert "## Certificate: green" in (tmp_path / kind / "README.md").read_text()
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["dtype"] == "bfloat16"


def test_what_is_more_than_plain_lora_is_merged_in_memory_and_said(short, tmp_path):
    dora = make_subject(tmp_path, use_dora=True)
    made = formats.export(dora, tmp_path / "out", "merged", "fp32", questions=QUESTIONS)
    assert made.certificate.colour == "green", made.certificate.lines()
    assert any("use_dora" in note for note in made.certificate.notes)


def test_large_models_are_written_in_several_files(subject, tmp_path):
    from transformers import AutoModelForCausalLM

    merged.write_merged(subject, tmp_path / "parts", "fp16", lambda text, fraction: None, shard_bytes=30_000)
    assert len(list((tmp_path / "parts").glob("model-*.safetensors"))) > 1
    formats.export(subject, tmp_path / "one", "merged", "fp16", check=False)
    parts, one = (AutoModelForCausalLM.from_pretrained(tmp_path / name).state_dict() for name in ("parts", "one"))
    assert parts.keys() == one.keys()
    assert all(parts[name].equal(one[name]) for name in one)


@pytest.mark.parametrize("kind", ["lora-gguf", "ollama"])
def test_llama_cpp_runs_the_adapter_beside_its_base_and_what_ollama_makes(short, tmp_path, kind):
    pytest.importorskip("xllamacpp")
    made = make_subject(tmp_path, "qwen2" if kind == "ollama" else "smollm3", use_rslora=True)
    made = replace(made, prompt_format=PromptFormat("Be brief.", "Answer this:\n{question}\n{input}"))
    asked = [
        replace(one, messages=tuple(made.prompt_format.messages({"question": one.name, "input": ""})))
        for one in QUESTIONS
    ]
    proof = formats.export(made, tmp_path / "out", kind, "F32", questions=asked).certificate
    assert proof.colour == "green", (proof.lines(), proof.questions)
    if kind == "ollama":
        text = (tmp_path / "out" / "Modelfile").read_text()
        assert 'SYSTEM """Be brief."""' in text
        assert "Answer this:\n{{ .Content }}{{ if $last }}<|im_end|>" in text
        assert 'PARAMETER stop "<|im_end|>"' in text
        assert "{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n<|im_start|>user\n{{ else }}" in text


def test_vllm_and_mlx_get_what_they_read(short, tmp_path):
    plain = make_subject(tmp_path, targets=["q_proj", "down_proj"])
    made = formats.export(plain, tmp_path / "vllm", "vllm", questions=QUESTIONS)
    assert made.certificate.colour == "green", made.certificate.lines()
    assert "--max-lora-rank 8" in (tmp_path / "vllm" / "serve.sh").read_text()
    made = formats.export(plain, tmp_path / "mlx", "mlx", questions=QUESTIONS)
    assert made.certificate.colour == "green", made.certificate.lines()
    settings = json.loads((tmp_path / "mlx" / "adapter_config.json").read_text())
    assert settings["lora_parameters"]["keys"] == ["mlp.down_proj", "self_attn.q_proj"]
    assert settings["num_layers"] == 2


GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set first = '' %}{% set turns = messages %}{% endif %}"
    "{% for message in turns %}{{ '<start>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' "
    "+ (first if loop.first else '') + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start>model\n' }}{% endif %}"
)


@pytest.mark.parametrize(
    ("template", "begins"),
    [(None, "{{ if .System }}<|im_start|>system"), (GEMMA, "{{ if .System }}<|im_start|><start>user")],
)
def test_the_template_of_ollama_renders_what_the_models_own_does(template, begins):
    tokenizer = build_tokenizer()
    tokenizer.chat_template = template or tokenizer.chat_template
    turns = ollama.turns_of(tokenizer, PromptFormat())
    assert turns.go().startswith(begins)


def test_a_template_that_counts_turns_is_none_for_ollama():
    tokenizer = build_tokenizer()
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "message['role'] +", "message['role'] + loop.index|string +"
    )
    with pytest.raises(UserError, match="Ollama's template cannot say"):
        ollama.turns_of(tokenizer, PromptFormat())


def refuse(work):
    with pytest.raises(UserError) as refusal:
        work()
    words = str(refusal.value)
    assert "\n" not in words
    return words


def test_what_cannot_be_written_is_one_sentence_and_leaves_nothing(subject, tmp_path, monkeypatch):
    export, out = formats.export, tmp_path / "out"
    dora = replace(subject, config={**subject.config, "use_dora": True})
    for kind, words in (("lora-gguf", "cannot hold"), ("vllm", "plain LoRA"), ("mlx", "plain LoRA")):
        assert words in refuse(lambda kind=kind: export(dora, out, kind))
    assert "one rank" in refuse(lambda: export(subject, out, "mlx"))
    assert "no precision 'Q9'" in refuse(lambda: export(subject, out, "gguf", "Q9"))
    assert "keeps the adapter's own numbers" in refuse(lambda: export(subject, out, "vllm", "bf16"))
    other = write_model(tmp_path / "gpt", "gpt_neox", {"num_key_value_heads": 4})
    falcon = subjects.of_adapter(write_adapter(tmp_path / "adapter", other, ["query_key_value"]))
    assert "family gpt_neox" in refuse(lambda: export(falcon, out, "gguf"))
    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10, 9, 1))
    for kind in ("gguf", "merged"):
        assert "free in" in refuse(lambda kind=kind: export(subject, out, kind))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "gpt"]


def test_a_stop_in_the_middle_leaves_nothing(subject, tmp_path):
    def stop(text, fraction):
        if fraction and fraction > 0.5:
            raise KeyboardInterrupt

    for kind in ("merged", "gguf"):
        with pytest.raises(KeyboardInterrupt):
            formats.export(subject, tmp_path / "out", kind, report=stop)
        assert list(tmp_path.iterdir()) == []


def test_without_llama_cpp_a_gguf_is_yellow_and_says_which_extra_to_install(subject, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "installed", lambda: False)
    proof = formats.export(subject, tmp_path / "out", "gguf", "F16").certificate
    assert proof.colour == "yellow"
    assert "lora-lens[gguf]" in proof.sentence


def test_an_adapter_of_another_size_names_the_layer(subject, tmp_path):
    other = write_model(tmp_path / "wide", "llama", {"hidden_size": 64})
    moved = subjects.of_adapter(subject.adapter, str(other))
    words = refuse(lambda: formats.export(moved, tmp_path / "out", "merged"))
    assert "layers.0" in words
    assert "has another shape there" in words
