"""What a run's adapter becomes for use elsewhere, on behalf of a page: a zip in parts, merged weights, a push to the
Hub. What takes long goes on in a thread, one at a time, and says how it stands."""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from tuning.errors import UserError
from tuning.exports import hub
from tuning.exports.kinds import PRECISIONS, Kind
from tuning.file_names import CERTIFICATE_FILE
from tuning.files import data_root
from tuning.runs import helper_process
from tuning.runs.run import Run

log = logging.getLogger(__name__)

FAILED = "The export failed, and the server's log says why: try again."
STOPPED = "The export was stopped; nothing of it is left."
PART_BYTES = 3 << 20


def exports() -> Path:
    """Where exports lie."""
    return data_root() / "exports"


def place(target: Path) -> str:
    """Where an export lies, without telling visitors where the data folder is."""
    return f"{target.parent.name}/{target.name} in the data folder (LORA_LENS_DATA)"


class Exports:
    """Exports of runs; of those in the background there is one at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: dict[Path, dict[str, str]] = {}
        self._worker: subprocess.Popen[str] | None = None
        self._working_on: Path | None = None
        self._stopping = False

    def told(self, run: Run) -> dict[str, str]:
        """How a run's latest export stands: ``state`` ('working', 'done', 'stopped' or 'failed'), ``words``, and the
        ``colour`` of its certificate where it has one; or empty."""
        return self._told.get(run.path, {})

    def made(self, run: Run) -> list[dict[str, str]]:
        """The exports of a run that lie here, by name: ``name``, ``place``, and of the certificate ``colour`` and
        ``sentence`` ('' where there is none)."""
        found = []
        for folder in sorted(exports().glob(f"{run.name}-*")):
            if folder.is_dir() and kind_of(run, folder.name):
                proof = certificate_of(folder)
                found.append({"name": folder.name, "place": place(folder), **proof})
        return found

    def part(self, run: Run, offset: int) -> dict[str, Any]:
        """A part of the run's best adapter as a zip: its name, whole size, base64 content, and where the next part
        begins (None after the last). The zip is packed anew for offset 0.

        Raises UserError if there is no adapter yet, or no such part.
        """
        from tuning.exports.export import export_adapter

        packed = exports() / f"{run.name}.zip"
        if offset == 0:
            exports().mkdir(parents=True, exist_ok=True)
            packed.unlink(missing_ok=True)
            export_adapter(run, packed)
        try:
            with packed.open("rb") as file:
                size = packed.stat().st_size
                file.seek(offset)
                content = file.read(PART_BYTES)
        except OSError as error:
            raise UserError("The zip no longer exists: download it again from the start.") from error
        following = offset + len(content)
        if following >= size:
            packed.unlink(missing_ok=True)
        encoded = base64.b64encode(content).decode("ascii")
        return {"name": packed.name, "size": size, "content": encoded, "next": following if following < size else None}

    def merge(self, run: Run) -> None:
        """Begin to write base and adapter as one model in fp32, as :meth:`export` does."""
        self.export(run, "merged", "fp32")

    def export(self, run: Run, kind: str, precision: str = "") -> str:
        """Begin to write an export with its certificate under the exports; its name there.

        Raises UserError for a kind or precision that there is not, if something is under way, or if it is there.
        """
        target = exports() / name_of(run, kind, precision)
        if target.exists():
            what = "merged model" if kind == "merged" else "export"
            raise UserError(f"The {what} is there already: {place(target)}.")
        exports().mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tuning", "export", str(run.path), str(target), "--as", kind, "--events"]
        command += ["--precision", precision] if precision else []

        def started(worker: subprocess.Popen[str]) -> None:
            self._worker = worker
            if self._stopping:
                worker.terminate()

        def heard(line: str) -> None:
            words = progress_words(line)
            if words:
                self._told[run.path] = {"state": "working", "words": words}

        def work() -> dict[str, str]:
            code, said = helper_process.follow(command, heard, started)
            if self._stopping:
                return {"state": "stopped", "words": STOPPED}
            if not target.exists():
                raise UserError(said or helper_process.died(code))
            proof = certificate_of(target)
            return {"state": "done", "words": outcome_words(target, proof), "colour": proof["colour"]}

        self._begin(run, "reading base and adapter\u2026", work)
        return target.name

    def stop(self, run: Run) -> None:
        """End a run's export; nothing of it stays. Does nothing if none is under way."""
        if self._working_on == run.path:
            self._stopping = True
            if self._worker is not None and self._worker.poll() is None:
                self._worker.terminate()

    def push(self, run: Run, repository: str, private: bool, what: str = "") -> None:
        """Begin to push the adapter, or the export called ``what``, to the Hub. Raises UserError if something is under
        way, there is no token or no such export, or its certificate is red."""
        if not hub.token():
            raise UserError(hub.NO_TOKEN)
        folder = self._pushable(run, what) if what else None

        def work() -> dict[str, str]:
            if folder is None:
                where = hub.push(run, repository or run.name, private=private)
                return {"state": "done", "words": f"The adapter is at {where}."}
            where = hub.push_folder(folder, repository or folder.name, private=private)
            return {"state": "done", "words": f"{folder.name} is at {where}."}

        self._begin(run, "pushing to the Hub\u2026", work)

    def _pushable(self, run: Run, what: str) -> Path:
        chosen = next((each for each in self.made(run) if each["name"] == what), None)
        if chosen is None:
            raise UserError(f"There is no export {what!r} of this run: export it first.")
        if chosen["colour"] == "red":
            raise UserError(f"{what} is not pushed, because its certificate is red: {chosen['sentence']}")
        return exports() / what

    def _begin(self, run: Run, words: str, work: Callable[[], dict[str, str]]) -> None:
        if not self._lock.acquire(blocking=False):
            raise UserError("Another export is under way: wait until it is done.")
        self._told[run.path] = {"state": "working", "words": words}
        self._working_on, self._worker, self._stopping = run.path, None, False

        def go() -> None:
            try:
                self._told[run.path] = work()
            except UserError as error:
                self._told[run.path] = {"state": "failed", "words": str(error)}
            except Exception:
                log.exception("The export of run %s failed", run.name)
                self._told[run.path] = {"state": "failed", "words": FAILED}
            finally:
                self._working_on = None
                self._lock.release()

        threading.Thread(target=go, name="export", daemon=True).start()


