"""What a run's adapter becomes for use elsewhere, on behalf of a page: a zip in parts, merged weights, a push to the
Hub. What takes long goes on in a thread, one at a time, and says how it stands."""

from __future__ import annotations

import base64
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuning.errors import UserError
from tuning.exports import hub
from tuning.files import data_root
from tuning.runs import helper_process
from tuning.runs.run import Run

log = logging.getLogger(__name__)

FAILED = "The export failed, and the server's log says why: try again."
PART_BYTES = 3 << 20
MERGE_SECONDS = 1800.0


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

    def told(self, run: Run) -> dict[str, str]:
        """How a run's latest export stands: ``state`` ('working', 'done' or 'failed') and ``words``; or empty."""
        return self._told.get(run.path, {})

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
        """Begin to write base and adapter as one model under the exports. Raises UserError if something is under way
        or the model is there already."""
        target = exports() / f"{run.name}-merged"
        if target.exists():
            raise UserError(f"The merged model is there already: {place(target)}.")
        exports().mkdir(parents=True, exist_ok=True)

        def work() -> str:
            command = [sys.executable, "-m", "tuning", "export", str(run.path), str(target), "--merged"]
            code, _, said = helper_process.call(command, "", MERGE_SECONDS)
            if code:
                raise UserError(said or helper_process.died(code))
            return f"The merged model is {place(target)}."

        self._begin(run, "merging the weights\u2026", work)

    def push(self, run: Run, repository: str, private: bool) -> None:
        """Begin to push the adapter to the Hub. Raises UserError if something is under way or there is no token."""
        if not hub.token():
            raise UserError(hub.NO_TOKEN)

        def work() -> str:
            return f"The adapter is at {hub.push(run, repository or run.name, private=private)}."

        self._begin(run, "pushing to the Hub\u2026", work)

    def _begin(self, run: Run, words: str, work: Callable[[], str]) -> None:
        if not self._lock.acquire(blocking=False):
            raise UserError("Another export is under way: wait until it is done.")
        self._told[run.path] = {"state": "working", "words": words}

        def go() -> None:
            try:
                self._told[run.path] = {"state": "done", "words": work()}
            except UserError as error:
                self._told[run.path] = {"state": "failed", "words": str(error)}
            except Exception:
                log.exception("The export of run %s failed", run.name)
                self._told[run.path] = {"state": "failed", "words": FAILED}
            finally:
                self._lock.release()

        threading.Thread(target=go, name="export", daemon=True).start()
