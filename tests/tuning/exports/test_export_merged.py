"""The base with an adapter merged in: the logits of training and asking, also where head and embedding are one."""

from __future__ import annotations

import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from tests.tuning.exports.gguf_models import QUESTIONS, build_tokenizer, make_subject
from tuning.errors import UserError
from tuning.exports import formats, subject


@pytest.mark.parametrize(
    ("targets", "apart"),
    [(["q_proj", "v_proj"], False), (["q_proj", "lm_head"], True), (["q_proj", "embed_tokens"], True)],
)
def test_a_merged_model_has_the_logits_of_the_adapter_over_the_base(whole, tiny_model_path, tmp_path, targets, apart):
    config = LoraConfig(r=4, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM")
    torch.manual_seed(3)
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model_path), config).eval()
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.2)
    (whole.adapter / "adapter_model.safetensors").unlink()
    tuned.save_pretrained(whole.adapter)
    folder = formats.export(subject.of_run(whole), tmp_path / "merged", "merged", "fp32", check=False).path
    ids = torch.tensor([[1, 20, 30, 40]])
    with torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(folder).eval()
        again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model_path), whole.adapter).eval()
        torch.testing.assert_close(merged(ids).logits, tuned(ids).logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(merged(ids).logits, again(ids).logits, rtol=1e-4, atol=1e-4)
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert ("lm_head.weight" in file.keys()) == apart  # noqa: SIM118


def test_a_merged_model_ends_its_answers_by_itself_where_its_base_would_not(short, tmp_path):
    """A base's settings often list its own end and not that of the chat it was tuned to; ``generate`` goes by them."""
    made = make_subject(tmp_path, tokenizer=build_tokenizer("<|fin|>"))
    settings = made.weights.path / "generation_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"eos_token_id": 0}))
    exported = formats.export(made, tmp_path / "merged", "merged", "fp32", questions=QUESTIONS)
    assert exported.certificate.colour == "green"
    assert json.loads((tmp_path / "merged" / "generation_config.json").read_text())["eos_token_id"] == [0, 2]
    assert "generation_config.json lists <|fin|> as an end, too, as training did." in exported.notes


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_an_adapter_that_changed_its_base_s_own_weights_is_refused(tmp_path, start):
    """Over the plain base it is another model: its certificate would be green, for the wrong one."""
    made = make_subject(tmp_path, init_lora_weights=start)
    with pytest.raises(UserError, match="path_initial_model_for_weight_conversion"):
        formats.export(made, tmp_path / "merged", "merged", "fp32", check=False)
    assert not (tmp_path / "merged").exists()
