"""What transformers keeps to itself is still there, and still has no public name."""

import inspect

import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM, PreTrainedModel, modeling_gguf_pytorch_utils

from tuning.errors import UserError
from tuning.upstream.transformers_parts import gguf_progress, is_stateful


def test_the_share_of_a_gguf_is_told_and_the_bar_is_put_back():
    own, shares = modeling_gguf_pytorch_utils.tqdm, []
    with gguf_progress(shares.append):
        assert list(modeling_gguf_pytorch_utils.tqdm("abcd", desc="Converting")) == list("abcd")
    assert shares == [0, 0.25, 0.5, 0.75]
    assert modeling_gguf_pytorch_utils.tqdm is own


def test_transformers_takes_no_callback_for_it():
    names = " ".join(inspect.signature(modeling_gguf_pytorch_utils.load_gguf_checkpoint).parameters)
    assert "callback" not in names, "it does now: take that"
    assert "progress" not in names


def test_a_bar_that_is_gone_is_refused_in_one_sentence(monkeypatch):
    monkeypatch.delattr(modeling_gguf_pytorch_utils, "tqdm")
    with pytest.raises(UserError, match=r"does not know transformers .*the bar of"), gguf_progress(print):
        pass


def test_a_recurrent_model_is_known_by_its_mark(monkeypatch):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "vocab_size": 16, "state_size": 2, "conv_kernel": 2}
    model = MambaForCausalLM(MambaConfig(**sizes))
    assert is_stateful(model)
    assert not is_stateful(torch.nn.Linear(1, 1))
    assert not hasattr(PreTrainedModel, "is_stateful"), "it is public now: take that"
    monkeypatch.delattr(PreTrainedModel, "_is_stateful")
    with pytest.raises(UserError, match="_is_stateful"):
        is_stateful(model)
