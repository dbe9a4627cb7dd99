"""What has been opened lately, and the adapters that lie among the app's own files."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from eval_prompts.models.adapter_source import STARTERS, is_adapter, within
from eval_prompts.opening.wish import Wish
from tuning.errors import UserError
from tuning.files import data_root, write_json
from tuning.runs.run import Run, is_run, runs_root

log = logging.getLogger(__name__)

MOST = 10
MOST_ADAPTERS = 200
COMES_ALONG = "comes with LoRA Lens"


def recent_file() -> Path:
    """Where it is kept."""
    return data_root() / "opened.json"


def recent() -> list[Wish]:
    """What was opened lately, the newest first. What cannot be read of the file is passed over, which the log says."""
    path = recent_file()
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return [Wish.of(entry) for entry in kept][:MOST]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, AttributeError, UserError) as error:
        log.error("%s cannot be read, so nothing is known of what was opened before", path, exc_info=error)
        return []


def remember(wish: Wish) -> None:
    """Put a wish before the others. A disk that takes nothing costs the memory of it alone, which the log says."""
    entries = [wish, *(other for other in recent() if other != wish)][:MOST]
    try:
        recent_file().parent.mkdir(parents=True, exist_ok=True)
        write_json(recent_file(), [entry.to_dict() for entry in entries], indent=1)
    except OSError:
        log.exception("what was opened cannot be remembered in %s", recent_file())


def adapters_here() -> list[dict[str, str]]:
    """Adapters among the app's files, each with the ``name`` to open it by and ``words`` that say what it is: the
    starters, runs that have one, folders of peft laid into the runs' folder, and those that were kept or unpacked."""
    found = [{"name": name, "words": COMES_ALONG} for name, folder in STARTERS.items() if is_adapter(folder)]
    for folder in newest(runs_root()):
        if is_run(folder):
            if is_adapter(folder / "adapter"):
                model = Run(folder).settings()["config"].get("model", "")
                found.append({"name": folder.name, "words": f"a run on {model}"})
        elif holds_one(folder):
            found.append({"name": folder.name, "words": "a folder in runs"})
    for folder in newest(data_root() / "adapters"):
        if is_adapter(folder):
            found.append({"name": str(folder), "words": "kept at another strength"})
    return found[:MOST_ADAPTERS]


def newest(root: Path) -> list[Path]:
    """The folders of a folder, the newest first, hidden ones left out; none where there is no such folder."""
    try:
        folders = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
        return sorted(folders, key=lambda path: -path.stat().st_mtime)
    except OSError:
        return []


def holds_one(folder: Path) -> bool:
    """Whether a folder is an adapter, or holds exactly one."""
    try:
        return is_adapter(within(folder))
    except (UserError, OSError):
        return False
