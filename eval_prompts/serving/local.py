"""The pair in this process: loaded from a folder, a preset or the Hub, answered by the engine, adapters swapped.

Importing this module is cheap: torch and transformers are imported by the thread that loads.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from eval_prompts.models.strength import Strength
from eval_prompts.serving.served import Facts, Report
from eval_prompts.serving.template_notes import prompts_apart, template_notes, template_systems
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.decoding.backend import Backend
    from eval_prompts.decoding.engine import Engine
    from eval_prompts.lens.token_lens import Reading
    from eval_prompts.models.adapters import AdapterCard
    from eval_prompts.models.pair import Pair
    from eval_prompts.stream import Stream
    from tuning.data.chat import Message
    from tuning.models.device import Device
    from tuning.models.weights import Choices, Weights

log = logging.getLogger(__name__)

TWO_TUNED_SIDES = (
    "The tuned side is an adapter or a whole model: give --adapter or --tuned-model, not both. An adapter of that "
    "model is compared with it by --model and --adapter."
)

ROUNDED = "bf16: the weights are stored more finely than that, and are rounded."

T = TypeVar("T")
Precision = Literal["auto", "bf16", "fp32", "int8"]
Quantize = Literal["4bit", "8bit"]


@dataclass
class LocalLoader:
    """Names the pair to load: a base model (preset, folder, GGUF file or Hub id), and as the tuned side an adapter on
    it (folder, Hub id, or 'starter') or another whole model, named as the base is; None for neither. ``device`` is the
    best one here where it is None. Raises UserError where both an adapter and a model are named."""

    model: str = "smollm2-135m"
    adapter: str | None = "starter"
    device: str | None = None
    quantize: Quantize | None = None
    precision: Precision = "auto"
    prefer_hub: bool = False
    choices: Choices | None = None
    failed: str = "Loading failed, and the server's log says why: choose another model, or start the app again."
    tuned_model: str | None = None
    weights: Weights | None = field(default=None, init=False)
    """Where the base model is from, once it is found."""

    def __post_init__(self) -> None:
        if self.adapter is not None and self.tuned_model is not None:
            raise UserError(TWO_TUNED_SIDES)

    def begin(self) -> None:
        """Nothing to do beforehand."""

    def facts(self) -> Facts:
        """The model's name, and where its weights are from once they are found."""
        if self.weights is None:
            return Facts(self.model)
        return Facts(self.model, self.weights.origin, fingerprint=self.weights.fingerprint)

    @property
    def follows_defaults(self) -> bool:
        """Whether answers follow the model's own generation settings."""
        return self.choices is not None and self.choices.generation_defaults

    def _held(self, device: Device, folders: Sequence[Path]) -> tuple[Device, list[str]]:
        """The precision in which the weights are held, and what is to be said of it."""
        from tuning.models.causal import free_bytes
        from tuning.models.needs import NO_ROOM, held_in, of_weights

        needs = [of_weights(folder.name, folder, device.dtype.itemsize) for folder in folders]
        if self.precision == "bf16":
            return device, [] if all(need.in_bf16 for need in needs) else [ROUNDED]
        held = held_in(device, self.precision, self.quantize, needs, free_bytes(device.name))
        return held, [NO_ROOM] if held is not device else []

    def load(self, report: Report, on_broken: Callable[[str], None]) -> LocalModels:
        """Find and load both models. Raises UserError if one of them cannot be used; the message names the reason."""
        report("loading the libraries")
        from eval_prompts.decoding.choice import make_backend
        from eval_prompts.decoding.engine import Engine
        from eval_prompts.decoding.generation_defaults import SideDefaults
        from eval_prompts.models.loading import load_sides
        from tuning.models.device import pick_device
        from tuning.models.weights import Choices, resolve

        report("finding the weights")
        choices = self.choices or Choices()
        weights = resolve(self.model, prefer_hub=self.prefer_hub, on_progress=report, choices=choices)
        self.weights = weights
        log.info("weights: %s", weights.origin)
        tuned = None
        if self.tuned_model is not None:
            tuned = resolve(self.tuned_model, prefer_hub=self.prefer_hub, on_progress=report, choices=choices)
            log.info("the tuned side's weights: %s", tuned.origin)
        report("loading the weights")
        folders = [weights.path, *([tuned.path] if tuned else [])]
        device, held = self._held(pick_device(self.device, self.precision), folders)
        pair = load_sides(weights, device, self.adapter, tuned, quantize=self.quantize, report=report)
        defaults = SideDefaults.of(weights.path, tuned.path if tuned else None)
        followed = defaults if self.follows_defaults else None
        backend = make_backend(pair, self.precision)
        engine = Engine(backend, pair.tokenizers, on_broken=on_broken, defaults=followed)
        notes = (*held, *defaults.notes(followed is not None))
        return LocalModels(self, weights, pair, engine, notes, tuned)


