"""What a scoring reads before anything is written: likelihoods that scorers go by, and what has been forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eval_prompts.scoring.forgetting import FORGETTING, TEXTS, measure, unknown
from eval_prompts.scoring.reading import let_others_go, portions, read, told
from eval_prompts.scoring.subject import Finished
from eval_prompts.serving.readings import UNREADABLE
from eval_prompts.serving.status import same_models
from tuning.errors import UserError

if TYPE_CHECKING:
    import threading

    from eval_prompts.lens.likelihood import Known
    from eval_prompts.models.pair import Side
    from eval_prompts.scoring.folder import Log
    from eval_prompts.scoring.ledger import Ledger, Unit
    from eval_prompts.serving.lens import Lens
    from eval_prompts.serving.status import Status


class Interrupted(Exception):
    """Somebody stopped the scoring, or the models are others now: nothing more is read."""


class Reader:
    """Reads for one scoring; ``tell`` is called as it gets on. ``status`` is that of the models that are scored."""

    def __init__(
        self,
        ledger: Ledger,
        lens: Lens,
        status: Status,
        stop: threading.Event,
        tell: Callable[[], None],
        *,
        background: bool = False,
    ) -> None:
        self._ledger, self._lens, self._status, self._stop = ledger, lens, status, stop
        self._tell, self._background = tell, background
        self.known: dict[tuple[str, int, str], Finished] = {}
        """What was read of questions to which answers are written as well, by task, number and side."""

    def read_all(self) -> None:
        """Read what scorers go by that ask for likelihoods. Raises Interrupted before its end, and UserError where
        nothing can be read and nothing is written."""
        units: dict[tuple[str, int], list[Unit]] = {}
        for unit in self._ledger.units():
            if unit.subject.task.wanted(unit.subject.questions[unit.number]):
                units.setdefault((unit.subject.name, unit.number), []).append(unit)
        if self._lens.pair is None and units:
            self._cannot_read(units.values())
            return
        for portion in portions([(each[0].subject, each[0].number) for each in units.values()]):
            for side in self._ledger.sides:
                # A portion is read whole or not at all: figures hang a little on what else is read with them.
                if not any(self._lacks(units[subject.name, number], side) for subject, number in portion):
                    continue
                self._give_way()
                if self._stop.is_set():
                    raise Interrupted
                found = read(self._lens, side, portion)
                if not same_models(self._status, self._lens.status()):
                    raise Interrupted
                for (subject, number), result in zip(portion, found, strict=True):
                    self._take_in(units[subject.name, number], side, result)
            self._tell()

    def measure(self, plan: Mapping[str, Any], measured: set[str], log_file: Log) -> None:
        """Measure what is forgotten, where that is planned and not done. Raises Interrupted before its end."""
        if FORGETTING not in plan.get("figures", ()) or measured >= set(TEXTS):
            return

        def stops() -> bool:
            self._give_way()
            return self._stop.is_set() or not same_models(self._status, self._lens.status())

        try:
            found = measure(self._lens, stops)
        except UserError as error:
            for name in TEXTS:
                log_file.emit("figure", **unknown(name, str(error)))
            return
        if found is None:
            raise Interrupted
        for one in found:
            log_file.emit("figure", **one.to_dict())

    def _give_way(self) -> None:
        if self._background:
            let_others_go(self._lens, self._stop.wait)

    def _lacks(self, units: Sequence[Unit], side: Side) -> bool:
        return any(side in self._ledger.missing_sides(unit) for unit in units)

    def _take_in(self, units: Sequence[Unit], side: Side, result: Known | UserError) -> None:
        """Keep what was read of one question, and its verdict where nothing else is asked of it."""
        subject, number = units[0].subject, units[0].number
        question = subject.questions[number]
        if not subject.task.writes(question):
            for unit in (unit for unit in units if side in self._ledger.missing_sides(unit)):
                if isinstance(result, UserError):
                    self._ledger.leave_out(unit, [side], str(result))
                else:
                    judgement = subject.judge(question, Finished(read=result), False)
                    self._ledger.take_in(unit, side, told(judgement, result))
            return
        unread = str(result) if isinstance(result, UserError) else ""
        known = None if isinstance(result, UserError) else result
        self.known[subject.name, number, side] = Finished(read=known, unread=unread)

    def _cannot_read(self, units: Iterable[Sequence[Unit]]) -> None:
        """Leave out what only likelihoods could tell, and say so. Raises UserError where that is everything."""
        subjects = self._ledger.subjects
        if not any(subject.task.writes(question) for subject in subjects for question in subject.questions):
            raise UserError(f"Nothing of this can be scored: {UNREADABLE}.")
        for each in units:
            subject, number = each[0].subject, each[0].number
            if subject.task.writes(subject.questions[number]):
                for side in self._ledger.sides:
                    self.known[subject.name, number, side] = Finished(unread=UNREADABLE)
            else:
                for unit in each:
                    self._ledger.leave_out(unit, self._ledger.missing_sides(unit), UNREADABLE)
        self._tell()
