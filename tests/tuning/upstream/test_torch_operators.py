"""torch's operators without a public name: right, still nameless, and refused in words where they have changed."""

import pytest
import torch
from torch.nn import functional as F

from tuning.errors import UserError
from tuning.upstream import torch_operators
from tuning.upstream.torch_operators import Operator


@pytest.mark.skipif(not torch_operators.has_onednn(), reason="this torch has no oneDNN")
def test_onednn_multiplies_as_torch_does_and_torch_still_goes_elsewhere():
    x, weight = torch.randn(10, 64), torch.randn(48, 64)
    wanted = F.linear(x, weight)
    torch.testing.assert_close(torch_operators.onednn_linear(x, weight), wanted)
    torch.testing.assert_close(
        torch_operators.onednn_linear(x, torch_operators.onednn_layout(weight, 10)), wanted, rtol=1e-5, atol=1e-5
    )
    with torch.profiler.profile() as profile:
        F.linear(x, weight)
    used = {event.key for event in profile.key_averages()}
    assert not any("mkldnn" in name for name in used), "F.linear takes oneDNN for fp32 now: measure whether ours can go"


def test_four_bit_weights_are_multiplied_as_they_are_decoded():
    codes = torch.randint(0, 16, (32, 64), dtype=torch.int32)
    scales = torch.ones(2, 32, 2, dtype=torch.bfloat16)
    scales[..., 1] = 0
    x = torch.ones(1, 64, dtype=torch.bfloat16)
    product = torch_operators.int4_linear(x, torch_operators.int4_layout(codes), 32, scales)
    wanted = F.linear(x.float(), codes.float() - 8)
    torch.testing.assert_close(product.float(), wanted, rtol=0.01, atol=2)


def test_gradients_are_those_of_autograd():
    scores = torch.randn(3, 5, requires_grad=True)
    chances, wanted = torch.softmax(scores, -1), torch.randn(3, 5)
    chances.backward(wanted)
    torch.testing.assert_close(torch_operators.softmax_gradient(wanted, chances.detach()), scores.grad)
    x = torch.randn(3, 5, requires_grad=True)
    F.silu(x).backward(wanted)
    torch.testing.assert_close(torch_operators.silu_gradient(wanted, x.detach()), x.grad)


def test_lists_of_tensors_are_divided_and_multiplied():
    tensors = [torch.full((2,), 6.0), torch.full((3,), 9.0)]
    torch_operators.divide_all(tensors, 3)
    assert [tensor.tolist() for tensor in tensors] == [[2, 2], [3, 3, 3]]
    assert [t.tolist() for t in torch_operators.multiplied_all(tensors, torch.tensor(2.0))] == [[4, 4], [6, 6, 6]]


@pytest.mark.parametrize("name", ["softmax_backward_data", "silu_backward", "foreach_div_", "foreach_mul"])
def test_torch_offers_them_under_no_public_name(name):
    assert not hasattr(torch, name)
    assert not hasattr(F, name), "it is public now: take that"


@pytest.mark.parametrize(
    "changed",
    [
        Operator("aten", "_gone", "default", "self"),
        Operator("aten", "silu_backward", "gone", "self"),
        Operator("aten", "silu_backward", "default", "grad_output self another"),
    ],
)
def test_an_operator_that_has_changed_is_refused_in_one_sentence(changed):
    with pytest.raises(UserError, match=r"LoRA Lens does not know torch 2.*is not what it was"):
        changed.call(torch.zeros(1))
