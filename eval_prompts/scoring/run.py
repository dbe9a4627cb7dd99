"""A scoring at work: every question, side and sample that has no answer yet is asked, judged and appended.

Whoever asks is handed in, so that the app scores with the pair it has loaded, behind its visitors, and the command with
one of its own. A few requests are kept under way at a time: enough to fill the engine's batches, and no more than can
be dropped when the scoring stops.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from eval_prompts.decoding.engine import CLOSING
from eval_prompts.judging.repetition import repetition
from eval_prompts.scoring.folder import Log, Scoring, State
from eval_prompts.scoring.forgetting import FORGETTING, TEXTS, measure, unknown
from eval_prompts.scoring.habits import language_of
from eval_prompts.scoring.plans import check_models, seed_of
from eval_prompts.scoring.reading import let_others_go, portions, read
from eval_prompts.scoring.reading import told as told_reading
from eval_prompts.scoring.result import write_results
from eval_prompts.scoring.subject import Finished, Subject, conversations
from eval_prompts.serving.readings import UNREADABLE
from eval_prompts.serving.status import same_models
from eval_prompts.tasks.verdicts import Judgement
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.answers import Answer, Settings, Stream
    from eval_prompts.lens.likelihood import Known
    from eval_prompts.models.pair import Side
    from eval_prompts.rows import Prompt
    from eval_prompts.serving.lens import Lens
    from eval_prompts.serving.status import Status

PORTION = 16
"""Questions of one request; each is asked of all sides that are missing."""
ROWS_AHEAD = 96
"""Answers that are asked for at a time: three of the engine's batches."""
LOOK_SECONDS = 0.05
JUDGES = 2
FAULT = "Scoring failed on the server, and its log says why: resume goes on where it was."
SWAPPED = "The models were changed while they were scored: put {adapter} back, then resume the scoring."
STOPPED = "stopped by hand: resume goes on where it was"

