"""LoRA Lens as one object: loads the pair in the background, answers questions, swaps adapters, tells its state.

The page, the endpoints and the command line all talk to a :class:`Lens`. Importing this module is cheap: torch and
transformers are imported by the loading thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, TypeVar

from eval_prompts.answers import Prompt, Settings, Stream
from eval_prompts.serving.limits import Limits
from eval_prompts.serving.status import Status
from tuning import __version__
from tuning.data.chat import PYTHON_FORMAT, PromptFormat
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.decoding.engine import Backend, Engine
    from eval_prompts.lens.token_lens import Reading
    from eval_prompts.models.adapters import AdapterCard
    from eval_prompts.models.pair import Pair, Side
    from tuning.models.weights import Choices, Weights

log = logging.getLogger(__name__)

LOADING_FAILED = "Loading failed, and the server's log says why: choose another model, or start the app again."

T = TypeVar("T")
Wish = Literal["auto", "fp32", "int8"]


class Lens:
    """The pair and its engine, from start-up to shutdown. All methods may be called from any thread."""

    def __init__(
        self,
        model: str = "smollm2-135m",
        adapter: str | None = "starter",
        *,
        device: str | None = None,
        quantize: Literal["4bit", "8bit"] | None = None,
        precision: Wish = "auto",
        prefer_hub: bool = False,
        on_progress: Callable[[str, float | None], None] | None = None,
        limits: Limits | None = None,
        choices: Choices | None = None,
    ) -> None:
        self._model, self._adapter, self._device_name = model, adapter, device
        self._quantize, self._precision, self._prefer_hub = quantize, precision, prefer_hub
        self._on_progress = on_progress
        self._choices = choices
        self._limits = limits or Limits()
        self._state: Literal["loading", "ready", "failed"] = "loading"
        self._message, self._progress = "waiting to load", None
        self._weights: Weights | None = None
        self._pair: Pair | None = None
        self._engine: Engine | None = None
        self._streams: list[Stream] = []
        self._lock = threading.Lock()
        self._reloading = threading.Lock()
        self._settled = threading.Event()
        self._notes: list[str] = []
        self._loading: threading.Thread | None = None
        self._began = time.monotonic()

    def start(self) -> None:
        """Begin to load, in a thread of its own. Returns at once."""
        self._loading = threading.Thread(target=self._load, name="load", daemon=True)
        self._loading.start()

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the pair can answer. Raises UserError if loading failed or takes longer than ``timeout`` s."""
        if not self._settled.wait(timeout):
            raise UserError(f"The model was not loaded after {timeout:.0f} s ({self._message}).")
        if self._state == "failed":
            raise UserError(self._message)

    def status(self) -> Status:
        """The state of things now. Never blocks."""
        engine, pair = self._engine, self._pair
        answering, queued = self._counts()
        message = self._message
        if self._state == "ready" and answering:
            message = f"answering {answering}" + (f", {queued} ahead" if queued else "")
        return Status(
            state=self._state,
            message=message,
            progress=self._progress,
            model=self._model,
            origin=self._weights.origin if self._weights else "",
            device=f"{pair.device.name.upper()} {engine.backend.precision}" if engine else "",
            adapter=pair.adapter if pair else None,
            base_is_base=pair.base_is_base if pair else None,
            memory_mb=round(engine.backend.weight_bytes / 2**20) if engine else 0,
            answering=answering,
            queued=queued,
            uptime_seconds=round(time.monotonic() - self._began, 1),
            version=__version__,
            fingerprint=self._weights.fingerprint if self._weights else "",
            against=pair.against if pair else None,
            notes=(*template_notes(pair), *self._notes, *(engine.backend.notes if engine else ())),
        )

    def ask(
        self,
        questions: Sequence[str | tuple[str, str] | Prompt],
        settings: Settings | None = None,
        sides: Sequence[Side] = ("base", "tuned"),
        visitor: str = "",
        address: str = "",
        format: PromptFormat = PYTHON_FORMAT,
        prompts_for: Callable[[AdapterCard | None], Sequence[Prompt]] | None = None,
        background: bool = False,
    ) -> Stream:
        """Ask, and get the stream of answers at once; it waits for the models if they are still loading.

        Questions that are texts are put into ``format``. ``prompts_for`` gives the same questions as they are put to
        the adapter that will answer, which is known once the models are loaded. ``visitor`` is the session and
        ``address`` the network address that asks, where they are known; ``background`` lets everybody else go first. If ``visitor`` has a request running, waits a
        moment for its end. Raises UserError if it goes on, if a question cannot be asked, the queue is full,
        ``address`` has too many requests, or there is no tuned side to ask.
        """
        stream = Stream(questions, sides, settings or Settings(), visitor, format)
        stream.address, stream.prompts_for, stream.background = address, prompts_for, background
        self._limits.check(stream)
        self._wait_for_previous(visitor)
        with self._lock:
            if self._state == "failed":
                raise UserError(self._message)
            self._streams = [other for other in self._streams if not other.done]
            if self._running(visitor):
                raise UserError("Your previous question is still being answered: stop it first.")
            self._limits.check_room(stream, self._streams)
            if self._engine is not None:
                self._take(stream)
            self._streams.append(stream)
        return stream

    def read(self, question: str, text: str, *, ended: bool = False, format: PromptFormat = PYTHON_FORMAT) -> Reading:
        """How sure both sides are of every token of ``text`` as the answer to a question.

        See :func:`eval_prompts.lens.token_lens.read`. Raises UserError, too, while no pair is loaded, and where the
        models are on other machines.
        """
        from eval_prompts.lens.token_lens import read

        pair = self._pair
        if pair is None:
            raise UserError(
                "The token lens needs both models in this process: wait until they are loaded; models on other "
                "machines cannot be read."
            )
        return read(pair, question, text, ended=ended, prompt_format=format)

    def reload(self, adapter: str | None, against: str | None = None) -> AdapterCard | None:
        """Put another adapter (folder, Hub id or 'starter'; None for none) on the tuned side while the app runs.

        With ``against``, the base merged with that adapter answers for the side named base, so that two adapters are
        compared; without it that side is the base itself again. Answers under way end with the old ones. Raises
        UserError, and keeps the old ones, if a new one cannot be used.
        """
        from eval_prompts.decoding.choice import make_backend
        from eval_prompts.models.pair import with_adapter

        if adapter is None and against is not None:
            raise UserError("An adapter is compared against another one: choose an adapter for the tuned side too.")
        self.wait_ready()
        with self._reloading:
            old = self._pair

            def load() -> tuple[Pair, Backend]:
                pair = old.alone if adapter is None else with_adapter(old, self._weights, adapter, against)
                return pair, make_backend(pair, self._precision)

            pair, backend = in_a_thread_that_ends(load)
            with self._lock:
                self._pair, self._adapter = pair, adapter
                self._put_again()
                self._engine.swap(backend, pair.tokenizers)
        names = [card.name for card in (pair.adapter, pair.against) if card is not None]
        log.info("adapter: %s", " against ".join(names) or "none")
        return pair.adapter

    def close(self) -> None:
        """End all answers and stop computing, so that the process can exit cleanly."""
        if self._loading is not None:
            self._loading.join()
        if self._engine is not None:
            self._engine.close()

    def __enter__(self) -> Lens:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _running(self, visitor: str) -> list[Stream]:
        """A known visitor's requests that nobody has asked to end; one at a time is allowed."""
        return [
            stream
            for stream in list(self._streams)
            if visitor and stream.visitor == visitor and not stream.cancelled and not stream.done
        ]

    def _wait_for_previous(self, visitor: str) -> None:
        until = time.monotonic() + self._limits.previous_seconds
        for stream in self._running(visitor):
            stream.wait_over(until - time.monotonic())

    def _counts(self) -> tuple[int, int]:
        """Answers being computed now, and those that wait."""
        engine = self._engine
        if engine is None:
            return 0, sum(len(stream.rows) for stream in list(self._streams))
        return engine.answering, engine.queued

    def _take(self, stream: Stream) -> None:
        """Have a request answered, in the prompt of the adapter that is loaded; the caller holds the lock."""
        stream.put_to(self._pair.adapter if self._pair else None)
        self._submit(stream)

    def _put_again(self) -> None:
        """Lay out for the new adapter what has not begun: the engine will ask that one."""
        for stream in self._streams:
            if all(row.state == "waiting" for row in stream.rows):
                stream.put_to(self._pair.adapter if self._pair else None)

    def _submit(self, stream: Stream) -> None:
        if "tuned" in stream.sides:
            self._pair.model("tuned")
        self._engine.submit(stream)

    def _report(self, message: str, progress: float | None = None) -> None:
        self._message, self._progress = message, progress
        if self._on_progress is not None:
            self._on_progress(message, progress)

    def _load(self) -> None:
        try:
            self._report("loading the libraries")
            from eval_prompts.decoding.choice import make_backend
            from eval_prompts.decoding.engine import Engine
            from eval_prompts.decoding.generation_defaults import GenerationDefaults
            from eval_prompts.models.pair import load_pair
            from tuning.models.device import pick_device
            from tuning.models.weights import Choices, resolve

            self._report("finding the weights")
            choices = self._choices or Choices()
            self._weights = resolve(self._model, prefer_hub=self._prefer_hub, on_progress=self._report, choices=choices)
            log.info("weights: %s", self._weights.origin)
            self._report("loading the weights")
            device = pick_device(self._device_name, self._precision)
            pair = load_pair(self._weights, device, self._adapter, self._quantize)
            defaults = GenerationDefaults.of(self._weights.path)
            followed = defaults if choices.generation_defaults else None
            backend = make_backend(pair, self._precision)
            engine = Engine(backend, pair.tokenizers, on_broken=self._fail, defaults=followed)
            note = defaults.note(followed is not None)
            self._notes = [note] if note else []
            with self._lock:
                self._pair, self._engine = pair, engine
                self._take_up()
            self._settled.set()
        except UserError as error:
            self._fail(str(error))
        except Exception:
            log.exception("Loading failed")
            self._fail(LOADING_FAILED)

    def _take_up(self) -> None:
        """Answer, from now on, and what has been asked already; the caller holds the lock."""
        for stream in self._streams:
            try:
                self._take(stream)
            except UserError as error:
                stream.fail(str(error))
        self._state, self._message, self._progress = "ready", "ready", None

    def _fail(self, message: str) -> None:
        """Answer nothing any more, and tell everybody who waits why."""
        with self._lock:
            self._state, self._message, self._progress = "failed", message, None
            for stream in self._streams:
                if not stream.done:
                    stream.fail(message)
        self._settled.set()


def template_notes(pair: Pair | None) -> list[str]:
    """What is to be said of the chat templates that the sides are asked with now, each remark once."""
    if pair is None:
        return []
    from tuning.data.template import chat_template

    used = pair.tokenizers.values() if pair.tuned is not None else [pair.tokenizer]
    notes: list[str] = []
    for tokenizer in used:
        try:
            notes += chat_template(tokenizer).notes
        except UserError as error:  # whoever asks is told too
            notes.append(str(error))
    return list(dict.fromkeys(notes))


def in_a_thread_that_ends(work: Callable[[], T]) -> T:
    """The result of ``work``, done in a thread of its own; what it raises is raised here.

    Every living thread that has multiplied matrices keeps a team of OpenMP workers. With two teams on one processor
    the runtime stops waiting actively, and answers take half as long again.
    """
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(work).result()