def name_of(run: Run, kind: str, precision: str = "") -> str:
    """What an export is called: RUN-gguf-Q8_0; RUN-merged for the merged model in fp32, as it was always called.

    Raises UserError for a kind or precision that there is not.
    """
    known: Kind | None = next((each for each in get_args(Kind) if each == kind), None)
    if known is None:
        raise UserError(f"There is no export {kind!r}: choose {', '.join(get_args(Kind))}.")
    choices = PRECISIONS.get(known, ())
    if precision and precision not in choices:
        raise UserError(f"An export as {kind} has no precision {precision!r}: choose {', '.join(choices) or 'none'}.")
    if kind == "merged" and precision == "fp32":
        return f"{run.name}-merged"
    return "-".join([run.name, kind, *([precision or choices[0]] if choices else [])])


def kind_of(run: Run, name: str) -> Kind | None:
    """Of which kind the export called ``name`` is; None if it is none of this run's."""
    for kind in get_args(Kind):
        for precision in ("", *PRECISIONS.get(kind, ())):
            if name == name_of(run, kind, precision):
                found: Kind = kind
                return found
    return None


def certificate_of(folder: Path) -> dict[str, str]:
    """Colour and sentence of an export's certificate; '' where it has none."""
    try:
        content = json.loads((folder / CERTIFICATE_FILE).read_text(encoding="utf-8"))
        return {"colour": str(content["colour"]), "sentence": str(content["sentence"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {"colour": "", "sentence": ""}


def progress_words(line: str) -> str:
    """A line of ``export --events`` for people; '' for one that tells no progress."""
    try:
        event = json.loads(line)
        text, fraction = str(event["text"]), event["fraction"]
    except (ValueError, KeyError, TypeError):
        return ""
    return f"{text}\u2026" if fraction is None else f"{text}\u2026 {fraction:.0%}"


def outcome_words(target: Path, proof: dict[str, str]) -> str:
    """What is said of a finished export."""
    what = "merged model" if target.name.endswith("-merged") else "export"
    words = f"The {what} is {place(target)}."
    if proof["colour"] == "red":
        return f"Do not use it as it is: {proof['sentence']} {words}"
    return f"{words} {proof['sentence']}".strip()
