"""A scoring at work: every question, side and sample that has no answer yet is asked, judged and appended.

Whoever asks is handed in, so that the app scores with the pair it has loaded, behind its visitors, and the command with
one of its own. A few requests are kept under way at a time: enough to fill the engine's batches, and no more than can
be dropped when the scoring stops.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eval_prompts.decoding.engine import CLOSING
from eval_prompts.judging.repetition import repetition
from eval_prompts.scoring.folder import Log, Scoring, State, create
from eval_prompts.scoring.habits import language_of
from eval_prompts.scoring.result import write_results
from eval_prompts.scoring.subject import Subject, changed_parts, conversations, find_subject
from eval_prompts.tasks.verdicts import Judgement
from tuning import __version__
from tuning.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from eval_prompts.answers import Answer, Settings, Stream
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
MOST_SAMPLES = 100

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


def seed_of(seed: int, task: str, question: str, sample: int) -> int:
    """The seed of one sample of one question, the same for both sides. One for all questions would make their draws
    alike, and their errors with them."""
    digest = hashlib.sha256(f"{seed}\n{task}\n{question}\n{sample}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:7], "big")


def unit_of(subject: Subject, number: int, sample: int) -> Unit:
    """One question in one sample, with its seed."""
    seed = seed_of(int(subject.settings.seed), subject.name, subject.questions[number].id, sample)
    return Unit(subject, number, sample, seed)


def new_scoring(
    subjects: Sequence[Subject],
    status: Status,
    *,
    sides: Sequence[Side] = ("base", "tuned"),
    samples: int = 1,
    limit: int | None = None,
    jail: bool = False,
    command: Mapping[str, Any] | None = None,
    folder: Path | None = None,
) -> Scoring:
    """A scoring's folder, nothing of which is answered yet; ``folder`` where it lies elsewhere than with the others.
    ``command`` is what loads these models again.

    Raises UserError for what cannot be scored: a side that is not there, several samples of greedy answers.
    """
    if not 1 <= samples <= MOST_SAMPLES:
        raise UserError(f"The samples are from 1 to {MOST_SAMPLES} of each question.")
    greedy = [subject.name for subject in subjects if subject.settings.temperature == 0]
    if samples > 1 and greedy:
        raise UserError("Samples of greedy answers are all the same: give a --temperature such as 0.7 as well.")
    names = [subject.name for subject in subjects]
    if len(set(names)) < len(names):
        raise UserError(f"The same task is named twice ({', '.join(names)}): name each once.")
    check_sides(status, sides)
    plan = {
        "created": round(time.time(), 3),
        "version": __version__,
        "tasks": [subject.to_dict() for subject in subjects],
        "sides": list(sides),
        "samples": samples,
        "limit": limit,
        "jail": jail,
        "command": dict(command or {}),
        **whose(status),
    }
    return create(plan, subjects, folder)


def whose(status: Status) -> dict[str, Any]:
    """Who answers, as a plan records it, places on this machine left out."""
    public = status.to_dict()
    return {
        "model": public["model"],
        "origin": status.origin,
        "device": status.device,
        "adapter": public["adapter"],
        "against": public["against"],
        "fingerprints": fingerprints(status),
    }


def fingerprints(status: Status) -> dict[str, str]:
    """What tells these models from all others: the base's weights, and both adapters."""
    cards = {"adapter": status.adapter, "against": status.against}
    return {"model": status.fingerprint} | {name: card.fingerprint if card else "" for name, card in cards.items()}


def check_sides(status: Status, sides: Sequence[Side]) -> None:
    """Raise UserError where a side is to be scored that is not there."""
    if "tuned" in sides and status.adapter is None:
        raise UserError("There is no tuned side to score: name an --adapter, or score --sides base alone.")


