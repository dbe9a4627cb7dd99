"""LoRA Lens as one object: loads the pair in the background, answers questions, swaps adapters, tells its state.

The page, the endpoints and the command line all talk to a :class:`Lens`, wherever the models are.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from eval_prompts.answers import Settings
from eval_prompts.rows import Prompt
from eval_prompts.serving.limits import Limits
from eval_prompts.serving.local import in_a_thread_that_ends
from eval_prompts.serving.served import Loader, Report, Served
from eval_prompts.serving.status import LifeState, Status
from eval_prompts.stream import Stream
from tuning import __version__
from tuning.data.chat import PYTHON_FORMAT, Message, PromptFormat
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.lens.token_lens import Reading
    from eval_prompts.models.adapters import AdapterCard
    from eval_prompts.models.pair import Pair, Side
    from eval_prompts.models.strength import Strength

log = logging.getLogger(__name__)

OTHERS_OPENED = "Other models have been opened meanwhile: ask again."
OPENING_FAILED = "That could not be opened, and the server's log says why: choose other models."


class Lens:
    """The models from start-up to shutdown, and who asks them. All methods may be called from any thread.

    ``loader`` says where the models are and loads them; what it gives answers. This object alone owns the state
    (loading, ready, failed) and the requests.
    """

    def __init__(self, loader: Loader, *, on_progress: Report | None = None, limits: Limits | None = None) -> None:
        self.loader = loader
        self._on_progress = on_progress
        self._limits = limits or Limits()
        self._state: LifeState = "loading"
        self._message = "waiting to load"
        self._progress: float | None = None
        self._served: Served | None = None
        self._streams: list[Stream] = []
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._settled = threading.Event()
        self._loading: threading.Thread | None = None
        self._began = time.monotonic()

    @property
    def limits(self) -> Limits:
        """What may be asked here."""
        return self._limits

    def start(self) -> None:
        """Begin to load, in a thread of its own. Returns at once."""
        self.loader.begin()
        self._loading = threading.Thread(target=self._load, name="load", daemon=True)
        self._loading.start()

    def wait_ready(self, timeout: float | None = None) -> None:
        """Wait until the models can answer. Raises UserError if loading failed or takes longer than ``timeout`` s."""
        if not self._settled.wait(timeout):
            raise UserError(f"The model was not loaded after {timeout:.0f} s ({self._message}).")
        if self._state == "failed":
            raise UserError(self._message)

    @property
    def served(self) -> Served:
        """The models that answer. Raises UserError while there are none."""
        if self._served is None:
            raise UserError(self._message if self._state == "failed" else "The models are still loading: ask again.")
        return self._served

    @property
    def pair(self) -> Pair | None:
        """Both models, where they are loaded, and in this process."""
        return self._served.pair if self._served is not None else None

    def status(self) -> Status:
        """The state of things now. Never blocks."""
        served = self._served
        facts = self.loader.facts() if served is None else served.facts()
        answering, queued = self._counts()
        message = self._message
        if self._state == "ready" and answering:
            message = f"answering {answering}" + (f", {queued} ahead" if queued else "")
        return Status(
            state=self._state,
            message=message,
            progress=self._progress,
            answering=answering,
            queued=queued,
            uptime_seconds=round(time.monotonic() - self._began, 1),
            version=__version__,
            **vars(facts),
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
        strengths: Sequence[float] = (),
    ) -> Stream:
        """Ask, and get the stream of answers at once; it waits for the models if they are still loading.

        Questions that are texts are put into ``format``. ``prompts_for`` gives the same questions as they are put to
        the adapter that will answer, which is known once the models are loaded. ``visitor`` is the session and
        ``address`` the network address that asks, where they are known; ``background`` lets everybody else go first.
        With ``strengths`` the adapter alone answers each question, once at each of them, in one batch where it can.
        If ``visitor`` has a request running, waits a moment for its end. Raises UserError if it goes on, if a question
        cannot be asked, the queue is full, ``address`` has too many requests, or there is no tuned side to ask.
        """
        stream = Stream(questions, sides, settings or Settings(), visitor, format, strengths)
        stream.address, stream.prompts_for, stream.background = address, prompts_for, background
        self._limits.check(stream)
        if strengths:
            stream.decoders = self.served.at_strengths(strengths)
            stream.apart = bool(stream.decoders)
        self._wait_for_previous(visitor)
        with self._lock:
            if self._state == "failed":
                raise UserError(self._message)
            self._streams = [other for other in self._streams if not other.done]
            if self._running(visitor):
                raise UserError("Your previous question is still being answered: stop it first.")
            if not background:
                self._limits.check_room(stream, [other for other in self._streams if not other.background])
            if self._served is not None:
                self._served.submit(stream)
            self._streams.append(stream)
        return stream

    def read(
        self,
        question: str | Sequence[Message],
        text: str,
        *,
        ended: bool = False,
        format: PromptFormat = PYTHON_FORMAT,
        written: Sequence[int] = (),
    ) -> Reading:
        """How sure both sides are of every token of ``text`` as the answer to a question or a conversation.

        See :func:`eval_prompts.lens.token_lens.read`. Models on other machines are read by their own servers, see
        :mod:`eval_prompts.serving.remote_reading`. Raises UserError, too, while no models are loaded.
        """
        from eval_prompts.lens.token_lens import check_texts, read

        served = self.served
        if served.pair is None:
            asked = format.messages({"question": question, "input": ""}) if isinstance(question, str) else question
            check_texts(asked, text)
            return served.read(asked, text, ended)
        return read(served.pair, question, text, ended=ended, prompt_format=format, written=written)

    def loaded_pair(self) -> Pair:
        """Both models. Raises UserError while none is loaded, and where they are on other machines."""
        pair = self.pair
        if pair is None:
            raise UserError(
                "This needs both models in this process: wait until they are loaded; on other machines they tell less."
            )
        return pair

    @property
    def opening(self) -> bool:
        """Whether other models are being opened."""
        return self._opening.locked()

    def open(self, loader: Loader, report: Report = lambda message, progress=None: None) -> None:
        """Load other models while the app runs, and answer with them from then on; ``report`` is told how far that is.

        Those of now answer meanwhile, so both need room in memory for a while; what they have not finished by then ends
        with a sentence. Raises UserError, and keeps the old ones, if the new ones cannot be used.
        """
        with self._opening:
            if self._loading is not None:
                report("waiting until the first models are loaded")
                self._loading.join()
            opened: list[Served] = []

            def broken(words: str) -> None:
                if opened and self._served is opened[0]:  # else others answer by now
                    self._fail(words)

            try:
                served = in_a_thread_that_ends(lambda: loader.load(report, broken))
            except UserError:
                raise
            except Exception as error:
                log.exception("Other models could not be opened")
                raise UserError(OPENING_FAILED) from error
            with self._lock:
                opened.append(served)
                old, self._served, self.loader = self._served, served, loader
                left = [stream for stream in self._streams if not stream.done]
                self._streams = []
                self._state, self._message, self._progress = "ready", "ready", None
                self._settled.set()
        for stream in left:
            stream.fail(OTHERS_OPENED)
        if old is not None:
            old.close()

    def reload(self, adapter: str | None, against: str | None = None) -> AdapterCard | None:
        """Put another adapter (folder, Hub id or 'starter'; None for none) on the tuned side while the app runs.

        With ``against``, the base merged with that adapter answers for the side named base, so that two adapters are
        compared; without it that side is the base itself again. Answers under way end with the old ones. Raises
        UserError, and keeps the old ones, if a new one cannot be used.
        """
        self.wait_ready()
        return self.served.reload(adapter, against)

    def set_strength(self, strength: Strength) -> AdapterCard | None:
        """Have the adapter speak at another strength, see :mod:`eval_prompts.models.strength`; the next answer does.
        Raises UserError, and keeps the old one, if it cannot be scaled."""
        self.wait_ready()
        return self.served.set_strength(strength)

    def close(self) -> None:
        """End all answers and stop computing, so that the process can exit cleanly."""
        if self._loading is not None:
            self._loading.join()
        if self._served is not None:
            self._served.close()

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
        served = self._served
        if served is None:
            return 0, sum(len(stream.rows) for stream in list(self._streams))
        return served.answering, served.queued

    def _report(self, message: str, progress: float | None = None) -> None:
        self._message, self._progress = message, progress
        if self._on_progress is not None:
            self._on_progress(message, progress)

    def _load(self) -> None:
        try:
            served = self.loader.load(self._report, self._fail)
            with self._lock:
                self._served = served
                if self._state == "loading":  # else it has broken already
                    self._take_up()
            self._settled.set()
        except UserError as error:
            self._fail(str(error))
        except Exception:
            log.exception("Loading failed")
            self._fail(self.loader.failed)

    def _take_up(self) -> None:
        """Answer, from now on, and what has been asked already; the caller holds the lock."""
        for stream in self._streams:
            try:
                self.served.submit(stream)
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
