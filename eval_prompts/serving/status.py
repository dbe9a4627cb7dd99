"""What the app is doing, as one value for people and programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from eval_prompts.models.adapters import AdapterCard, public_name

if TYPE_CHECKING:
    from eval_prompts.models.pair import Side

LifeState = Literal["loading", "ready", "failed"]


@dataclass(frozen=True)
class Status:
    """What the app is doing, for people (``message``) and programs.

    ``device`` names the precision that answers too; ``memory_mb`` counts the weights that answer, in MiB.
    """

    state: LifeState
    message: str
    progress: float | None
    model: str
    origin: str
    device: str
    adapter: AdapterCard | None
    """What answers as tuned; its ``kind`` is "model" where that is a whole model."""
    base_is_base: bool | None
    memory_mb: int
    answering: int
    queued: int
    uptime_seconds: float
    version: str
    fingerprint: str = ""
    """Tells the base model's weights from all others."""
    against: AdapterCard | None = None
    """The adapter of the side named base, where two adapters are compared; then ``base_is_base`` is None."""
    notes: tuple[str, ...] = ()
    """What a user must know of how answers are made, in sentences: the chat template, the model's own generation
    settings, the decoder and its precision."""
    without_system: tuple[str, ...] = ()
    """What a user must know, too, of questions that go out without a system text."""
    prompts: tuple[tuple[Side, str], ...] = ()
    """What each side is asked, by an example, where the two are asked differently; else empty."""

    @property
    def rounds(self) -> bool:
        """Whether answers are computed in int8, with rounded inputs: then options are read so, too."""
        return self.device.endswith(" int8")

    def notes_for(self, system: str | None) -> tuple[str, ...]:
        """What a user must know of questions that go out behind the system text ``system``, or none."""
        return self.notes if system else (*self.notes, *self.without_system)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; models and adapters without their places on this machine."""
        cards = {"adapter": self.adapter, "against": self.against}
        public = {name: card and card.to_dict() for name, card in cards.items()}
        return asdict(self) | public | {"model": public_name(self.model)}


def same_models(one: Status, other: Status) -> bool:
    """Whether both tell of the same loaded models, and not of the same adapter loaded again in between."""
    return one.adapter is other.adapter and one.against is other.against and one.fingerprint == other.fingerprint