def subjects_of(plan: Mapping[str, Any]) -> list[Subject]:
    """The tasks of a plan as they are now. Raises UserError, naming what has changed, where one is not the same."""
    from eval_prompts.answers import Settings

    found = []
    for recorded in plan["tasks"]:
        settings = Settings(**recorded["settings"] | {"stop": tuple(recorded["settings"].get("stop", ()))})
        subject = find_subject(recorded["source"], settings, plan["limit"])
        changed = changed_parts(subject, recorded["fingerprints"])
        if changed:
            raise UserError(
                f"The task {recorded['name']} has changed since this scoring began ({', '.join(changed)}): put it back "
                "as it was, or start a new scoring."
            )
        found.append(subject)
    return found


def check_models(plan: Mapping[str, Any], status: Status) -> None:
    """Raise UserError, naming what is to be loaded, where a scoring was begun with other models."""
    recorded, now = plan["fingerprints"], fingerprints(status)
    if recorded["model"] != now["model"]:
        raise UserError(f"This scoring is of the model {plan['model']}, and another one is loaded: start that one.")
    for name in ("adapter", "against"):
        if recorded[name] != now[name]:
            wanted = (plan[name] or {}).get("name", "no adapter")
            raise UserError(f"This scoring is of {wanted}, and another adapter is loaded: put that one back first.")
    if plan["device"] != status.device:
        raise UserError(
            f"This scoring was begun on {plan['device']}, and this is {status.device}: both halves would not be "
            "comparable."
        )


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
        self.on_progress = on_progress
        self._stop = threading.Event()
        self._streams: list[tuple[Stream, list[Unit], set[int]]] = []
        self._judging: dict[Future[Judgement], tuple[Unit, Answer]] = {}
        self._done: set[Key] = set()
        self._began = time.monotonic()
        self._done_before = 0

    def stop(self) -> None:
        """End as soon as possible; what is answered and judged is kept."""
        self._stop.set()

    @property
    def total(self) -> int:
        """Answers that the whole scoring has."""
        questions = sum(len(subject.questions) for subject in self._subjects)
        return questions * len(self._sides) * int(self._plan["samples"])

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
        earlier = {
            key_of(event): event for event in self.scoring.follow()[0] if event["event"] in ("answer", "unasked")
        }
        self._done = set(earlier)
        self._done_before = len(earlier)
        log_file.emit("resumed" if earlier else "start", done=len(earlier), device=self._lens.status().device)
        self._tell()
        status = self._lens.status()
        waiting = self._missing()
        with ThreadPoolExecutor(JUDGES, thread_name_prefix="score-judge") as pool:
            try:
                while waiting or self._streams or self._judging:
                    if self._stop.is_set():
                        return State.STOPPED, STOPPED
                    if not same_models(status, self._lens.status()):
                        card = status.adapter
                        return State.STOPPED, SWAPPED.format(adapter=card.name if card else "the models")
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

    def _missing(self) -> list[tuple[tuple[Side, ...], list[Unit]]]:
        """What is not answered yet, in portions that miss the same sides."""
        portions: list[tuple[tuple[Side, ...], list[Unit]]] = []
        for subject in self._subjects:
            by_sides: dict[tuple[Side, ...], list[list[Unit]]] = {}
            for sample in range(int(self._plan["samples"])):
                for numbers in conversations(subject.questions):
                    sides = tuple(s for s in self._sides if self._misses(subject, numbers, s, sample))
                    if sides:
                        by_sides.setdefault(sides, []).append([unit_of(subject, one, sample) for one in numbers])
            for sides, together in by_sides.items():
                portion: list[Unit] = []
                for units in together:
                    if portion and len(portion) + len(units) > PORTION:
                        portions.append((sides, portion))
                        portion = []
                    portion = [*portion, *units]
                portions.append((sides, portion))
        return portions

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
                future = pool.submit(judged, unit.subject, unit.number, answer, bool(self._plan["jail"]))
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


def same_models(one: Status, other: Status) -> bool:
    """Whether both tell of the same loaded models, and not of the same adapter loaded again in between."""
    return one.adapter is other.adapter and one.against is other.against and one.fingerprint == other.fingerprint


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


def judged(subject: Subject, number: int, answer: Answer, jail: bool = False) -> Judgement:
    """The judgement on a finished answer, of what was said: a thinking model's draft counts for nothing."""
    return subject.judge(subject.questions[number], answer.said, answer.stopped, jail)


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
