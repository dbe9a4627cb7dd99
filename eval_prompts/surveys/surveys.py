"""Figures over a set and curves of strength as runs of the app: one at a time, behind its visitors, kept when over."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from eval_prompts.lens.view import finite_values
from eval_prompts.models.adapters import public_name
from eval_prompts.surveys import curve, texts
from eval_prompts.surveys.kept import FAILED, Survey, folder, keep, kept, line, read, read_or_log
from eval_prompts.surveys.texts import Stopped, Work
from eval_prompts.tasks.catalogue import all_tasks, find_task, is_listed
from eval_prompts.votes.records import storable
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.serving.lens import Lens
    from eval_prompts.tasks.task import Task

log = logging.getLogger(__name__)

MOST_KEPT = 50
OPENING = "Other models are being opened: wait until they answer."
OTHERS = "The curve over {about} is not known to be of the models of now{name}: load those, or draw the curve again."
PARTIAL = "Stopped: the figures are those of the {read:,} texts that were read, of {total:,}."


class Surveys:
    """Starts, stops and shows surveys. All methods may be called from any thread."""

    def __init__(self, lens: Lens, in_use: Callable[[], Task], jail: bool = False) -> None:
        """``in_use`` is the task of the page; with ``jail`` answers may run under bubblewrap."""
        self._lens, self._in_use, self._jail = lens, in_use, jail
        self._lock = threading.Lock()
        self._now: Survey | None = None
        self._enough = threading.Event()
        self._lines: dict[str, dict[str, Any] | None] = {}

    def form(self) -> dict[str, Any]:
        """What may be measured: the tasks by name, with whether they have references and scorers."""
        tasks = {task.name: task for task in (self._in_use(), *all_tasks()[0]) if task.questions}
        return {
            "in_use": self._in_use().name,
            "tasks": [
                {
                    "name": task.name,
                    "title": task.words,
                    "questions": len(task.questions),
                    "references": sum(bool(question.references) for question in task.questions),
                    "scored": bool(task.scorers) or any(question.checks for question in task.questions),
                }
                for task in tasks.values()
            ],
            "held_out": texts.HELD_OUT,
            "strengths": list(curve.STRENGTHS),
        }

    def start(self, kind: Any, wish: Mapping[str, Any]) -> str:
        """Begin a survey; returns its name. ``wish`` has ``task`` (a name), for a set instead of it ``data`` (a data
        set, or 'held-out') or ``suite`` (a file on this machine), and ``limit``; for a set ``answers`` (whether both
        sides' own answers are read), for a curve ``strengths``. Raises UserError for anything that cannot be measured,
        and while another one is at work or other models are being opened."""
        if kind not in ("set", "curve"):
            raise UserError("A survey is a 'set' or a 'curve'.")
        limit = wish.get("limit") or None
        if limit is not None and not is_count(limit):
            raise UserError("The limit must be a whole number of at least 1.")
        named = [name for name in ("task", "data", "suite") if wish.get(name)]
        if len(named) > 1 or not all(isinstance(wish[name], str) for name in named):
            raise UserError("Name one set to read: a task, a data set or a suite.")
        self._lens.wait_ready(0)
        if self._lens.opening:
            raise UserError(OPENING)
        loaded = texts.Loaded(self._lens, dialled=kind == "set")
        self._lens.loaded_pair().model("tuned")
        source = named[0] if named else "task"
        in_use = self._in_use()
        known = source == "task" and wish.get("task") in (None, "", in_use.name)
        task = in_use if known else find_task(wish["task"]) if source == "task" else None
        work: Callable[[Survey, Work], dict[str, Any]]
        models = ""
        if kind == "curve":
            if task is None:
                raise UserError("A curve of strength is that of a task: name one.")
            curve.check_scored(task)
            strengths = curve.strengths_of(wish.get("strengths") or list(curve.STRENGTHS))
            self._lens.served.pair_at(strengths[0])  # an adapter that has no strength is refused now
            models = self._models()
            work = self._curve(task, strengths, limit)
        else:
            work = self._set(task, str(wish.get(source) or ""), source, limit, bool(wish.get("answers")))
        about = task.words if task else public_name(str(wish[source]))
        shown = (known or is_listed(wish["task"])) and task.show if task else wish[source] == texts.HELD_OUT
        card = self._lens.status().adapter
        with self._lock:
            if self._now is not None and self._now.state == "running":
                raise UserError(f"{self._now.about} is being measured: stop it, or wait for its end.")
            name = f"{time.strftime('%Y%m%d-%H%M%S')}-{kind}"
            while (folder() / f"{name}.json").exists() or (self._now and self._now.name == name):
                name += "x"
            survey = Survey(name, kind, about, card.name if card else "", hidden=not shown, models=models)
            self._now = survey
            self._enough.clear()
        threading.Thread(target=self._work, args=(survey, work, loaded), name="survey", daemon=True).start()
        return name

    def stop(self) -> str:
        """Let the survey at work end. Raises UserError where none is."""
        if self._now is None or self._now.state != "running":
            raise UserError("Nothing is being measured.")
        self._enough.set()
        return self._now.name

    def look(self, name: str, everything: bool) -> dict[str, Any]:
        """A survey by its name; '' is the one at work, else the newest. Raises UserError for none of that name."""
        if self._now is not None and name in ("", self._now.name):
            return self._now.view(everything)
        known = kept()
        if not name:
            newest = next(filter(None, map(read_or_log, known)), None)
            return newest.view(everything) if newest else {"name": ""}
        return self._read(name).view(everything)

    def _read(self, name: str) -> Survey:
        found = next((file for file in kept() if file.stem == name), None)
        if found is None:
            raise UserError(f"There is no survey {name!r}.")
        return read(found)

    def history(self) -> dict[str, Any]:
        """The newest surveys that are over, one line each (``kept``), how many ``older`` ones there are, and how many
        of the newest are ``unreadable``. Each file is read once, since it does not change."""
        known = kept()
        newest = known[:MOST_KEPT]
        before, lines = self._lines, {}
        for file in newest:
            if file.name in before:
                lines[file.name] = before[file.name]
                continue
            with suppress(OSError):  # it may pass, so the file is looked at again
                lines[file.name] = line(file)
        self._lines = lines
        found = [each for each in lines.values() if each]
        return {"kept": found, "older": len(known) - len(newest), "unreadable": len(newest) - len(found)}

    def best(self, name: str) -> float:
        """The strength that a curve found best for the adapter that answers now. Raises UserError for one of other
        models, and where none is best."""
        survey = self._now if self._now is not None and self._now.name == name else self._read(name)
        strength = survey.result.get("best") if survey.result else None
        if not isinstance(strength, int | float):
            raise UserError("That survey has no best strength: draw the curve of strength first.")
        if not survey.models or survey.models != self._models():
            raise UserError(OTHERS.format(about=survey.about, name=f" ({survey.adapter})" if survey.adapter else ""))
        return strength

    def _models(self) -> str:
        """Tells the models, the adapter as trained, from all others. Raises UserError where no adapter is loaded."""
        pair = self._lens.served.pair_at(1)
        cards = [card.fingerprint for card in (pair.adapter, pair.against) if card is not None]
        return " ".join([self._lens.status().fingerprint, *cards])

    def words(self) -> str:
        """What is being measured, in a few words; '' for nothing."""
        now = self._now
        if now is None or now.state != "running":
            return ""
        return f"measuring {now.done} of {now.total}" if now.total else "measuring"

    def _set(
        self, task: Task | None, name: str, source: str, limit: int | None, answers: bool
    ) -> Callable[[Survey, Work], dict[str, Any]]:
        def work(survey: Survey, how: Work) -> dict[str, Any]:
            say = survey.notes.append
            tell = survey.details.append
            if task is not None:
                chosen = texts.task_texts(self._lens, task, limit, answers, say, how)
            elif source == "data":
                chosen = texts.limited(texts.data_texts(name, tell), limit, say)
            else:
                chosen = texts.limited(list(texts.suite_texts(Path(name).expanduser(), tell)), limit, say)
            found = texts.read_all(self._lens, chosen, how)
            read_so_far = found.texts + len(found.skipped)
            if read_so_far < len(chosen):
                say(PARTIAL.format(read=found.texts, total=len(chosen)))
            return found.figures()

        return work

    def _curve(self, task: Task, strengths: list[float], limit: int | None) -> Callable[[Survey, Work], dict[str, Any]]:
        def work(survey: Survey, how: Work) -> dict[str, Any]:
            questions = texts.first_questions(task, limit, survey.notes.append)
            return curve.measure(self._lens, task, questions, task.settings, strengths, how, self._jail)

        return work

    def _work(self, survey: Survey, work: Callable[[Survey, Work], dict[str, Any]], loaded: texts.Loaded) -> None:
        def report(done: int, total: int, words: str) -> None:
            survey.done, survey.total, survey.words = done, total, words

        try:
            found = work(survey, Work(report, self._enough.is_set, loaded.check, background=True))
            survey.result = storable(finite_values(found))
            survey.state = "stopped" if self._enough.is_set() else "finished"
        except Stopped as stopped:
            survey.state, survey.problem = "stopped", str(stopped)
        except UserError as error:
            survey.state, survey.problem = "failed", str(error)
        except Exception:
            log.exception("A survey failed")
            survey.state, survey.problem = "failed", FAILED
        keep(survey)


def is_count(value: object) -> TypeGuard[int]:
    """Whether a value from outside is a whole number of at least 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
