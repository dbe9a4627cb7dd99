"""What the Train tab shows of a run and of all runs, as plain data: the page's script draws it, the tests read it."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import Any

from tuning import presets
from tuning.errors import UserError
from tuning.runs import lock, progress, run, scores
from tuning.runs.progress import duration, number
from tuning.runs.run import Run, RunState
from tuning.runs.scores import TaskScore
from tuning.views import estimate, form, run_table
from tuning.views.run_fold import Fold

LIVE_POLL_SECONDS, IDLE_POLL_SECONDS = 0.4, 4.0
MOST_OVERLAID = 6
STATE_WORDS = {"new": "not started", "finished": "finished", "stopped": "stopped", "failed": "failed"}
NAME = re.compile(r"\w[\w.-]*")
BESIDE = ("differs", "score", "forgotten", "notes", "task")
"""What of a run is told beside the others."""


class Watcher:
    """Looks at runs for any number of pages: what was read of a run once is kept for the next look."""

    def __init__(self) -> None:
        self._folds: dict[Path, Fold] = {}
        self._rows: dict[Path, tuple[Any, dict[str, Any]]] = {}
        self._told: dict[Path, run_table.Told] = {}
        self._lock = threading.Lock()
        self.stopping: set[Path] = set()
        """Runs that were asked to stop and have not ended yet."""

    def current(self) -> Run | None:
        """The run that trains now, else the newest one."""
        training = lock.current()
        if training is not None and (training / "config.json").is_file() and estimate.measuring() is None:
            return Run(training)
        return next(iter(run.all_runs()), None)

    def training_words(self) -> str:
        """What trains on this machine now, in a few words; '' if nothing does."""
        training = lock.current()
        if training is None:
            return ""
        if estimate.measuring() is not None:
            return "measuring training speed"
        try:
            state = Run(training).state()
        except UserError:
            return ""
        return f"training {state.step:,}/{state.max_steps:,}"

    def named(self, name: str) -> Run:
        """The run of that id under the runs' folder, or the one that trains now. Raises UserError if it is neither."""
        training = lock.current()
        if training is not None and training.name == name and run.is_run(training):
            return Run(training)
        if not isinstance(name, str) or not NAME.fullmatch(name) or not run.is_run(run.runs_root() / name):
            raise UserError(f"There is no run {str(name)[:80]!r} any more.")
        return Run((run.runs_root() / name).resolve())

    def look(self, name: str | None, seen: dict[str, Any]) -> dict[str, Any]:
        """A run as the page shows it: the named one, else the current one.

        ``seen`` is what the page holds already (the ``seen`` of the last look): of the log only later lines are
        told, charts and samples only if they have changed. Raises UserError if the named run is gone.
        """
        chosen = self.named(name) if name else self.current()
        gone = {} if name else self._gone(seen.get("run"))
        if chosen is None:
            return {"run": None, "poll_seconds": IDLE_POLL_SECONDS} | gone
        with self._lock:
            fold = self._folds.setdefault(chosen.events_path, Fold(chosen.events_path))
            state = chosen.state()
            fold.update()
            return self._view(chosen, state, fold, seen) | gone

    def _gone(self, name: Any) -> dict[str, str]:
        """That the run which a page shows has been removed, if it has."""
        try:
            if name is not None:
                self.named(name)
        except UserError as error:
            return {"gone": str(error)}
        return {}

    def _view(self, chosen: Run, state: RunState, fold: Fold, seen: dict[str, Any]) -> dict[str, Any]:
        settings = chosen.settings()
        config = presets.from_dict(settings["config"])
        if state.state != "running":
            self.stopping.discard(chosen.path)
        stopping = chosen.path in self.stopping
        known = seen if seen.get("epoch") == fold.epoch and seen.get("run") == chosen.name else {}
        since = known.get("log")
        lines = fold.log_after(since if isinstance(since, int) else 0)
        step = fold.newest.get("step", {})
        begun = fold.newest.get("resumed", {}).get("step") or 0
        view: dict[str, Any] = {
            "run": chosen.name,
            "state": "stopping" if stopping else state.state,
            "words": words(state, fold, stopping),
            "message": form.without_folders(outcome(state, fold)),
            "last_lines": [form.without_folders(line) for line in state.last_lines],
            "step": step.get("step", begun),
            "max_steps": config.max_steps,
            "eta": f"about {duration(step['eta_seconds'])} left" if left(state, step) else "",
            "figures": figures(fold, state),
            "can": {
                "stop": state.state == "running" and not stopping,
                "resume": state.state in ("stopped", "failed", "new"),
                "delete": state.state != "running",
                "use": run.is_trained(chosen.adapter),
            },
            "log": [[line, clock(at), kind, text] for line, at, kind, text in lines],
            "seen": {
                "run": chosen.name,
                "epoch": fold.epoch,
                "log": fold.lines,
                "charts": fold.charted,
                "samples": fold.sampled,
            },
            "poll_seconds": LIVE_POLL_SECONDS if state.state == "running" else IDLE_POLL_SECONDS,
        }
        if not known:
            view["fresh"] = True
            view["settings"] = form.settings_words(settings["preset"], config)
            view["command"] = form.command_of(settings["preset"], config)
            view["notes"] = settings["notes"]
        if known.get("charts") != fold.charted:
            view["charts"] = fold.charts()
        stamp = changed(chosen.path / scores.FILE)
        view["seen"]["scores"] = stamp
        if known.get("scores") != stamp:
            view["scores"] = scores_view(chosen)
        if known.get("samples") != fold.sampled:
            view["samples"] = fold.samples
        return view

    def history(self) -> list[dict[str, Any]]:
        """All runs, newest first, one row each."""
        with self._lock:
            held = [*self._rows]
        for path in [path for path in held if not path.exists()]:
            with self._lock:
                self._rows.pop(path, None)
                self._told.pop(path, None)
                self._folds.pop(path / "events.jsonl", None)
        runs = run.all_runs()
        rows = [self._row(each) for each in runs]
        with self._lock:
            known = [self._told[each.path] for each in runs if each.path in self._told]
        beside, why = run_table.beside(known)
        told = {row["run"]: {key: row[key] for key in BESIDE} | {"chosen": row["best"]} for row in beside}
        return [row | told.get(row["run"], {}) | {"best_by": why} for row in rows]

    def _row(self, each: Run) -> dict[str, Any]:
        """A row of the history; one of a run that does not work is kept until its files change."""
        working = each.working()
        try:
            status = each.events_path.stat()
            key: tuple[int, ...] = (status.st_mtime_ns, status.st_size, status.st_ino, working)
        except FileNotFoundError:
            key = (0, 0, 0, working)
        key += tuple(changed(each.path / name) for name in ("config.json", scores.FILE))
        held = self._rows.get(each.path)
        if held is not None and held[0] == key and not working:
            return held[1]
        state = each.state()
        told = (each.config(), run_table.outcome_of(each))
        row = {
            "run": state.name,
            "preset": state.preset,
            "model": form.data_name(state.model),
            "data": form.data_name(state.data),
            "steps": f"{state.step:,} of {state.max_steps:,}",
            "best": number(state.best_loss),
            "took": duration(state.seconds),
            "began": time.strftime("%d %b %Y, %H:%M", time.localtime(state.created)),
            "state": state.state,
            "words": STATE_WORDS.get(state.state, "training"),
            "adapter": run.is_trained(each.adapter),
        }
        with self._lock:
            self._rows[each.path] = (key, row)
            self._told[each.path] = told
        return row

    def curves(self, names: list[str]) -> list[dict[str, Any]]:
        """Losses of some runs, each over its whole length, for one chart. At most six; runs that are gone are left
        out."""
        found = []
        for name in names[:MOST_OVERLAID]:
            try:
                chosen = self.named(name)
            except UserError:
                continue
            with self._lock:
                fold = self._folds.setdefault(chosen.events_path, Fold(chosen.events_path))
                fold.update()
                series = {kind: fold.series[kind].buckets() for kind in ("loss", "validation")}
            found.append({"run": chosen.name, **series})
        return found


