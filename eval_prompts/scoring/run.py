"""A scoring at work: every question, side and sample that has no answer yet is asked, judged and appended.

Whoever asks is handed in, so that the app scores with the pair it has loaded, behind its visitors, and the command with
one of its own. A few requests are kept under way at a time: enough to fill the engine's batches, and no more than can
be dropped when the scoring stops.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eval_prompts.decoding.engine import CLOSING
from eval_prompts.scoring.folder import Log, Scoring, State
from eval_prompts.scoring.ledger import Ledger, Unit, judged, told
from eval_prompts.scoring.measuring import Interrupted, Reader
from eval_prompts.scoring.plans import check_models
from eval_prompts.scoring.result import write_results
from eval_prompts.scoring.subject import Finished, Subject, conversations
from eval_prompts.serving.status import same_models
from eval_prompts.tasks.verdicts import Judgement
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.answers import Answer
    from eval_prompts.models.pair import Side
    from eval_prompts.serving.lens import Lens
    from eval_prompts.serving.status import Status
    from eval_prompts.stream import Stream

ROWS_AHEAD = 96
"""Answers that are asked for at a time: three of the engine's batches."""
LOOK_SECONDS = 0.05
JUDGES = 2
FAULT = "Scoring failed on the server, and its log says why: resume goes on where it was."
SWAPPED = "The models were changed while they were scored: put {adapter} back, then resume the scoring."
STOPPED = "stopped by hand: resume goes on where it was"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a scoring is: answers that are there, of all, and the seconds that the rest takes at this pace; None
    before the first answer is written, as reading goes at a pace of its own."""

    done: int
    total: int
    seconds_left: float | None


class Runner:
    """One scoring at work, from start or resume to its end. ``stop`` may be called from any thread."""

    def __init__(
        self,
        scoring: Scoring,
        subjects: Sequence[Subject],
        lens: Lens,
        *,
        background: bool = False,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.scoring, self._lens, self._background = scoring, lens, background
        self._plan = scoring.plan()
        self._ledger = Ledger(self._plan, subjects)
        self.on_progress = on_progress
        self._stop = threading.Event()
        self._streams: list[tuple[Stream, list[Unit], set[int]]] = []
        self._judging: dict[Future[Judgement], tuple[Unit, Answer]] = {}
        self._known: dict[tuple[str, int, str], Finished] = {}
        self._writing_since = 0.0
        self._written = 0

    def stop(self) -> None:
        """End as soon as possible; what is answered and judged is kept."""
        self._stop.set()

    @property
    def total(self) -> int:
        """Answers that the whole scoring has."""
        return self._ledger.total

    @property
    def progress(self) -> Progress:
        """How far it is now."""
        done, written = len(self._ledger.done), self._written
        seconds = time.monotonic() - self._writing_since
        left = seconds / written * (self.total - done) if written else None
        return Progress(done, self.total, left)

    def run(self) -> tuple[State, str]:
        """Work to the end; returns how it ended, and why in words. Raises UserError where somebody else works on it, or
        where the models that are loaded are not those of its plan; nothing else."""
        check_models(self._plan, self._lens.status())
        with self.scoring.work() as log_file:
            try:
                state, message = self._work(log_file)
            except UserError as error:
                state, message = State.FAILED, str(error)
            except KeyboardInterrupt:
                log_file.last_words(State.STOPPED, STOPPED)
                raise
            except Exception:
                log.exception("Scoring failed")
                state, message = State.FAILED, FAULT
            finally:
                for stream, _, _ in self._streams:
                    stream.cancel()
            log_file.last_words(state, message)
            return state, message

    def _work(self, log_file: Log) -> tuple[State, str]:
        events = self.scoring.follow()[0]
        earlier = self._ledger.open(log_file, events)
        status = self._lens.status()
        log_file.emit("resumed" if earlier else "start", done=earlier, device=status.device)
        self._tell()
        reader = Reader(self._ledger, self._lens, status, self._stop, self._tell, background=self._background)
        try:
            reader.read_all()
            reader.measure(self._plan, {str(one["name"]) for one in events if one["event"] == "figure"}, log_file)
        except Interrupted:
            return (State.STOPPED, STOPPED) if self._stop.is_set() else self._swapped(status)
        self._known = reader.known
        return self._write_all(status)

    def _write_all(self, status: Status) -> tuple[State, str]:
        """Have written and judged whatever is missing; how it ended."""
        waiting = self._ledger.portions()
        self._writing_since = time.monotonic()
        with ThreadPoolExecutor(JUDGES, thread_name_prefix="score-judge") as pool:
            try:
                while waiting or self._streams or self._judging:
                    if self._stop.is_set():
                        return State.STOPPED, STOPPED
                    if not same_models(status, self._lens.status()):
                        return self._swapped(status)
                    while waiting and self._under_way() < ROWS_AHEAD:
                        self._submit(*waiting.pop(0))
                    self._collect(status, pool)
                    self._write()
                    if self._streams or self._judging:
                        self._stop.wait(LOOK_SECONDS)
            finally:
                for future in self._judging:
                    future.cancel()
        with_words = write_results(self.scoring)
        return State.FINISHED, with_words

    def _swapped(self, status: Status) -> tuple[State, str]:
        card = status.adapter
        return State.STOPPED, SWAPPED.format(adapter=card.name if card else "the models")

    def _under_way(self) -> int:
        return sum(len(stream.rows) - len(taken) for stream, _, taken in self._streams)

    def _submit(self, sides: tuple[Side, ...], units: list[Unit]) -> None:
        """Ask a portion; where that cannot be, each question of it alone. Those that cannot be asked are told."""
        subject = units[0].subject
        try:
            prompts = subject.prompts([subject.questions[unit.number] for unit in units], [unit.seed for unit in units])
            stream = self._lens.ask(prompts, subject.settings, sides, background=self._background)
        except UserError as error:
            if self._lens.status().state == "failed":
                raise
            alone = conversations([subject.questions[unit.number] for unit in units])
            if len(alone) > 1:
                for places in alone:
                    self._submit(sides, [units[place] for place in places])
                return
            if not self._ledger.done and not self._streams:
                raise  # the very first question: most likely none can be asked
            for unit in units:
                self._unasked(unit, sides, str(error))
        else:
            self._streams.append((stream, units, set()))

    def _unasked(self, unit: Unit, sides: Sequence[Side], reason: str) -> None:
        self._ledger.leave_out(unit, sides, reason)
        self._tell()

    def _collect(self, status: Status, pool: ThreadPoolExecutor) -> None:
        """Hand what has been answered to the judges. Raises UserError where a request failed."""
        finished = [
            (units, answer) for stream, units, taken in self._streams for answer in stream.newly_finished(taken)
        ]
        failed = next((stream.error for stream, _, _ in self._streams if stream.error), None)
        self._streams = [entry for entry in self._streams if len(entry[2]) < len(entry[0].rows)]
        if not same_models(status, self._lens.status()):
            return  # what came in just now may be the new models' answer
        for units, answer in finished:
            if answer.state in ("ended", "capped"):
                unit = units[answer.index]
                known = self._known.get((unit.subject.name, unit.number, answer.side), Finished())
                future = pool.submit(judged, unit.subject, unit.number, answer, bool(self._plan["jail"]), known)
                self._judging[future] = unit, answer
            elif answer.problem:
                self._unasked(units[answer.index], [answer.side], answer.problem)
        if failed == CLOSING:
            self._stop.set()
        elif failed:
            raise UserError(failed)
        if not failed and any(answer.state == "cancelled" for _, answer in finished):
            raise UserError("An answer was stopped before its end: resume the scoring to ask it again.")

    def _write(self) -> None:
        """Append what has been judged; an earlier turn that was asked again, for those behind it, counts once."""
        ready = [future for future in self._judging if future.done()]
        for future in ready:
            unit, answer = self._judging.pop(future)
            self._written += self._ledger.take_in(unit, answer.side, told(answer, future.result()))
        if ready:
            self._tell()

    def _tell(self) -> None:
        if self.on_progress is not None:
            self.on_progress(self.progress)
