"""Several devices, one run: every process trains its share of each step and the gradients are summed.

``torchrun`` and ``accelerate launch`` say who is who through the environment; without it there is one process, and
every function here costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Ranks:
    """This process's number among all, and its device's number on this machine."""

    rank: int = 0
    count: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes the files and talks to the user."""
        return self.rank == 0

    def add(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace fp32 tensors by their sums over all processes, in one exchange."""
        if self.count == 1:
            return
        import torch
        from torch import distributed

        flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
        distributed.all_reduce(flat)
        for tensor, summed in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(summed.view_as(tensor))

    def share(self, value: Any) -> Any:
        """The first process's value, in every process."""
        if self.count == 1:
            return value
        from torch import distributed

        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def wait(self) -> None:
        """Return once all processes have come this far."""
        self.share(None)


def from_environment() -> Ranks:
    """Who this process is, as its launcher says; joins nothing yet."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Ranks()
    return Ranks(int(os.environ["RANK"]), count, int(os.environ.get("LOCAL_RANK", "0")))


def join(ranks: Ranks, device: str) -> None:
    """Meet the other processes: over gloo on CPUs, over NCCL on CUDA devices."""
    if ranks.count == 1:
        return
    import torch
    from torch import distributed

    if device == "cuda":
        torch.cuda.set_device(ranks.local)
    if not distributed.is_initialized():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")


def leave(ranks: Ranks) -> None:
    """Part from the other processes."""
    if ranks.count == 1:
        return
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def device_name(wanted: str) -> str:
    """The kind of device that processes of a run will use."""
    from tuning.models.device import pick_device

    return pick_device(None if wanted == "auto" else wanted).name
