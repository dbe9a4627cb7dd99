"""All scorings of one app: one at work at a time, with the pair that the app has loaded and behind its visitors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eval_prompts.learning.checkpoints import keep_with_run
from eval_prompts.scoring import plans, run
from eval_prompts.scoring.battery import battery_of, beside, lacks_battery
from eval_prompts.scoring.card import card_of
from eval_prompts.scoring.folder import Scoring, State, all_scorings, named
from eval_prompts.scoring.forgetting import FORGETTING
from eval_prompts.scoring.in_app import wishes
from eval_prompts.scoring.in_app.against import against
from eval_prompts.scoring.in_app.board import Board, began
from eval_prompts.scoring.judge.at_work import Judging
from eval_prompts.scoring.result import report, sources_of
from eval_prompts.scoring.subject import Subject
from eval_prompts.tasks.catalogue import python_task
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.serving.lens import Lens
    from eval_prompts.tasks.task import Task
    from eval_prompts.votes.records import VotedPair

log = logging.getLogger(__name__)

MOST_HISTORY = 50


class Scorings:
    """Starts, stops, resumes and shows scorings. All methods may be called from any thread."""

    def __init__(
        self,
        lens: Lens,
        jail: bool = False,
        in_use: Callable[[], Task] = python_task,
        people: Callable[[str, str], str] = lambda tuned, base: "",
        votes: Callable[[str, str], Sequence[VotedPair]] = lambda tuned, base: (),
    ) -> None:
        """``in_use`` tells the task of the page, which is offered first, and ``people`` in words what those prefer who
        voted on two sides, by their fingerprints, and ``votes`` what they voted; with ``jail`` answers may run under
        bubblewrap."""
        self.judging = Judging(lens, lambda plan: votes(*sides_of(plan["fingerprints"])))
        self._lens, self._jail, self._in_use, self._people = lens, jail, in_use, people
        self._starting, self._reading = threading.Lock(), threading.Lock()
        self._runner: run.Runner | None = None
        self._thread: threading.Thread | None = None
        self._boards: dict[str, Board] = {}

    @property
    def working(self) -> run.Runner | None:
        """The scoring at work in this app; None if there is none."""
        return self._runner if self._thread is not None and self._thread.is_alive() else None

    def words(self) -> str:
        """What is being scored, in a few words; '' for nothing."""
        runner = self.working
        return f"scoring {runner.progress.done} of {runner.progress.total}" if runner else ""

    def form(self) -> dict[str, Any]:
        """What may be scored: the tasks, with the battery of each and which is in use, and the settings of each."""
        return wishes.form(self._in_use())

    def start(self, asked: Mapping[str, Any]) -> str:
        """Begin a scoring; returns its name. ``asked`` has ``task`` (a name) or ``suite`` (a file on this machine),
        ``battery`` (whether what else may have got worse is scored too), ``samples``, ``limit``, ``temperature`` and
        ``max_new_tokens``. Raises UserError for anything that cannot be scored, and while another one is at work."""
        with self._starting:
            self._refuse_second()
            subjects = wishes.subjects(asked, self._in_use(), self._lens.status().adapter)
            samples, limit = (
                wishes.whole(asked.get("samples"), "samples", 1),
                wishes.whole(asked.get("limit"), "limit", 0),
            )
            self._lens.wait_ready(0)
            scoring = plans.new_scoring(
                subjects,
                self._lens.status(),
                samples=samples or 1,
                limit=limit or None,
                jail=self._jail,
                figures=[FORGETTING] if asked.get("battery", True) else [],
            )
            self._begin(scoring, subjects)
            return scoring.name

    def resume(self, name: str) -> str:
        """Go on with a scoring. Raises UserError where it has finished, its task or the models have changed, or another
        one is at work."""
        with self._starting:
            self._refuse_second()
            scoring = named(name)
            state = scoring.state()[0]
            if state in (State.RUNNING, State.FINISHED):
                raise UserError(f"The scoring {name} {'is running' if state is State.RUNNING else 'has finished'}.")
            self._lens.wait_ready(0)
            subjects = plans.subjects_of(scoring.plan())
            plans.check_models(scoring.plan(), self._lens.status())
            self._begin(scoring, subjects)
            return name

    def extend(self, name: str) -> str:
        """Look, after a scoring, at what may have got worse: its task's battery and what is forgotten join it, and one
        card tells of all. Raises UserError where it has not finished, is of one side or has all of it already, where
        its task or the models have changed, or another one is at work."""
        with self._starting:
            self._refuse_second()
            scoring = named(name)
            plan = scoring.plan()
            if scoring.state()[0] is not State.FINISHED:
                raise UserError(f"The scoring {name} has not finished: resume it first.")
            if set(plan["sides"]) != {"base", "tuned"}:
                raise UserError(f"The scoring {name} is of one side alone: there is nothing to compare.")
            self._lens.wait_ready(0)
            subjects = plans.subjects_of(plan)
            plans.check_models(plan, self._lens.status())
            whole = beside(subjects[0], battery_of(subjects[0].task), lambda task: task.settings, plan["limit"])
            added = [one for one in whole if one.name not in [subject.name for subject in subjects]]
            if not added and FORGETTING in plan.get("figures", []):
                raise UserError(f"The scoring {name} has its battery already.")
            plan["tasks"] += [plans.planned(subject, int(plan["samples"])) for subject in added]
            plan["figures"] = [FORGETTING]
            scoring.extend(plan, [*subjects, *added])
            self._forget(name)
            self._begin(scoring, [*subjects, *added])
            return name

    def stop(self, name: str = "") -> str:
        """Let the scoring at work end; what it has is kept. Raises UserError where none, or another one, is at work."""
        runner = self.working
        if runner is None or name not in ("", runner.scoring.name):
            raise UserError("That scoring is not at work in this app.")
        runner.stop()
        return runner.scoring.name

    def judge(self, name: str, asked: Mapping[str, Any]) -> str:
        """Have a judge model compare a finished scoring's answers (:meth:`Judging.start`); returns the scoring's name.
        Raises UserError."""
        board = self.board(name)
        self.judging.start(board.scoring, asked)
        return board.scoring.name

    def delete(self, name: str) -> None:
        """Remove a scoring. Raises UserError while it is at work, or a judge is on it."""
        if self.judging.view(named(name), True)["running"]:
            raise UserError(f"A judge is at work on {name}: stop it first.")
        named(name).delete()
        self._forget(name)

    def _forget(self, name: str) -> None:
        with self._reading:
            self._boards.pop(name, None)

    def close(self) -> None:
        """Stop what is at work, and wait until its last words are written."""
        self.judging.close()
        if self._runner is not None:
            self._runner.stop()
        if self._thread is not None:
            self._thread.join(10)

    def board(self, name: str) -> Board:
        """A scoring by its name; '' is the one at work, else the newest. Raises UserError for none."""
        if not name:
            runner = self.working
            newest = runner.scoring if runner else next(iter(all_scorings()), None)
            if newest is None:
                raise UserError("Nothing has been scored yet.")
            name = newest.name
        scoring = named(name)
        with self._reading:
            if name not in self._boards:
                self._boards[name] = Board(scoring)
            return self._boards[name]

    def look(self, asked: Mapping[str, Any], everything: bool) -> dict[str, Any]:
        """One scoring as it stands (:meth:`.board.Board.look`), and how long the rest takes."""
        name = str(asked.get("scoring") or "")
        if not name and not all_scorings():
            return {"scoring": ""}
        board = self.board(name)
        view = board.look(asked, everything)
        runner = self.working
        mine = runner is not None and runner.scoring.name == board.scoring.name
        view["judge"] = self.judging.view(board.scoring, everything)
        view["seconds_left"] = runner.progress.seconds_left if mine and runner else None
        view["can"] = {
            "stop": mine,
            "resume": view["state"] not in (State.RUNNING, State.FINISHED),
            "extend": view["state"] == State.FINISHED and lacks_battery(board.plan),
            "delete": view["state"] != State.RUNNING,
            "judge": view["state"] == State.FINISHED and set(board.plan["sides"]) == {"base", "tuned"},
        }
        return view

    def history(self) -> list[dict[str, Any]]:
        """The newest scorings, one line each."""
        rows = []
        for scoring in all_scorings()[:MOST_HISTORY]:
            board = self.board(scoring.name)
            state = scoring.state()[0]
            card = card_of(board.figures()) if state is State.FINISHED else None
            adapter = board.plan["adapter"] or {}
            rows.append(
                {
                    "scoring": scoring.name,
                    "began": began(board.plan),
                    "tasks": [task["title"] for task in board.plan["tasks"]],
                    "adapter": adapter.get("name", "no adapter"),
                    "samples": board.plan["samples"],
                    "state": str(state),
                    "head": card.head if card else "",
                    "sentence": card.sentence if card else "",
                }
            )
        return rows

    def latest(self, tuned: str = "", base: str = "") -> dict[str, Any] | None:
        """The card of the newest finished scoring of two sides by their fingerprints, of those that are loaded without
        them, with what each source says; None where these have not been scored."""
        if not tuned:
            tuned, base = sides_of(plans.fingerprints(self._lens.status()))
        for scoring in all_scorings()[:MOST_HISTORY]:
            board = self.board(scoring.name)
            if sides_of(board.plan["fingerprints"]) == (tuned, base) and scoring.state()[0] is State.FINISHED:
                card = card_of(board.figures())
                checks = ("checks", f"{card.sentence} Scored {began(board.plan)}.")
                sources = [checks, *sources_of(scoring, self._people(tuned, base))]
                return card.to_dict() | {"scoring": scoring.name, "sources": sources}
        return None

    def compare(self, one: str, other: str) -> dict[str, Any]:
        """The tuned sides of two scorings beside each other, task by task, on the questions that are the same."""
        boards = self.board(one), self.board(other)
        titles = [board.plan["adapter"] or {} for board in boards]
        return against(boards[0].table(), boards[1].table()) | {"titles": titles}

    def file(self, name: str, kind: str, everything: bool) -> dict[str, Any]:
        """A finished scoring's report, or, for the owner, its data, to be saved. Raises UserError."""
        types = {"report.html": "text/html", "score.csv": "text/csv", "score.json": "application/json"}
        board = self.board(name)
        hidden = any(not task.get("show", True) for task in board.plan["tasks"])
        if kind not in types or (hidden and not everything):
            raise UserError("That file is the owner's.")
        if kind == "score.json" and not everything:
            raise UserError("That file is the owner's.")
        if board.scoring.state()[0] is not State.FINISHED:
            raise UserError("There is no report before the scoring has finished.")
        if kind == "report.html":
            content = report(board.scoring, self._people(*sides_of(board.plan["fingerprints"])))
        else:
            content = (board.scoring.path / kind).read_text("utf-8")
        return {"name": f"{board.scoring.name}-{kind}", "type": types[kind], "content": content}

    def _refuse_second(self) -> None:
        if self.working is not None:
            raise UserError(f"The scoring {self.working.scoring.name} is at work: stop it, or wait for its end.")

    def _begin(self, scoring: Scoring, subjects: list[Subject]) -> None:
        self._runner = run.Runner(scoring, subjects, self._lens, background=True)
        self._thread = threading.Thread(target=self._work, args=(self._runner,), name="score", daemon=True)
        self._thread.start()

    def _work(self, runner: run.Runner) -> None:
        try:
            adapter = self._lens.status().adapter
            state, message = runner.run()
            if state is State.FINISHED and adapter is not None:
                keep_with_run(runner.scoring, adapter.path)
            log.info("scoring %s %s: %s", runner.scoring.name, state, message)
        except UserError as error:
            log.warning("scoring %s did not begin: %s", runner.scoring.name, error)
        except Exception:
            log.exception("scoring %s failed", runner.scoring.name)


def sides_of(prints: Mapping[str, str]) -> tuple[str, str]:
    """The fingerprints of the tuned side and of the base side, as votes keep them."""
    model = prints["model"]
    return f"{model}+{prints['adapter']}", f"{model}+{prints['against']}" if prints["against"] else model
