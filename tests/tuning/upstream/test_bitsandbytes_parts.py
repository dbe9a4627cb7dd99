"""How bitsandbytes holds its weights, as far as we read it."""

import inspect

import pytest
import torch

from tuning.errors import UserError
from tuning.upstream.bitsandbytes_parts import dequantised, is_quantised, keep_weight_layout

bitsandbytes = pytest.importorskip("bitsandbytes")


def four_bit():
    layer = bitsandbytes.nn.Linear4bit(64, 64, bias=False, quant_type="nf4", compute_dtype=torch.float32)
    plain = torch.randn(64, 64)
    layer.load_state_dict({"weight": plain})
    return layer.to("cpu"), plain


def test_a_weight_in_four_bits_is_known_and_decoded():
    layer, plain = four_bit()
    if not is_quantised(layer):
        pytest.skip("this bitsandbytes quantises on a GPU alone")
    assert (dequantised(layer) - plain).abs().max() < 0.6
    assert not is_quantised(torch.nn.Linear(4, 4))


def test_weights_are_not_repacked():
    layer, _ = four_bit()
    keep_weight_layout(layer)
    assert layer.support_avx512bf16_for_cpu is False
    assert "and self.support_avx512bf16_for_cpu" in inspect.getsource(type(layer).forward), "it asks no longer"


def test_a_decoder_that_has_changed_is_refused_in_one_sentence(monkeypatch):
    layer, _ = four_bit()
    if not is_quantised(layer):
        pytest.skip("this bitsandbytes quantises on a GPU alone")
    monkeypatch.setattr("bitsandbytes.functional.dequantize_4bit", lambda state, tensor: None)
    with pytest.raises(UserError, match=r"does not know bitsandbytes .*dequantize_4bit"):
        dequantised(layer)