def scores_view(chosen: Run) -> dict[str, Any]:
    """What a run's checkpoints have scored: lines for a chart, and a row for each that can be taken."""
    found = scores.read(chosen.path)
    alike: dict[tuple[str, int], list[TaskScore]] = {}
    for one in found:
        if not one.beside:
            alike.setdefault((one.task, one.questions), []).append(one)
    best = []
    for group in alike.values():
        top = max(one.score for one in group)
        winners = [one for one in group if one.score == top]
        best += winners if len(winners) < len(group) else []  # where all are alike, none is better
    rows = []
    for one in (one for one in found if not one.beside):
        lost = scores.forgotten(found, one.step)
        told = f"{100 * one.score:.1f}% on {one.title} ({100 * one.low:.1f} to {100 * one.high:.1f})"
        told += "" if lost is None else f", forgot {100 * lost:+.1f} points"
        folder = chosen.path / "checkpoints" / f"step-{one.step:06d}"
        rows.append({"step": one.step, "words": told, "best": one in best, "can_use": folder.is_dir()})
    return {"lines": run_table.curve(found), "rows": rows}


def changed(path: Path) -> int:
    """When a file was written last; 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def left(state: RunState, step: dict[str, Any]) -> bool:
    """Whether there is something to say about the time left."""
    return state.state == "running" and isinstance(step.get("eta_seconds"), int | float)


def words(state: RunState, fold: Fold, stopping: bool) -> str:
    """The state in words."""
    if stopping:
        return "saving, then stopping"
    if state.state != "running":
        return STATE_WORDS[state.state]
    if fold.last == "sampling":
        return sampling_words(fold.newest["sampling"])
    if fold.last == "scoring":
        event = fold.newest["scoring"]
        return f"scoring its task: {event['done']:,} of {event['total']:,} answers"
    return "loading model and data" if fold.last in ("", "loading") else "training"


def sampling_words(event: dict[str, Any]) -> str:
    """How far the model's own answers of a round are."""
    return f"round {event['round']} of {event['of']}: {event['done']:,} of {event['total']:,} own answers"


