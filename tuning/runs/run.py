"""One run = one folder + one worker process + one event stream.

Nothing here imports torch, so that a page can list, start, follow and stop runs before any model is loaded. A worker
writes to files alone: whoever watches may come, go and come back without the run noticing.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tuning import presets
from tuning.data.place import EMBEDDED_SETS, is_place, parse
from tuning.errors import UserError
from tuning.file_names import WEIGHTS_FILE
from tuning.files import data_root, write_json
from tuning.presets import Config
from tuning.runs import events, process, start_adapter
from tuning.runs.folder import ENDINGS, WorkFolder, dated_name, newest_first
from tuning.runs.lock import refuse_second
from tuning.runs.process import exit_code, spawn
from tuning.runs.record import record_of

Standing = Literal["new", "running", "finished", "stopped", "failed"]
LOG_LINES = 12
LONGEST_NAME = 60
LONGEST_NOTES = 2000
MAY_BE_FILES = ("chat_template", "score_on", "checked_by")
"""Settings that name something built in, or a file."""
RUN_NAME = re.compile(rf"[^\W_][\w.-]{{0,{LONGEST_NAME - 1}}}")


def runs_root() -> Path:
    """The folder of all runs that were given no other."""
    return data_root() / "runs"


@dataclass(frozen=True)
class RunState:
    """What there is to say of a run: ``state`` is how it stands, ``message`` says why in words; times are Unix seconds;
    ``last_lines`` are the end of its log."""

    name: str
    state: Standing
    preset: str
    model: str
    data: str
    step: int
    max_steps: int
    loss: float | None
    validation_loss: float | None
    best_loss: float | None
    eta_seconds: float | None
    tokens_per_second: float | None
    created: float
    ended: float | None
    message: str
    last_lines: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """From the start to the end, or to now."""
        return max(0.0, (self.ended or time.time()) - self.created)


@dataclass(frozen=True)
class Run(WorkFolder):
    """A run by its folder."""

    @property
    def log_path(self) -> Path:
        """The worker's log, for people."""
        return self.path / "run.log"

    @property
    def adapter(self) -> Path:
        """The best adapter so far, in peft's format."""
        return self.path / "adapter"

    def settings(self) -> dict[str, Any]:
        """What config.json holds: preset, created, config, notes, and data once that was read. Raises UserError if
        this is no run folder."""
        try:
            content = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
            needed = {name: content[name] for name in ("preset", "created", "config")}
            kept = {"data": content.get("data", {}), "notes": str(content.get("notes") or "")}
            return needed | {"created": float(needed["created"])} | kept
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.path} is not a readable run folder (config.json): check the path.") from error

    def config(self) -> Config:
        """The run's own settings."""
        return presets.from_dict(self.settings()["config"])

    def history(self) -> list[events.Event]:
        """All events, what was done twice because of a resume counted once."""
        return events.history(self.follow()[0])

    def log_tail(self, lines: int = LOG_LINES) -> list[str]:
        """The last lines of the log."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - events.TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return []
        return text.splitlines()[-lines:]

    def state(self) -> RunState:
        """How the run stands, from its files and its process. Raises UserError if this is no run folder."""
        settings = self.settings()
        recent = events.history(events.tail(self.events_path))
        newest = {event["event"]: event for event in recent}
        working = self.working()
        ending = next((event for event in reversed(recent) if event["event"] in ENDINGS), None)
        step = newest.get("step", {})
        shown, message = judge(self, working, ending)
        validation = newest.get("validation", {})
        return RunState(
            name=self.name,
            state=shown,
            preset=settings["preset"],
            model=settings["config"]["model"],
            data=settings["config"]["data"],
            step=step.get("step", 0),
            max_steps=settings["config"]["max_steps"],
            loss=step.get("loss"),
            validation_loss=validation.get("validation_loss"),
            best_loss=record_of(self.adapter).get("loss_after"),
            eta_seconds=step.get("eta_seconds") if shown == "running" else None,
            tokens_per_second=step.get("tokens_per_second"),
            created=settings["created"],
            ended=None if shown in ("running", "new") else (recent[-1]["time"] if recent else settings["created"]),
            message=message,
            last_lines=self.log_tail() if shown == "failed" else [],
        )

    def resume(self) -> Run:
        """Go on from the newest checkpoint in a worker of its own. Raises UserError if it runs or has finished."""
        self.config()
        state = self.state()
        if state.state in ("running", "finished"):
            raise UserError(f"Run {self.name} {'is running' if state.state == 'running' else 'has finished'} already.")
        refuse_second()
        begin(self)
        return self

    def stop(self) -> None:
        """Ask the worker to save and end; returns at once. Does nothing if none works."""
        if self.working():
            os.kill(self.worker()["pid"], signal.SIGTERM)

    def delete(self) -> None:
        """Remove the folder and all it holds. Raises UserError while a worker is alive, or if this is no run."""
        self.settings()
        if self.working():
            raise UserError(f"Run {self.name} is running: stop it first.")
        shutil.rmtree(self.path)


def judge(run: Run, working: bool, ending: events.Event | None) -> tuple[Standing, str]:
    """State and message: what the last event says, unless the process says otherwise."""
    if working:
        return "running", "training"
    if ending is not None:
        return ending["event"], ending.get("message", "")
    worker = run.worker()
    if not worker:
        return "new", "not started yet"
    return "failed", likely_cause(run, worker)


def likely_cause(run: Run, worker: dict[str, Any]) -> str:
    """Why a worker is gone without a last word."""
    code = exit_code(run.path)
    text = "\n".join(run.log_tail()).lower()
    if worker.get("boot") and worker["boot"] != process.boot():
        cause = "the machine was restarted"
    elif "no space left" in text:
        cause = "the disk is full"
    elif code == -signal.SIGKILL or "out of memory" in text:
        cause = "it was killed, most likely because the machine ran out of memory (lower --micro-batch-tokens)"
    elif code is not None and code < 0:
        cause = f"it was ended by {signal.Signals(-code).name}"
    else:
        cause = "it was killed, or the machine ran out of memory"
    return f"The worker is gone: {cause}. Resume continues from the last checkpoint."


def is_trained(adapter: Path) -> bool:
    """Whether a run's adapter folder holds one that differs from the base: before the first better validation it does
    not."""
    return (adapter / WEIGHTS_FILE).is_file() and record_of(adapter).get("steps") != 0


def create(preset: str, config: Config, folder: Path | None = None, notes: str = "") -> Run:
    """Make a run folder with its config.json, and with the adapter that it goes on from; ``notes`` are its user's.

    Raises UserError if ``folder`` exists or cannot be made, or if it cannot go on from that adapter.
    """
    config, preset = start_adapter.continued(config, runs_root()), presets.name_today(preset)
    if folder is None:
        folder = dated_name(runs_root(), preset)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        config = start_adapter.keep(config, folder)
        content = {"preset": preset, "created": round(time.time(), 3), "config": presets.to_dict(anchored(config))}
        text = json.dumps(content | ({"notes": notes} if notes else {}), indent=2)
        (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    except FileExistsError as error:
        raise UserError(f"The run folder {folder} exists already: choose another --run-dir, or resume it.") from error
    except OSError as error:
        raise UserError(f"The run folder {folder} cannot be made ({error.strerror}): choose another place.") from error
    return Run(folder.resolve())


def anchored(config: Config) -> Config:
    """The same settings with the whole paths of data, tasks and template, so that a run can go on from any folder."""
    named = {name: Path(value).expanduser() for name in MAY_BE_FILES if (value := getattr(config, name))}
    files = {name: path for name, path in named.items() if (path.suffix or len(path.parts) > 1) and path.is_file()}
    places: dict[str, Any] = {name: str(path.absolute()) for name, path in files.items()}
    config = dataclasses.replace(config, **places)
    if is_place(config.data):
        place = parse(config.data)
        if place.path is None or place.path.is_absolute():
            return config
        whole = dataclasses.replace(place, database=str(place.path.absolute()))
        return dataclasses.replace(config, data=whole.name + (f"&where={place.where}" if place.where else ""))
    path = Path(config.data).expanduser()
    here = config.data not in EMBEDDED_SETS and path.exists()
    return dataclasses.replace(config, data=str(path.absolute())) if here else config


def named_folder(name: str) -> Path:
    """The folder of a new run that is called ``name``; blanks become hyphens. Raises UserError for a name that is taken
    or that no folder can have."""
    name = "-".join(name.split())
    if not RUN_NAME.fullmatch(name):
        raise UserError(
            f"A run's name is at most {LONGEST_NAME} letters, digits, dots, hyphens and underscores, and begins with a "
            "letter or digit."
        )
    if (runs_root() / name).exists():
        raise UserError(f"There is a run {name!r} already: choose another name.")
    return runs_root() / name


def start(preset: str, overrides: dict[str, Any] | None = None, folder: Path | None = None, notes: str = "") -> Run:
    """Start a run in a worker process that outlives this one; returns once it works.

    Raises UserError for a bad setting, while another run trains on this machine, or if the worker ends at once.
    """
    config = presets.configure(preset, overrides)
    refuse_second()
    run = create(preset, config, folder, notes)
    begin(run)
    return run


def set_notes(chosen: Run, notes: str) -> None:
    """Keep a user's words on a run with it. Raises UserError if they are too long or cannot be kept."""
    if len(notes) > LONGEST_NOTES:
        raise UserError(f"A run's notes are at most {LONGEST_NOTES:,} characters long.")
    chosen.settings()
    path = chosen.path / "config.json"
    content = json.loads(path.read_text(encoding="utf-8")) | {"notes": notes.strip()}
    try:
        write_json(path, content, indent=2)
    except OSError as error:
        raise UserError(f"The notes cannot be kept ({error.strerror}): make room and try again.") from error


def begin(run: Run) -> None:
    """Have a run worked on by a process of its own. Raises UserError, with its last words, if that ends at once."""
    if spawn(run.path, run.log_path, lambda pid: run.worker().get("pid") == pid):
        return
    lines = [line for line in run.log_tail() if line.strip()]
    raise UserError(lines[-1].removeprefix("error: ") if lines else f"The worker of {run.name} ended at once.")


def all_runs() -> list[Run]:
    """Every run under the root, newest first by when it was made; folders that are no runs are passed over."""
    return [
        Run(path) for path in newest_first(runs_root(), "config.json", lambda path: Run(path).settings()["created"])
    ]


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run's config.json."""
    try:
        Run(folder).settings()
    except UserError:
        return False
    return True


def find(name: str) -> Run:
    """The run with that id, or in that folder. Raises UserError if there is none."""
    named = runs_root() / name
    path = named if re.fullmatch(r"[\w.-]+", name) and named.is_dir() else Path(name).expanduser()
    if not (path / "config.json").is_file():
        known = [run.name for run in all_runs()]
        hint = presets.nearest(name, known) if known else "none has been started yet."
        raise UserError(f"There is no run {name!r}: {hint}")
    return Run(path.resolve())
