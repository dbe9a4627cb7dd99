"""Figures of a low-rank change against the same figures of the change written out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft.tuners.lora import LoraLayer
from torch import nn

from eval_prompts.lens import weight_change
from eval_prompts.models.lora_linear import LowRank

sizes = st.integers(2, 24)


def random_change(out: int, inner: int, rank: int, seed: int, size: float = 1.0) -> LowRank:
    noise = torch.Generator().manual_seed(seed)
    return LowRank(
        torch.randn(rank, inner, generator=noise), torch.randn(out, rank, generator=noise) * size / inner**0.5
    )


@given(out=sizes, inner=sizes, rank=st.integers(1, 30), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_singular_values_are_those_of_the_whole_change(out, inner, rank, seed):
    change = random_change(out, inner, rank, seed)
    values = weight_change.singular_values(change)
    whole = torch.linalg.svdvals(change.up.double() @ change.down.double())
    torch.testing.assert_close(values, whole[: len(values)], rtol=1e-9, atol=1e-9)
    assert not whole[len(values) :].gt(1e-9).any()


def test_the_effective_rank_counts_equal_directions():
    assert weight_change.effective_rank(torch.ones(5)) == pytest.approx(5)
    assert weight_change.effective_rank(torch.tensor([3.0, 0.0, 0.0])) == pytest.approx(1)
    assert weight_change.effective_rank(torch.zeros(4)) == 0


@given(out=sizes, inner=sizes, seed=st.integers(0, 99))
@settings(max_examples=40)
def test_directions_are_the_singular_value_decomposition(out, inner, seed):
    weight = torch.randn(out, inner, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = weight_change.directions_of(weight)
    torch.testing.assert_close(found.values, torch.linalg.svdvals(weight), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.left * found.values @ found.right.T, weight, rtol=1e-6, atol=1e-6)


def test_a_change_along_the_weights_own_directions_is_aligned_and_a_random_one_is_not():
    weight = torch.randn(60, 40, generator=torch.Generator().manual_seed(1))
    left, _, right = torch.linalg.svd(weight, full_matrices=False)
    directions = weight_change.directions_of(weight)
    assert weight_change.alignment(LowRank(right[:4] * 0.1, left[:, :4]), directions) == pytest.approx(1, abs=1e-5)
    assert weight_change.alignment(random_change(60, 40, 4, 2), directions) < 0.1
    assert weight_change.alignment(LowRank(right[:4] * 0, left[:, :4]), directions) == 0


def intruders_by_peft(weight: torch.Tensor, change: LowRank) -> int:
    """How many intruder dimensions peft's own mitigation reports for a layer with this change."""
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora.intruders import reduce_intruder_dimension

    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.only = nn.Linear(weight.shape[1], weight.shape[0], bias=False)

    rank = change.down.shape[0]
    model = get_peft_model(One(), LoraConfig(r=rank, lora_alpha=rank, target_modules=["only"]))
    (layer,) = (module for module in model.modules() if isinstance(module, LoraLayer))
    layer.get_base_layer().weight.data = weight.clone()
    layer.lora_A["default"].weight.data = change.down.clone()
    layer.lora_B["default"].weight.data = change.up.clone()
    lines: list[str] = []
    reduce_intruder_dimension(model, logging_sink=lines.append)
    (line,) = (line for line in lines if "ntruders" in line)
    return 0 if "No intruders" in line else int(line.rpartition(" ")[2])


@pytest.mark.parametrize("size", [0.01, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("shape", [(48, 32), (32, 48), (40, 40)])
def test_intruders_are_as_many_as_peft_finds(shape, size):
    weight = torch.randn(*shape, generator=torch.Generator().manual_seed(3)) / 5
    change = random_change(*shape, 3, 4, size)
    ours = weight_change.intruder_count(change, weight, weight_change.directions_of(weight))
    assert ours == intruders_by_peft(weight, change)