class LocalModels:
    """The pair that answers now, and its engine."""

    def __init__(
        self,
        loader: LocalLoader,
        weights: Weights,
        pair: Pair,
        engine: Engine,
        notes: tuple[str, ...] = (),
        tuned_weights: Weights | None = None,
    ) -> None:
        """``notes`` are what people must know of the models, in sentences; ``tuned_weights`` are those of the tuned
        side where that began as a whole model."""
        self.loader, self.weights, self.engine = loader, weights, engine
        self.tuned_weights = tuned_weights
        self._pair = self._trained = pair
        self._strength = Strength()
        self._notes = notes
        self._lock = threading.Lock()
        self._reloading = threading.Lock()

    @property
    def pair(self) -> Pair:
        """Both models, as new questions are put to them."""
        return self._pair

    @property
    def trained(self) -> Pair:
        """Both models, the adapter as trained whatever it is dialled to."""
        return self._trained

    @property
    def answering(self) -> int:
        """Answers being computed now."""
        return self.engine.answering

    @property
    def queued(self) -> int:
        """Answers that wait for a place."""
        return self.engine.queued

    def facts(self) -> Facts:
        """What is known of the models now. Never blocks."""
        pair, backend = self._pair, self.engine.backend
        return Facts(
            model=self.loader.model,
            origin=self.weights.origin,
            device=f"{pair.device.name.upper()} {backend.precision}",
            adapter=pair.adapter,
            against=pair.against,
            base_is_base=pair.base_is_base,
            memory_mb=round(backend.weight_bytes / 2**20),
            fingerprint=self.weights.fingerprint,
            notes=(*template_notes(pair), *self._notes, *backend.notes),
            without_system=template_systems(pair),
            prompts=prompts_apart(pair),
        )

    def submit(self, stream: Stream) -> None:
        """Have a request answered in the prompt of the adapter that is loaded. Raises UserError if a question cannot be
        asked of it, or there is no tuned side to ask."""
        with self._lock:
            stream.put_to(self._pair.adapter)
            if "tuned" in stream.sides:
                self._pair.model("tuned")
            self.engine.submit(stream)

    def reload(self, adapter: str | None, against: str | None = None) -> AdapterCard | None:
        """Put another adapter on the tuned side, and perhaps one on the side named base; answers under way end with the
        old ones. Raises UserError, and keeps the old ones, if a new one cannot be used."""
        from eval_prompts.decoding.choice import make_backend
        from eval_prompts.models.pair import with_adapter

        if adapter is None and against is not None:
            raise UserError("An adapter is compared against another one: choose an adapter for the tuned side too.")
        with self._reloading:
            old = self._trained

            def load() -> tuple[Pair, Backend]:
                pair = old.alone if adapter is None else with_adapter(old, self.weights, adapter, against)
                return pair, make_backend(pair, self.loader.precision)

            pair, backend = in_a_thread_that_ends(load)
            self._trained, self._strength = pair, Strength()
            self._use(pair, backend)
        names = [card.name for card in (pair.adapter, pair.against) if card is not None]
        log.info("adapter: %s", " against ".join(names) or "none")
        return pair.adapter

    @property
    def strength(self) -> Strength:
        """How strongly the adapter speaks."""
        return self._strength

    def read(self, messages: Sequence[Message], text: str, ended: bool) -> Reading:
        """A text as both models see it."""
        from eval_prompts.lens.token_lens import read

        return read(self._pair, messages, text, ended=ended)

    def pair_at(self, strength: float) -> Pair:
        """Both models, the adapter at a strength whatever it is dialled to. Raises UserError if it cannot be scaled."""
        from eval_prompts.models.strength import scaled

        trained = self._trained
        return in_a_thread_that_ends(lambda: scaled(trained, Strength.of(strength)))

    def at_strengths(self, strengths: Sequence[float]) -> Mapping[float, Backend]:
        """Decoders for a request at these strengths of the adapter as trained; none where the one in use takes them row
        by row, all in one batch. Raises UserError if there is no adapter, or it cannot be scaled."""
        from eval_prompts.decoding.choice import make_backend
        from eval_prompts.models.strength import scaled

        with self._reloading:
            if self.engine.backend.scales:
                return {}
            trained = self._trained

            def load() -> dict[float, Backend]:
                pairs = {strength: scaled(trained, Strength.of(strength)) for strength in strengths}
                return {strength: make_backend(pair, self.loader.precision) for strength, pair in pairs.items()}

            return in_a_thread_that_ends(load)

    def set_strength(self, strength: Strength) -> AdapterCard | None:
        """Have the adapter speak at another strength from the next answer on; answers under way end as they began.
        Raises UserError if there is no adapter, or it cannot be scaled."""
        from eval_prompts.decoding.choice import make_backend
        from eval_prompts.models.strength import scaled

        with self._reloading:

            def load() -> tuple[Pair, Backend]:
                pair = scaled(self._trained, strength)
                return pair, make_backend(pair, self.loader.precision)

            pair, backend = in_a_thread_that_ends(load)
            self._strength = strength
            self._use(pair, backend)
        log.info("adapter at %s", strength.words)
        return pair.adapter

    def _use(self, pair: Pair, backend: Backend) -> None:
        """Answer with other models from now on."""
        with self._lock:
            self._pair = pair
            self._put_again()
            self.engine.swap(backend, pair.tokenizers)

    def close(self) -> None:
        """End all answers and stop computing."""
        self.engine.close()

    def _put_again(self) -> None:
        """Lay out for the new adapter what has not begun, since that one will answer; the caller holds the lock."""
        for stream in self.engine.waiting:
            try:
                stream.put_to(self._pair.adapter)
            except UserError as error:
                stream.fail(str(error))


def in_a_thread_that_ends(work: Callable[[], T]) -> T:
    """The result of ``work``, done in a thread of its own; what it raises is raised here.

    Every living thread that has multiplied matrices keeps a team of OpenMP workers. With two teams on one processor
    the runtime stops waiting actively, and answers take half as long again.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(work).result()
