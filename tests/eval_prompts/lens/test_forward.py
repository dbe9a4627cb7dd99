"""Matrix products of a pass over many tokens."""

from __future__ import annotations

from contextlib import AbstractContextManager
from unittest import mock

import pytest
import torch
from torch.nn import functional as F

from eval_prompts.lens import forward
from eval_prompts.lens.forward import OneDnnProducts

pytestmark = pytest.mark.skipif(not forward.has_onednn(), reason="torch was built without oneDNN")


def watched() -> AbstractContextManager[mock.Mock]:
    """oneDNN's product, its calls recorded."""
    return mock.patch.object(forward, "onednn_linear", wraps=forward.onednn_linear)


@pytest.mark.parametrize("shape", [(1, 1, 24), (2, 7, 24), (1, 33, 24), (5, 24), (24,)])
@pytest.mark.parametrize("biased", [False, True])
def test_products_are_those_of_torch(shape: tuple[int, ...], biased: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    x, weight = torch.randn(shape, generator=generator), torch.randn(40, 24, generator=generator)
    bias = torch.randn(40, generator=generator) if biased else None
    with torch.inference_mode(), watched() as taken:
        with OneDnnProducts():
            found = F.linear(x, weight, bias)
        torch.testing.assert_close(found, F.linear(x, weight, bias), rtol=1e-5, atol=1e-5)
    assert taken.call_count == 1


class OwnWeight(torch.Tensor):
    """A weight with products of its own, as quantised ones are."""


@pytest.mark.parametrize(
    ("x", "weight"),
    [
        (torch.ones(3, 4, dtype=torch.bfloat16), torch.ones(5, 4, dtype=torch.bfloat16)),
        (torch.ones(3, 4, dtype=torch.float64), torch.ones(5, 4, dtype=torch.float64)),
        (torch.ones(0, 4), torch.ones(5, 4)),
        (torch.ones(3, 4), torch.ones(5, 4).as_subclass(OwnWeight)),
    ],
)
def test_what_onednn_does_not_multiply_is_left_to_torch(x: torch.Tensor, weight: torch.Tensor) -> None:
    with torch.inference_mode(), mock.patch.object(forward, "onednn_linear") as taken, OneDnnProducts():
        found = F.linear(x, weight)
    assert not taken.called
    assert found.shape == (len(x), 5)


def test_lengths_share_their_kernels() -> None:
    weight = torch.ones(8, 4)
    with torch.inference_mode(), watched() as taken, OneDnnProducts():
        for rows in range(1, 41):
            assert F.linear(torch.ones(rows, 4), weight).shape == (rows, 8)
    assert {len(call.args[0]) for call in taken.call_args_list} == {16, 32, 48}
