"""What to do when memory runs out: smaller passes, then recomputation, then an honest end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuning.errors import UserError

CPU_PASS_TOKENS, GPU_PASS_TOKENS = 896, 4096
SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory", "alloc_failed")


def is_out_of_memory(error: BaseException) -> bool:
    """True for CUDA's, MPS's and the CPU allocator's ways of saying it."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in SIGNS)


def pass_size(device: str) -> int:
    """Tokens of one forward pass unless a run says otherwise: what a CPU's caches bear, or what keeps a GPU busy."""
    return CPU_PASS_TOKENS if device == "cpu" else GPU_PASS_TOKENS


@dataclass
class Budget:
    """How large a forward pass may be, as far as this run has learnt. It is kept in checkpoints."""

    tokens: int
    rows: int | None = None
    checkpointing: bool = False

    def tighten(self, lengths: Sequence[int], computed: int) -> str:
        """After a pass over rows of these lengths, ``computed`` tokens in all, ran out of memory: what to try next.

        Changes the budget and returns what it did, for the log. Raises UserError when one row alone, recomputed,
        does not fit.
        """
        if len(lengths) > 1:
            self.rows = len(lengths) // 2
            self.tokens = max(1, min(self.tokens, computed // 2))
            return (
                f"Out of memory with {len(lengths)} examples ({computed:,} tokens) in one pass: "
                f"the step is repeated with at most {self.rows} examples ({self.tokens:,} tokens)."
            )
        if not self.checkpointing:
            self.checkpointing = True
            return (
                f"Out of memory with a single example of {lengths[0]:,} tokens: "
                "the step is repeated with gradient checkpointing."
            )
        raise UserError(
            f"One example of {lengths[0]:,} tokens does not fit in memory, even alone and with gradient checkpointing: "
            "lower --max-tokens, hold the base in 4 bits (--quantize 4bit), or choose a smaller --model."
        )

    def to_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"tokens": self.tokens, "rows": self.rows, "checkpointing": self.checkpointing}


def release() -> None:
    """Give cached device memory back before the next try."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def used_megabytes(device: str) -> int:
    """Memory held by this process now: the device's peak allocation on CUDA, else resident memory (MiB)."""
    import psutil

    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() >> 20
    return int(psutil.Process().memory_info().rss) >> 20
