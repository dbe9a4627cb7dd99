"""Which device computes, and in which precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuning.errors import UserError

if TYPE_CHECKING:
    import torch

DEVICE_WORDS = {"cuda": "card", "mps": "Mac", "cpu": "processor"}
PRECISION_LABELS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


@dataclass(frozen=True)
class Device:
    """``name`` as torch knows it ('cuda', 'mps' or 'cpu'), and the dtype that models are held in there."""

    name: str
    dtype: torch.dtype

    @property
    def label(self) -> str:
        """In words for people: 'CPU fp32'."""
        return f"{self.name.upper()} {PRECISION_LABELS[str(self.dtype).removeprefix('torch.')]}"


def pick_device(name: str | None = None, precision: str = "auto") -> Device:
    """The named device, or the best one here: CUDA in bf16 (fp16 where the card lacks bf16), MPS fp16, CPU fp32.

    ``precision`` fp32 or bf16 holds the weights so everywhere. Raises UserError for a name that is unknown or not
    available on this machine, and for bf16 where the device would only imitate it.
    """
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    chosen = name or next(key for key, here in available.items() if here)
    if not available.get(chosen, False):
        here = ", ".join(key for key, present in available.items() if present)
        raise UserError(f"Device {chosen!r} is not available here: choose one of {here}.")
    if precision == "fp32":
        return Device(chosen, torch.float32)
    if precision == "bf16":
        if not has_bf16(chosen):
            raise UserError(f"This {DEVICE_WORDS[chosen]} does not compute in bf16: choose auto or fp32.")
        return Device(chosen, torch.bfloat16)
    if chosen == "cuda":
        return Device(chosen, torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16)
    return Device(chosen, torch.float16 if chosen == "mps" else torch.float32)


def has_bf16(name: str) -> bool:
    """Whether a device multiplies in bf16 itself: on a CPU the instructions of AVX-512 BF16, AMX or ARM's."""
    import torch

    if name == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if name == "mps":
        return bool(torch.backends.mps.is_macos_or_newer(14, 0))
    found = torch.cpu.get_capabilities()
    return any(bool(found.get(instructions)) for instructions in ("avx512_bf16", "amx_bf16", "bf16"))
