"""What a :class:`eval_prompts.serving.lens.Lens` is composed of: a loader, and the models that it serves once loaded.

There are three kinds of both: in this process (:mod:`eval_prompts.serving.local`), at endpoints on other machines
(:mod:`eval_prompts.serving.remote`), and on a GPU borrowed for each request (``space_config/space/zero_gpu.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from eval_prompts.decoding.backend import Backend
    from eval_prompts.lens.token_lens import Reading
    from eval_prompts.models.adapters import AdapterCard
    from eval_prompts.models.pair import Pair, Side
    from eval_prompts.models.strength import Strength
    from eval_prompts.stream import Stream
    from tuning.data.chat import Message


@dataclass(frozen=True)
class Facts:
    """What is known of the models: their part of :class:`eval_prompts.serving.status.Status`, field by field."""

    model: str
    origin: str = ""
    device: str = ""
    adapter: AdapterCard | None = None
    against: AdapterCard | None = None
    base_is_base: bool | None = None
    memory_mb: int = 0
    fingerprint: str = ""
    notes: tuple[str, ...] = ()
    without_system: tuple[str, ...] = ()
    prompts: tuple[tuple[Side, str], ...] = ()


class Report(Protocol):
    """Takes a loader's progress: one line in words, and a share from 0 to 1 where there is one."""

    def __call__(self, message: str, progress: float | None = None) -> None: ...


class Served(Protocol):
    """Loaded models, which answer. All methods may be called from any thread."""

    @property
    def pair(self) -> Pair | None:
        """Both models, where they are in this process."""

    @property
    def trained(self) -> Pair | None:
        """Both models, the adapter as trained whatever it is dialled to, where they are in this process."""

    @property
    def answering(self) -> int:
        """Answers being computed now."""

    @property
    def queued(self) -> int:
        """Answers that wait for their turn."""

    def facts(self) -> Facts:
        """What is known of the models now. Never blocks."""

    def submit(self, stream: Stream) -> None:
        """Have a request answered, laid out for the adapter that is in use now. Raises UserError if it cannot be."""

    def reload(self, adapter: str | None, against: str | None = None) -> AdapterCard | None:
        """Put another adapter on the tuned side. Raises UserError, and changes nothing, if that is not possible."""

    def read(self, messages: Sequence[Message], text: str, ended: bool) -> Reading:
        """A text as both models see it, where they are on other machines. Raises UserError if they do not tell."""

    def pair_at(self, strength: float) -> Pair:
        """Both models, the adapter at a strength whatever it is dialled to. Raises UserError if it cannot be scaled."""

    def at_strengths(self, strengths: Sequence[float]) -> Mapping[float, Backend]:
        """Decoders for a request at these strengths of the adapter as trained; none for those that the decoder in use
        takes row by row. Raises UserError if the adapter cannot be scaled."""

    def set_strength(self, strength: Strength) -> AdapterCard | None:
        """Have the adapter speak at another strength. Raises UserError, and changes nothing, if it cannot."""

    def close(self) -> None:
        """End all answers."""


class Loader(Protocol):
    """Loads the models, in the thread that calls it."""

    @property
    def failed(self) -> str:
        """What people read where loading fails in a way that nobody foresaw; the log says more."""

    def begin(self) -> None:
        """Called once, in the thread that starts the app, before :meth:`load`."""

    def facts(self) -> Facts:
        """What is known of the models before they are loaded."""

    def load(self, report: Report, on_broken: Callable[[str], None]) -> Served:
        """The models, ready to answer. ``on_broken`` is told, in one sentence, if they stop answering for good.

        Raises UserError if they cannot be loaded.
        """
