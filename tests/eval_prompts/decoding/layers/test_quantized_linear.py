"""Weights in groups of 32: nothing is lost where 4 bits suffice, little in 8 bits, and products are those of bf16."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eval_prompts.decoding.layers.matmul import DenseWeight, OneDnnWeight, packed
from eval_prompts.decoding.layers.quantized_linear import GROUP, GroupedWeight, can_group, four_bits

SEEDS = st.integers(0, 2**32 - 1)


def random_weight(seed: int, outputs: int, width: int) -> torch.Tensor:
    return torch.randn(outputs, width, generator=torch.Generator().manual_seed(seed)) * 0.1


def as_q4_1(weight: torch.Tensor) -> torch.Tensor:
    """What is left of a weight in a Q4_1 file: 16 levels for each 32 inputs, scale and minimum in fp16."""
    blocks = weight.view(weight.shape[0], -1, GROUP)
    low, high = blocks.aminmax(dim=-1, keepdim=True)
    scale = (high - low) / 15
    codes = ((blocks - low) / scale).round()
    return (codes * scale.half().float() + low.half().float()).view_as(weight)


def relative_error(product, weight: torch.Tensor, rows: int) -> float:
    """Of the outputs, for inputs that bf16 holds exactly."""
    x = torch.randn(rows, weight.shape[1]).bfloat16().float()
    expected = x.double() @ weight.double().t()
    return ((product(x) - expected).norm() / expected.norm()).item()


@settings(max_examples=30)
@given(SEEDS, st.sampled_from([64, 192]), st.sampled_from([32, 96, 576]))
def test_what_comes_from_q4_1_is_held_in_four_bits_without_loss(seed, outputs, width):
    weight = as_q4_1(random_weight(seed, outputs, width))
    codes, scales = four_bits(weight)
    scale, offset = scales.double().transpose(0, 1).unbind(-1)
    values = (codes.double() - 8).view(outputs, -1, GROUP) * scale[..., None] + offset[..., None]
    step = scale.max().item()
    assert (values.view_as(weight) - weight).abs().max() < 0.06 * step  # the last bits of a bf16 scale
    assert GroupedWeight(weight).bits == 4


@settings(max_examples=20)
@given(SEEDS, st.integers(1, 20))
def test_products_differ_from_exact_ones_by_roundings_to_bf16(seed, rows):
    weight = random_weight(seed, 128, 576)
    grouped, coarse = GroupedWeight(weight), GroupedWeight(as_q4_1(weight))
    assert (grouped.bits, coarse.bits) == (8, 4)
    assert relative_error(coarse, as_q4_1(weight), rows) < 0.005
    assert relative_error(grouped, weight, rows) < 0.01


def test_a_weight_larger_than_one_piece_is_the_sum_of_its_pieces():
    weight = random_weight(3, 4096 + 64, 64)
    x = torch.randn(5, 64)
    whole = GroupedWeight(weight)(x)
    assert torch.equal(whole[:, :4096], GroupedWeight(weight[:4096])(x))
    assert torch.equal(whole[:, 4096:], GroupedWeight(weight[4096:])(x))


def test_a_group_of_zeros_or_of_one_value_stays_what_it_is():
    weight = random_weight(4, 64, 96)
    weight[:, :32] = 0
    weight[:, 32:64] = 0.25
    outputs = GroupedWeight(weight)(torch.eye(96))
    assert torch.equal(outputs[:32], torch.zeros(32, 64))
    torch.testing.assert_close(outputs[32:64], torch.full((32, 64), 0.25), rtol=0.01, atol=0)


@pytest.mark.parametrize("shape", [(64, 48), (100, 64)])
def test_shapes_without_a_kernel_are_held_in_fp32(shape):
    weight = random_weight(5, *shape)
    assert not can_group(weight)
    product = packed([weight], "int8")
    assert isinstance(product, OneDnnWeight | DenseWeight)
    x = torch.randn(3, shape[1])
    torch.testing.assert_close(product(x), x @ weight.t())


@settings(max_examples=30)
@given(SEEDS, st.integers(1, 40), st.lists(st.sampled_from([16, 40, 64]), min_size=1, max_size=3))
def test_fp32_products_are_exact_for_one_and_for_several_weights(seed, rows, outputs):
    weights = [random_weight(seed + n, out, 48) for n, out in enumerate(outputs)]
    x = random_weight(seed, rows, 48)
    expected = x @ torch.cat(weights).t()
    torch.testing.assert_close(packed(weights, "fp32")(x), expected)
    torch.testing.assert_close(DenseWeight(weights)(x), expected)
