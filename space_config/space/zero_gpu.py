"""Answers on ZeroGPU, where each request borrows a GPU for as long as it is estimated to take.

Such a Space has its GPU inside functions alone that ``spaces.GPU`` decorates, and they run in forked processes. One of
those loads the pair as any GPU machine would and tells the tokens as they come; the next requests find it loaded. The
pair on the CPU, in the app's own process, answers where no GPU is to be had.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from eval_prompts.answers import Settings
from eval_prompts.decoding.engine import CLOSING, FAULT, MAX_ROWS, Engine
from eval_prompts.decoding.generation_defaults import SideDefaults
from eval_prompts.decoding.tokenizers import decoder
from eval_prompts.rows import FINAL_STATES, Ahead, Prompt, State
from eval_prompts.serving.local import LocalLoader, LocalModels, Precision, Quantize
from eval_prompts.serving.served import Facts, Report
from eval_prompts.stream import Stream
from space_config.space.told import RowTold, Told, drop_cancelled, take
from tuning.data.template import chat_template
from tuning.errors import UserError
from tuning.upstream.expected import expect

if TYPE_CHECKING:
    from eval_prompts.decoding.backend import Backend
    from eval_prompts.lens.token_lens import Reading
    from eval_prompts.models.adapters import AdapterCard
    from eval_prompts.models.pair import Pair, Side
    from eval_prompts.models.strength import Strength
    from tuning.data.chat import Message
    from tuning.models.weights import Weights

log = logging.getLogger(__name__)

DEVICE = "cuda"
LOAD_SECONDS, STEP_SECONDS, LONGEST_SECONDS = 20.0, 0.04, 120
"""Assumed, and to be measured on such a machine: loading a pair of small models, one step of all rows, and the longest
slot that every visitor may ask for."""
LOOK_SECONDS = 0.1
TAKEN = "The GPU was taken away in the middle of the answers: ask again."

Arriving = queue.SimpleQueue[Told | Exception | None]
"""What the GPU tells, at last why it tells no more: an exception, or None where it has ended."""


@dataclass(frozen=True)
class Request:
    """What travels to the process that has the GPU; adapters are folders."""

    weights: Weights
    adapter: str | None
    against: str | None
    quantize: Quantize | None
    exact: bool
    questions: list[Prompt]
    sides: tuple[Side, ...]
    settings: Settings
    tuned: Weights | None = None
    """The tuned side, where that is a whole model."""
    follows_defaults: bool = False
    """Whether answers follow the model's own generation settings."""

    @property
    def models(self) -> tuple[Any, ...]:
        """What has to be loaded for it."""
        sides = self.weights, self.tuned, self.adapter, self.against
        return *sides, self.quantize, self.exact, self.follows_defaults


OnGpu = Callable[[Request], Generator[Told, None, None]]
""":func:`answer`, where the platform lends a GPU for it."""


def seconds_for(request: Request) -> int:
    """For how long a request borrows the GPU: rows are computed ``MAX_ROWS`` at a time, a token each step."""
    turns = math.ceil(len(request.questions) * len(request.sides) / MAX_ROWS)
    return min(LONGEST_SECONDS, math.ceil(LOAD_SECONDS + turns * request.settings.max_new_tokens * STEP_SECONDS))


_loaded: tuple[tuple[Any, ...], Engine] | None = None


def answer(request: Request) -> Generator[Told, None, None]:
    """The answers as they grow, in the process that has the GPU. Closing the iterator ends them."""
    try:
        stream = Stream(request.questions, request.sides, request.settings)
        _engine(request).submit(stream)
        for _ in stream.snapshots():
            yield [RowTold.of(row) for row in stream.rows]
    except UserError as error:  # of an exception that is raised here, only its class arrives
        yield str(error)
    except Exception:
        log.exception("Answering on the GPU failed")
        raise


def _engine(request: Request) -> Engine:
    global _loaded
    from eval_prompts.decoding.choice import make_backend
    from eval_prompts.models.loading import load_sides
    from tuning.models.device import pick_device

    if _loaded is None or _loaded[0] != request.models:
        if _loaded is not None:
            _loaded[1].close()
            _loaded = None
        precision: Precision = "fp32" if request.exact else "auto"
        pair = load_sides(
            request.weights,
            pick_device(DEVICE, precision),
            request.adapter,
            request.tuned,
            against=request.against,
            quantize=request.quantize,
        )
        tuned = request.tuned.path if request.tuned else None
        defaults = SideDefaults.of(request.weights.path, tuned) if request.follows_defaults else None
        _loaded = request.models, Engine(make_backend(pair, precision), pair.tokenizers, defaults=defaults)
    return _loaded[1]


class ZeroGpuLoader:
    """Loads the pair on the CPU, in this process, and has a GPU lent for each request."""

    def __init__(self, local: LocalLoader) -> None:
        import spaces  # before anything else touches CUDA

        self.local = local
        self.failed = local.failed
        self._on_gpu: OnGpu = spaces.GPU(duration=seconds_for)(answer)

    def begin(self) -> None:
        """Tell the platform of the decorated function.

        Why: gradio's ``launch`` does it by this call, which has no public name, and the page is served without it.
        """
        from spaces import zero

        try:
            expect(callable(getattr(zero, "startup", None)), "spaces", "spaces.zero.startup")
            zero.startup()
        except Exception:
            log.exception("ZeroGPU does not take this app, so the CPU answers")

    def facts(self) -> Facts:
        """What is known of the models before they are loaded."""
        return self.local.facts()

    def load(self, report: Report, on_broken: Callable[[str], None]) -> LentModels:
        """Both models on the CPU, ready to answer. Raises UserError if they cannot be loaded."""
        return LentModels(self.local.load(report, on_broken), self._on_gpu)


