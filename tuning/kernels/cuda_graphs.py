"""Training passes recorded as CUDA graphs: the card gets a pass's thousands of small kernels in one launch.

Passes of a few thousand tokens are over on a GPU before Python has launched them. A graph holds for one size alone, so
micro-batches are padded up to a few sizes; a size is recorded when it is met for the second time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tuning.data.chat import Example
from tuning.kernels.memory import is_out_of_memory
from tuning.kernels.packed import Packed, Room, pack, room_for
from tuning.upstream.torch_operators import apply, multiplied_all

MOST_RECORDINGS = 24
SMALL_GRID, MOST_PADDING = 8192, 1.6
"""A grid of more slots than the first is padded to at most so many times what its rows need: a few long rows would pay
more for the padding than the launches cost."""

log = logging.getLogger(__name__)

INPUTS = ("ids", "positions", "keys", "to_grid", "from_grid", "label_at", "labels", "label_weights")


@dataclass(frozen=True)
class Recording:
    """A graph with the tensors that it reads and writes: its micro-batch, its summed loss, the factors' gradients."""

    graph: torch.cuda.CUDAGraph
    inputs: Packed
    loss: torch.Tensor
    gradients: Sequence[torch.Tensor]

    def run(self, packed: Packed) -> None:
        """Compute loss and gradients of another micro-batch of the same size."""
        for name in INPUTS:
            getattr(self.inputs, name).copy_(getattr(packed, name))
        self.graph.replay()


class Replayed(torch.autograd.Function):
    """The loss of a recorded pass; its gradients, made in the same go, are handed out in the backward pass."""

    @staticmethod
    def forward(ctx: Any, recording: Recording, packed: Packed, *factors: torch.Tensor) -> torch.Tensor:
        recording.run(packed)
        ctx.gradients = recording.gradients
        return recording.loss.clone()

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return None, None, *multiplied_all(ctx.gradients, scale)


class Recorder:
    """Runs ``compute`` (a micro-batch -> its summed loss) for gradients of ``factors``, recorded where it can be.

    All recordings share one pool of memory, since each is done with before the next runs.
    """

    def __init__(self, compute: Callable[[Packed], torch.Tensor], factors: Sequence[torch.Tensor]) -> None:
        self._compute, self._factors = compute, list(factors)
        self._met: set[Room] = set()
        self._recordings: dict[Room, Recording] = {}
        self._pool = torch.cuda.graph_pool_handle()
        self._on = True

    @property
    def recordings(self) -> int:
        """How many sizes are recorded now."""
        return len(self._recordings)

    def loss(self, examples: Sequence[Example], places: Sequence[int], prefix: int, key: int) -> torch.Tensor:
        """Summed loss of a micro-batch, to be followed by its backward pass before the next micro-batch."""
        device = self._factors[0].device.type
        if not self._on:
            return self._compute(pack(examples, places, prefix, key, device))
        room = room_for(examples, prefix)
        needed = len(examples) * max(map(len, examples))
        if room.rows * room.width > max(SMALL_GRID, MOST_PADDING * needed):
            return self._compute(pack(examples, places, prefix, key, device))
        packed = pack(examples, places, prefix, key, device, room)
        if room not in self._met:
            self._met.add(room)
            return self._compute(packed)
        recording = self._recordings.pop(room, None) or self._record(packed)
        if recording is None:
            return self._compute(packed)
        self._recordings[room] = recording
        if len(self._recordings) > MOST_RECORDINGS:
            del self._recordings[next(iter(self._recordings))]
        return apply(Replayed, recording, packed, *self._factors)

    def give_up(self) -> bool:
        """Free all recordings, and neither pad nor record any more; False if nothing was padded or recorded so far."""
        used = self._on and bool(self._met)
        self._on = False
        self._recordings.clear()
        return used

    def _record(self, packed: Packed) -> Recording | None:
        """The recording of a pass, or None where it fails, for want of memory most likely: then none is tried again."""
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                loss = self._compute(packed)
                gradients = torch.autograd.grad(loss, self._factors)
        except RuntimeError as error:
            torch.cuda.set_stream(stream)  # a recording whose end fails leaves its own stream in use
            self.give_up()
            reason = "there is no memory for it" if is_out_of_memory(error) else str(error).partition("\n")[0]
            log.warning("Passes are no longer recorded: %s", reason)
            return None
        return Recording(graph, packed, loss.detach(), gradients)
