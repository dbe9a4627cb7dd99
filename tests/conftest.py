"""Shared fixtures: a tiny random Llama with a chat tokenizer, and the real 135M model where it matters."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.tiny_llama import save_llama

# No example may take this long, however busy the machine: it guards against work that never ends, not against slowness.
settings.register_profile("lora-lens", deadline=timedelta(seconds=20))
settings.load_profile("lora-lens")

# Tiny models gain nothing by a second thread, and threads of several workers wait for each other at work.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("NO_PROXY", "127.0.0.1,localhost")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``-n`` a file's tests share a process, and so do all that visit running apps: those share the apps, which
    are slow to start. Marks of groups would do the same, were xdist 3.8 able to name groups under pytest 9.2."""
    from xdist.scheduler import LoadFileScheduling

    class SharedApps(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "tests/app" if file.startswith("tests/app/") else file

    return SharedApps(config, log)


CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
WITH_OWN_SYSTEM_TEXT = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are Bot.<|im_end|>\n{% endif %}" + CHAT_TEMPLATE
)


def build_tokenizer(pad_is_end: bool):
    """A byte-level tokenizer with SmolLM2's control tokens; its pad is its end token, as SmolLM2's is, or not."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(control + alphabet)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        unk_token="<|endoftext|>",
        pad_token="<|im_end|>" if pad_is_end else "<|pad|>",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


@pytest.fixture(scope="session")
def tiny_tokenizer():
    """The tiny model's tokenizer; like SmolLM2's, its pad token is its end token."""
    return build_tokenizer(pad_is_end=True)


@pytest.fixture(scope="session")
def tiny_tokenizer_own_pad():
    """The same with a pad token of its own."""
    return build_tokenizer(pad_is_end=False)


@pytest.fixture(scope="session")
def tiny_model_path(tmp_path_factory, tiny_tokenizer) -> Path:
    """A folder with a random two-layer Llama (grouped-query attention, tied head) and its tokenizer. Read only."""
    return save_llama(tmp_path_factory.mktemp("tiny-llama"), tiny_tokenizer, seed=7)


@pytest.fixture(scope="session")
def tiny_adapter_path(tmp_path_factory, tiny_model_path) -> Path:
    """A random (non-zero) LoRA adapter for the tiny model in peft's format. Read only."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model_path)
    config = LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"], task_type="CAUSAL_LM"
    )
    torch.manual_seed(11)
    tuned = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    path = tmp_path_factory.mktemp("tiny-adapter")
    tuned.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def smollm_path() -> Path:
    """The real SmolLM2-135M-Instruct, from the cache or fetched once."""
    from tuning.models.weights import resolve

    return resolve("smollm2-135m").path