def outcome(state: RunState, fold: Fold) -> str:
    """How a run that does not train any more has ended; '' for the others."""
    if state.state in ("running", "new"):
        return ""
    result = fold.newest.get("result")
    return progress.line(result).capitalize() + "." if state.state == "finished" and result else state.message


def figures(fold: Fold, state: RunState) -> list[list[str]]:
    """The newest figures as pairs of a name and words."""
    step, validation = fold.newest.get("step", {}), fold.newest.get("validation", {})
    pairs = [
        ["Loss", number(step.get("loss"))],
        ["Validation loss", number(validation.get("validation_loss"))],
        ["Best so far" if state.state == "running" else "Best", number(state.best_loss)],
        ["Speed", f"{step['tokens_per_second']:,.0f} tok/s" if step.get("tokens_per_second") else "-"],
        ["Memory", f"{step['memory_mb']:,} MB" if step.get("memory_mb") else "-"],
        ["Learning rate", f"{step['learning_rate']:.2e}" if step.get("learning_rate") is not None else "-"],
        ["Trained for", duration(fold.seconds)],
    ]
    if validation.get("right") is not None:
        pairs.insert(2, ["Held-out pairs right", f"{100 * validation['right']:.0f}%"])
    told = fold.newest.get("round")
    if told:
        pairs.append([f"Round {told['number']} of {told['of']}", f"{told['passed']:,} of {told['answers']:,} pass"])
    return [[name, "–" if text == "-" else text] for name, text in pairs]


def clock(at: float) -> str:
    """The time of day of a Unix time."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(at))
    except (OverflowError, ValueError, OSError):
        return "--:--:--"
