"""Weights in 4 or 8 bits with a scale for every 32 inputs, multiplied with activations rounded to bf16."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tuning.upstream.torch_operators import int4_layout, int4_linear

GROUP = 32
LEVELS = 16
SPLIT_ROWS = 4096
OUTPUT_BLOCK = 64
EXACT = 1e-3


class GroupedWeight:
    """A matrix [out, in] held in 4 bits where its values are so few, as those of a Q4_1 file are, and else in 8.

    Eight bits are two products of four, the higher half and the lower one side by side, summed in one pass in fp32.
    """

    def __init__(self, weight: torch.Tensor) -> None:
        """``weight`` is fp32; see :func:`can_group` for what fits."""
        coded = packed_codes(weight, four_bits) or packed_codes(weight, eight_bits)
        if coded is None:
            raise ValueError("The weight has more values than 8 bits hold.")
        self._codes, self._scales = coded
        self._planes = self._scales.shape[0] * GROUP // weight.shape[1]
        self.bits = 4 * self._planes

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self._codes.nbytes + self._scales.nbytes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``x @ weight.T`` in fp32 for ``x`` [rows, in]; the inputs and each output are rounded to bf16 once."""
        halves = x.bfloat16()
        if self._planes == 2:
            halves = torch.cat((halves, halves), dim=-1)
        return int4_linear(halves, self._codes, GROUP, self._scales).float()


def packed_codes(
    weight: torch.Tensor, code: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor] | None]
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Codes in the kernel's layout, and scales, of a weight coded piece by piece; None if ``code`` gives none."""
    codes, scales = [], []
    for part in weight.split(SPLIT_ROWS):
        coded = code(part)
        if coded is None:
            return None
        codes.append(int4_layout(coded[0]))
        scales.append(coded[1])
    return torch.cat(codes), torch.cat(scales, dim=1)


def can_group(weight: torch.Tensor) -> bool:
    """True if torch has the kernel for this shape and this processor can run it fast."""
    fits = weight.shape[0] % OUTPUT_BLOCK == 0 and weight.shape[1] % GROUP == 0
    return fits and weight.dtype == torch.float32 and processor_can_group(weight.device)


def processor_can_group(device: torch.device) -> bool:
    """True for x86 with AVX2 or AVX-512: elsewhere torch multiplies such weights number by number."""
    return device.type == "cpu" and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


def four_bits(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Codes [out, in] of 0 to 15, and scale and offset [groups, out, 2]; None if rounding would lose anything.

    In each group the lowest and highest value are the lowest and highest level, as Q4_1 has it.
    """
    blocks = weight.view(weight.shape[0], -1, GROUP)
    low, high = blocks.aminmax(dim=-1, keepdim=True)
    scale = ((high - low) / (LEVELS - 1)).clamp_min(torch.finfo(torch.float32).tiny)
    levels = (blocks - low) / scale
    codes = levels.round()
    if (levels.sub_(codes).abs_() > EXACT * LEVELS).any():
        return None
    rounded = scale.bfloat16().float()
    offset = (blocks - (codes - LEVELS // 2) * rounded).mean(dim=-1, keepdim=True)
    return codes.int().view_as(weight), interleaved(rounded, offset)


def eight_bits(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes [out, 2 in] of 0 to 15, the higher halves first, and their scales and offsets [2 groups, out, 2].

    Symmetric, with 127 steps to the largest value of a group, as Q8_0 has it: what comes from there loses nothing
    but the scale's last bits.
    """
    blocks = weight.view(weight.shape[0], -1, GROUP)
    scale = blocks.abs().amax(dim=-1, keepdim=True) / 127
    codes = (blocks / scale.clamp_min(torch.finfo(torch.float32).tiny)).round().int() + 128
    high, low = codes // LEVELS, codes % LEVELS
    rounded = scale.bfloat16().float()
    scales = torch.cat(
        (interleaved(LEVELS * rounded, torch.zeros_like(rounded)), interleaved(rounded, LEVELS // 2 * rounded))
    )
    return torch.cat((high.view_as(weight), low.view_as(weight)), dim=1), scales


def interleaved(scale: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    """[out, groups, 1] each to [groups, out, 2] in bf16, as the kernel reads them."""
    return torch.cat((scale, offset), dim=-1).transpose(0, 1).contiguous().bfloat16()