Key = tuple[str, int, str, int]
"""Task, number of the question, side, sample."""
Ask = Callable[[Sequence["Prompt"], "Settings", Sequence["Side"]], "Stream"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a scoring is: answers that are there, of all, and the seconds that the rest takes at this pace."""

    done: int
    total: int
    seconds_left: float | None


@dataclass(frozen=True)
class Unit:
    """One question in one sample."""

    subject: Subject
    number: int
    sample: int
    seed: int


def unit_of(subject: Subject, number: int, sample: int) -> Unit:
    """One question in one sample, with its seed."""
    seed = seed_of(int(subject.settings.seed), subject.name, subject.questions[number].id, sample)
    return Unit(subject, number, sample, seed)


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
        self._subjects = list(subjects)
        self._sides: tuple[Side, ...] = tuple(self._plan["sides"])
        self._samples = {task["name"]: int(task.get("samples", self._plan["samples"])) for task in self._plan["tasks"]}
        self.on_progress = on_progress
        self._stop = threading.Event()
        self._streams: list[tuple[Stream, list[Unit], set[int]]] = []
        self._judging: dict[Future[Judgement], tuple[Unit, Answer]] = {}
        self._done: set[Key] = set()
        self._known: dict[tuple[str, int, str], Finished] = {}
        """What was read of questions to which answers are written as well, by task, number and side."""
        self._began = time.monotonic()
        self._done_before = 0

    def stop(self) -> None:
        """End as soon as possible; what is answered and judged is kept."""
        self._stop.set()

    @property
    def total(self) -> int:
        """Answers that the whole scoring has."""
        answers = sum(len(subject.questions) * self._samples[subject.name] for subject in self._subjects)
        return answers * len(self._sides)

    @property
    def progress(self) -> Progress:
        """How far it is now."""
        done, seconds = len(self._done), time.monotonic() - self._began
        fresh = done - self._done_before
        left = seconds / fresh * (self.total - done) if fresh else None
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
        earlier = {key_of(event): event for event in events if event["event"] in ("answer", "unasked")}
        measured = {str(event["name"]) for event in events if event["event"] == "figure"}
        self._done = set(earlier)
        self._done_before = len(earlier)
        log_file.emit("resumed" if earlier else "start", done=len(earlier), device=self._lens.status().device)
        self._tell()
        status = self._lens.status()
        ended = self._read_all(status, log_file) or self._measure(measured, status, log_file)
        if ended is not None:
            return ended
        waiting = self._missing()
        with ThreadPoolExecutor(JUDGES, thread_name_prefix="score-judge") as pool:
            try:
                while waiting or self._streams or self._judging:
                    if self._stop.is_set():
                        return State.STOPPED, STOPPED
                    if not same_models(status, self._lens.status()):
                        return self._swapped(status)
                    while waiting and self._under_way() < ROWS_AHEAD:
                        self._submit(*waiting.pop(0), log_file)
                    self._collect(status, pool, log_file)
                    self._write(log_file)
                    if self._streams or self._judging:
                        self._stop.wait(LOOK_SECONDS)
            finally:
                for future in self._judging:
                    future.cancel()
        with_words = write_results(self.scoring)
        return State.FINISHED, with_words

    def _read_all(self, status: Status, log_file: Log) -> tuple[State, str] | None:
        """Read what scorers go by that ask for likelihoods, before anything is written; how it ended where that was
        before its end."""
        units: dict[tuple[str, int], list[Unit]] = {}
        for unit in self._units():
            if unit.subject.task.wanted(unit.subject.questions[unit.number]):
                units.setdefault((unit.subject.name, unit.number), []).append(unit)
        if self._lens.pair is None and units:
            self._cannot_read(list(units.values()), log_file)
            return None
        for portion in portions([(each[0].subject, each[0].number) for each in units.values()]):
            for side in self._sides:
                # A portion is read whole or not at all: figures hang a little on what else is read with them.
                if not any(self._lacks(units[subject.name, number], side) for subject, number in portion):
                    continue
                if self._background:
                    let_others_go(self._lens, self._stop.wait)
                if self._stop.is_set():
                    return State.STOPPED, STOPPED
                found = read(self._lens, side, portion)
                if not same_models(status, self._lens.status()):
                    return self._swapped(status)
                for (subject, number), result in zip(portion, found, strict=True):
                    self._take_in(units[subject.name, number], side, result, log_file)
            self._tell()
        return None

    def _lacks(self, units: Sequence[Unit], side: Side) -> bool:
        return any(side in self._missing_sides(unit) for unit in units)

    def _measure(self, measured: set[str], status: Status, log_file: Log) -> tuple[State, str] | None:
        """Measure what is forgotten, where that is planned and not done; how it ended where that was before its end."""
        if FORGETTING not in self._plan.get("figures", ()) or measured >= set(TEXTS):
            return None

        def stops() -> bool:
            if self._background:
                let_others_go(self._lens, self._stop.wait)
            return self._stop.is_set() or not same_models(status, self._lens.status())

        try:
            found = measure(self._lens, stops)
        except UserError as error:
            for name in TEXTS:
                log_file.emit("figure", **unknown(name, str(error)))
            return None
        if found is None:
            return (State.STOPPED, STOPPED) if self._stop.is_set() else self._swapped(status)
        for one in found:
            log_file.emit("figure", **one.to_dict())
        return None

    def _take_in(self, units: Sequence[Unit], side: Side, result: Known | UserError, log_file: Log) -> None:
        """Keep what was read of one question, and its verdict where nothing else is asked of it."""
        subject, number = units[0].subject, units[0].number
        question = subject.questions[number]
        if not subject.task.writes(question):
            for unit in (unit for unit in units if side in self._missing_sides(unit)):
                if isinstance(result, UserError):
                    self._unasked(unit, [side], str(result), log_file)
                else:
                    judgement = subject.judge(question, Finished(read=result), False)
                    log_file.emit("answer", **place(unit, side), seed=unit.seed, **told_reading(judgement, result))
                    self._done.add((subject.name, number, side, unit.sample))
            return
        unread = str(result) if isinstance(result, UserError) else ""
        known = None if isinstance(result, UserError) else result
        self._known[subject.name, number, side] = Finished(read=known, unread=unread)

    def _cannot_read(self, units: Sequence[Sequence[Unit]], log_file: Log) -> None:
        """Leave out what only likelihoods could tell, and say so. Raises UserError where that is everything."""
        if not any(subject.task.writes(question) for subject in self._subjects for question in subject.questions):
            raise UserError(f"Nothing of this can be scored: {UNREADABLE}.")
        for each in units:
            subject, number = each[0].subject, each[0].number
            if subject.task.writes(subject.questions[number]):
                for side in self._sides:
                    self._known[subject.name, number, side] = Finished(unread=UNREADABLE)
            else:
                for unit in each:
                    self._unasked(unit, self._missing_sides(unit), UNREADABLE, log_file)

    def _units(self) -> Iterator[Unit]:
        """Every question in every sample."""
        for subject in self._subjects:
            for sample in range(self._samples[subject.name]):
                for number in range(len(subject.questions)):
                    yield unit_of(subject, number, sample)

    def _missing_sides(self, unit: Unit) -> tuple[Side, ...]:
        """The sides that have not answered yet."""
        return tuple(
            side for side in self._sides if (unit.subject.name, unit.number, side, unit.sample) not in self._done
        )

    def _missing(self) -> list[tuple[tuple[Side, ...], list[Unit]]]:
        """What is not answered yet, in portions that miss the same sides."""
        found: list[tuple[tuple[Side, ...], list[Unit]]] = []
        for subject in self._subjects:
            by_sides: dict[tuple[Side, ...], list[list[Unit]]] = {}
            for sample in range(self._samples[subject.name]):
                for numbers in conversations(subject.questions):
                    sides = tuple(s for s in self._sides if self._misses(subject, numbers, s, sample))
                    if sides:
                        by_sides.setdefault(sides, []).append([unit_of(subject, one, sample) for one in numbers])
            for sides, together in by_sides.items():
                portion: list[Unit] = []
                for units in together:
                    if portion and len(portion) + len(units) > PORTION:
                        found.append((sides, portion))
                        portion = []
                    portion = [*portion, *units]
                found.append((sides, portion))
        return found

    def _swapped(self, status: Status) -> tuple[State, str]:
        card = status.adapter
        return State.STOPPED, SWAPPED.format(adapter=card.name if card else "the models")

    def _misses(self, subject: Subject, numbers: Sequence[int], side: Side, sample: int) -> bool:
        """Whether a side's answer to one of these is missing: the turns of a conversation are asked together."""
        return any((subject.name, number, side, sample) not in self._done for number in numbers)

    def _under_way(self) -> int:
        return sum(len(stream.rows) - len(taken) for stream, _, taken in self._streams)

    def _submit(self, sides: tuple[Side, ...], units: list[Unit], log_file: Log) -> None:
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
                    self._submit(sides, [units[place] for place in places], log_file)
                return
            if not self._done and not self._streams:
                raise  # the very first question: most likely none can be asked
            for unit in units:
                self._unasked(unit, sides, str(error), log_file)
        else:
            self._streams.append((stream, units, set()))

    def _unasked(self, unit: Unit, sides: Sequence[Side], reason: str, log_file: Log) -> None:
        for side in sides:
            key = (unit.subject.name, unit.number, side, unit.sample)
            if key not in self._done:
                log_file.emit("unasked", **place(unit, side), reason=reason)
            self._done.add(key)
        self._tell()

    def _collect(self, status: Status, pool: ThreadPoolExecutor, log_file: Log) -> None:
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
                self._unasked(units[answer.index], [answer.side], answer.problem, log_file)
        if failed == CLOSING:
            self._stop.set()
        elif failed:
            raise UserError(failed)
        if not failed and any(answer.state == "cancelled" for _, answer in finished):
            raise UserError("An answer was stopped before its end: resume the scoring to ask it again.")

    def _write(self, log_file: Log) -> None:
        """Append what has been judged."""
        ready = [future for future in self._judging if future.done()]
        for future in ready:
            unit, answer = self._judging.pop(future)
            judgement = future.result()
            key = (unit.subject.name, unit.number, answer.side, unit.sample)
            if key not in self._done:  # an earlier turn that was asked again, for those behind it, counts once
                log_file.emit("answer", **place(unit, answer.side), seed=unit.seed, **told(answer, judgement))
            self._done.add(key)
        if ready:
            self._tell()

    def _tell(self) -> None:
        if self.on_progress is not None:
            self.on_progress(self.progress)


def key_of(event: Mapping[str, Any]) -> Key:
    """Which answer an event tells of."""
    return str(event["task"]), int(event["number"]), str(event["side"]), int(event["sample"])


def place(unit: Unit, side: Side) -> dict[str, Any]:
    """Which answer it is, as an event tells it."""
    question = unit.subject.questions[unit.number]
    return {
        "task": unit.subject.name,
        "number": unit.number,
        "id": question.id,
        "side": side,
        "sample": unit.sample,
    }


def judged(
    subject: Subject, number: int, answer: Answer, jail: bool = False, known: Finished | None = None
) -> Judgement:
    """The judgement on a finished answer, of what was said: a thinking model's draft counts for nothing. ``known`` is
    what was read of its question."""
    given = replace(known or Finished(), text=answer.said, stopped=answer.stopped)
    return subject.judge(subject.questions[number], given, jail)


def told(answer: Answer, judgement: Judgement) -> dict[str, Any]:
    """An answer and its judgement as an event tells them; a thinking model's draft stands apart from what it said."""
    found = judgement.to_dict()
    return {
        "text": answer.said,
        **({"draft": answer.text} if answer.said != answer.text else {}),
        "tokens": answer.tokens,
        "state": answer.state,
        "verdict": judgement.task,
        "score": judgement.score,
        "reason": found["task_reason"],
        "scores": found["scores"],
        "badges": found["badges"],
        "repetition": round(repetition(answer.said), 4),
        "language": language_of(answer.said),
    }