class LentModels:
    """Answers on a GPU that is borrowed for each request, and on the CPU by ``local`` where there is none."""

    def __init__(self, local: LocalModels, on_gpu: OnGpu) -> None:
        self._local, self._on_gpu = local, on_gpu
        self._borrowing: list[Stream] = []

    @property
    def pair(self) -> Pair:
        """Both models on the CPU."""
        return self._local.pair

    @property
    def trained(self) -> Pair:
        """The same: no other strength can be dialled here."""
        return self._local.trained

    @property
    def answering(self) -> int:
        """Answers being computed now, here or there."""
        return self._local.answering + self._states().count("streaming")

    @property
    def queued(self) -> int:
        """Answers that wait for their turn, here or there."""
        return self._local.queued + self._states().count("waiting")

    def _states(self) -> list[State]:
        return [row.state for stream in list(self._borrowing) for row in stream.rows]

    def facts(self) -> Facts:
        """What is known of the models now. Never blocks."""
        facts = self._local.facts()
        return replace(facts, device=f"ZeroGPU, else {facts.device}")

    def reload(self, adapter: str | None, against: str | None = None) -> AdapterCard | None:
        """Put another adapter on the tuned side; what waits for a GPU is answered by the one that it was asked of."""
        return self._local.reload(adapter, against)

    def read(self, messages: Sequence[Message], text: str, ended: bool) -> Reading:
        """A text as both models see it."""
        return self._local.read(messages, text, ended)

    def pair_at(self, strength: float) -> Pair:
        """Both models on the CPU, the adapter at a strength."""
        return self._local.pair_at(strength)

    def at_strengths(self, strengths: Sequence[float]) -> Mapping[float, Backend]:
        """Raises UserError: each request loads the adapter as it was trained."""
        raise UserError("On ZeroGPU every request loads the adapter as trained: compare strengths on another machine.")

    def set_strength(self, strength: Strength) -> AdapterCard | None:
        """Raises UserError: each request loads the adapter as it was trained."""
        raise UserError("On ZeroGPU every request loads the adapter as trained: dial its strength on another machine.")

    def close(self) -> None:
        """End all answers."""
        for stream in list(self._borrowing):
            stream.fail(CLOSING)
        self._local.close()

    def submit(self, stream: Stream) -> None:
        """Borrow a GPU for a request, in threads of its own. Raises UserError if a question cannot be asked of the
        adapter that is loaded, or there is no tuned side to ask."""
        pair, loader = self._local.pair, self._local.loader
        stream.put_to(pair.adapter)
        if "tuned" in stream.sides:
            pair.model("tuned")
        whole = pair.adapter is not None and pair.adapter.is_model
        adapter, against = (str(card.path) if card else None for card in (pair.adapter, pair.against))
        request = Request(
            self._local.weights,
            None if whole else adapter,
            against,
            loader.quantize,
            loader.precision == "fp32",
            stream.questions,
            stream.sides,
            stream.settings,
            self._local.tuned_weights if whole else None,
            loader.follows_defaults,
        )
        for row in stream.rows:
            template = chat_template(pair.tokenizers[row.side])
            row.decode, row.stops = decoder(pair.tokenizers[row.side], frozenset()), tuple(template.stop_strings)
            row.opening = template.opening
        stream.count_ahead = self._ahead_of
        self._borrowing.append(stream)
        arriving: Arriving = queue.SimpleQueue()
        # The visitor's context goes along: the platform finds in it whose share of GPU time this is.
        context = copy_context()
        threading.Thread(target=context.run, args=(self._borrow, stream, request, arriving), daemon=True).start()
        threading.Thread(target=self._follow, args=(stream, arriving), daemon=True).start()

    def _ahead_of(self, stream: Stream) -> Ahead:
        """Answers of earlier requests that are not over; none once one of this request's has begun."""
        streams = list(self._borrowing)
        if stream not in streams or any(row.state != "waiting" for row in stream.rows):
            return Ahead()
        earlier = streams[: streams.index(stream)]
        return Ahead.of([row for other in earlier for row in other.rows if row.state not in FINAL_STATES])

    def _borrow(self, stream: Stream, request: Request, arriving: Arriving) -> None:
        try:
            with closing(self._on_gpu(request)) as steps:
                for told in steps:
                    if stream.done:
                        break
                    arriving.put(told)
        except Exception as error:
            arriving.put(error)
        else:
            arriving.put(None)

    def _follow(self, stream: Stream, arriving: Arriving) -> None:
        """Puts what comes from the GPU into the rows, until they are over or the CPU has taken the request."""
        try:
            self._take_in(stream, arriving)
        except Exception:
            log.exception("The GPU's answers could not be read")
            stream.fail(FAULT)
        finally:
            self._borrowing.remove(stream)

    def _take_in(self, stream: Stream, arriving: Arriving) -> None:
        while not stream.done:
            drop_cancelled(stream)
            try:
                told = arriving.get(timeout=LOOK_SECONDS)
            except queue.Empty:
                continue
            if isinstance(told, str):
                stream.fail(told)
            elif isinstance(told, list):
                take(stream, told)
            elif any(row.started is not None for row in stream.rows):
                stream.fail(TAKEN)
            else:
                log.warning("no GPU, so the CPU answers: %s", getattr(told, "message", told), exc_info=told)
                self._hand_over(stream)
                return

    def _hand_over(self, stream: Stream) -> None:
        try:
            self._local.submit(stream)  # for the adapter that is loaded by now
        except UserError as error:
            stream.fail(str(error))
