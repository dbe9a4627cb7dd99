"""What is loaded as a language model, and the one sentence for everything else."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from tests.conftest import build_tokenizer
from tuning.errors import UserError
from tuning.models import causal
from tuning.models.device import Device
from tuning.models.known import PARAMETERS, PRESETS
from tuning.models.weights import Choices, load_model, load_tokenizer, resolve

CPU = Device("cpu", torch.float32)
SIZES = {
    "vocab_size": 260,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
PICTURES = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
IDS = torch.arange(4, 14)[None]


def saved(folder, model):
    model.save_pretrained(folder)
    build_tokenizer(pad_is_end=False).save_pretrained(folder)
    return folder


def changed(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def without(folder, name):
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    kept = {key: tensor for key, tensor in load_file(path).items() if name not in key}
    save_file(kept, path, metadata={"format": "pt"})


def refusal(folder, **choices) -> str:
    with pytest.raises(UserError) as caught:
        load_model(resolve(str(folder), choices=Choices(**choices)), CPU)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def copy(tmp_path, tiny_model_path):
    return shutil.copytree(tiny_model_path, tmp_path / "copy")


def test_a_missing_tensor_is_named_and_never_filled_with_random_numbers(copy):
    without(copy, "layers.1.mlp.up_proj")
    assert "model.layers.1.mlp.up_proj.weight" in refusal(copy)


def test_a_tensor_of_another_shape_is_named(copy):
    changed(copy, intermediate_size=64)
    assert "layers.0.mlp.down_proj.weight is 32 x 48" in refusal(copy)


def test_an_encoder_is_refused(tmp_path):
    from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

    assert "fills gaps" in refusal(saved(tmp_path / "bert", BertForMaskedLM(BertConfig(**SIZES))))
    assert "encoder" in refusal(saved(tmp_path / "rank", BertForSequenceClassification(BertConfig(**SIZES))))


def test_an_encoder_decoder_and_a_model_of_pictures_are_refused(tmp_path):
    from transformers import T5Config, T5ForConditionalGeneration, ViTConfig, ViTModel

    t5 = T5ForConditionalGeneration(T5Config(vocab_size=260, d_model=32, d_ff=32, num_layers=1, num_heads=2, d_kv=8))
    assert "encoder-decoder" in refusal(saved(tmp_path / "t5", t5))
    assert "no causal language model" in refusal(saved(tmp_path / "vit", ViTModel(ViTConfig(**PICTURES))))


def test_the_text_part_of_a_model_for_pictures_answers_as_the_whole_does(tmp_path):
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    torch.manual_seed(3)
    config = LlavaConfig(
        text_config=LlamaConfig(**SIZES).to_dict(), vision_config=CLIPVisionConfig(**PICTURES).to_dict()
    )
    whole = LlavaForConditionalGeneration(config).eval()
    part = load_model(saved(tmp_path / "llava", whole), CPU)
    assert type(part).__name__ == "LlamaForCausalLM"
    with torch.no_grad():
        assert torch.equal(part(input_ids=IDS).logits, whole(input_ids=IDS).logits)


def test_the_text_part_of_gemma_3_has_its_weights(tmp_path):
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3TextConfig

    torch.manual_seed(3)
    text = Gemma3TextConfig(**SIZES, num_key_value_heads=2, head_dim=8).to_dict()
    whole = Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=text, vision_config=PICTURES, mm_tokens_per_image=4)
    ).eval()
    part = load_model(saved(tmp_path / "gemma3", whole), CPU)
    assert part.config.vocab_size == 260
    with torch.no_grad():
        expected = whole(input_ids=IDS, token_type_ids=torch.zeros_like(IDS)).logits
        assert torch.allclose(part(input_ids=IDS).logits, expected, atol=1e-6)


def test_a_models_own_code_is_refused_without_asking(copy):
    (copy / "own.py").write_text("raise SystemExit('the code was run')")
    changed(copy, model_type="own", auto_map={"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"})
    assert "--trust-remote-code" in refusal(copy)


def test_an_unknown_architecture_is_named(copy):
    changed(copy, model_type="own")
    assert "'own'" in refusal(copy)


def test_the_package_of_a_quantisation_is_named(copy):
    changed(copy, quantization_config={"quant_method": "aqlm"})
    assert "the package aqlm is not installed" in refusal(copy)


def test_a_model_that_does_not_fit_is_refused_with_numbers(copy, monkeypatch):
    monkeypatch.setattr(causal, "free_bytes", lambda device: 20_000)
    message = refusal(copy)
    assert "0.0 GB are free" in message
    assert "--load-in-4bit" in message


def test_parameters_are_counted_from_the_headers(tiny_model_path):
    model = load_model(tiny_model_path, CPU)
    assert causal.parameter_count(tiny_model_path) == sum(part.numel() for part in model.parameters())
    assert causal.needed_bytes(tiny_model_path, 4) == 4 * causal.parameter_count(tiny_model_path)


def test_every_preset_says_what_it_needs():
    assert PARAMETERS.keys() == PRESETS.keys()


def test_a_chosen_template_comes_with_the_tokenizer(tiny_model_path):
    weights = resolve(str(tiny_model_path), choices=Choices(chat_template="plain"))
    from tuning.data.template import chat_template

    assert "### Answer:" in chat_template(load_tokenizer(weights)).text


@pytest.mark.parametrize(("text", "words"), [("{", "cannot be read"), ("[]", "is no JSON object"), ("\ufeff{}", "BOM")])
def test_a_damaged_list_of_end_tokens_is_refused(copy, text, words):
    (copy / "generation_config.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=words):
        load_tokenizer(copy)


def test_end_tokens_come_from_the_models_own_list(copy):
    (copy / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 3, 7]}))
    from tuning.data.template import chat_template

    assert chat_template(load_tokenizer(copy)).end_ids() == {2, 3, 7}


def test_a_file_that_is_no_gguf_is_refused(tmp_path):
    (tmp_path / "some.gguf").write_bytes(b"<html>")
    with pytest.raises(UserError, match="no GGUF file"):
        resolve(str(tmp_path / "some.gguf"))
    with pytest.raises(UserError, match="no GGUF file"):
        resolve(str(tmp_path))
    (tmp_path / "other.gguf").write_bytes(b"<html>")
    with pytest.raises(UserError, match=r"name one of other\.gguf, some\.gguf"):
        resolve(str(tmp_path))


@pytest.mark.parametrize(
    ("unused", "words"),
    [
        ("layers.0.q_proj.weight_scale_inv", "quantised in a way"),
        ("layers.0.q_proj.bias", "says that it has none"),
        ("layers.0.rotary_emb.inv_freq", None),
        ("vision.patch.weight", None),
    ],
)
def test_what_a_file_holds_beside_a_weight_is_never_left_out_in_silence(unused, words):
    modules = ["", "layers.0.q_proj", "norm"]
    if words is None:
        causal.check_used("m", None, [unused], modules)
        return
    with pytest.raises(UserError, match=words):
        causal.check_used("m", "modelopt", [unused, "vision.patch.weight"], modules)


def test_weights_in_eight_bits_without_a_word_in_the_configuration_are_refused(tiny_model_path, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(tiny_model_path, tmp_path / "scaled")
    tensors = load_file(folder / "model.safetensors")
    name = next(name for name in tensors if name.endswith("q_proj.weight"))
    scale = tensors[name].abs().max() / 448
    tensors |= {name: (tensors[name] / scale).to(torch.float8_e4m3fn), f"{name}_scale": scale.reshape(1)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"q_proj\.weight_scale would be left out"):
        load_model(folder, CPU)
