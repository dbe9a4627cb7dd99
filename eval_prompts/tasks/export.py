"""A task as the text of a file that can be taken to another machine: its questions inline, no path of this one."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

from eval_prompts.models.adapter_source import STARTERS
from eval_prompts.tasks.catalogue import called
from eval_prompts.tasks.files import MOST_CHARACTERS, dump_dict
from eval_prompts.tasks.task import Task
from tuning.runs.run import runs_root

ADAPTER = "The adapter that was made for it, {name}, lies in a folder of the machine this comes from: name it here."
BATTERY = "Of the battery, {names} {lie} in a folder of the machine this comes from: name {them} here."
LONG = "It is longer than the {most:,} characters that are read as one task: move its questions to a file of their own."
OWN = "The scorer own needs {file} beside this file."


def dump_task(task: Task) -> str:
    """A task as the text of a file. What cannot be taken along stands in remarks at its head."""
    text, remarks = taken_away(task)
    return "".join(f"# {' '.join(remark.split())}\n" for remark in remarks) + text


def taken_away(task: Task) -> tuple[str, list[str]]:
    """A task as the text of a file, and what somebody who takes it away should know. What lies beside the task's own
    file is named from there, as it may lie beside this one; a run by its name; nothing by where it lies here."""
    told = task.to_dict()
    folder = task.file.parent.absolute() if task.file is not None else None
    remarks = []
    if task.adapter:
        told["adapter"] = elsewhere(task.adapter, folder)
        if not told["adapter"]:
            remarks.append(ADAPTER.format(name=called(task.adapter)))
            del told["adapter"]
    if task.battery:
        named = [(name, elsewhere(name, folder)) for name in task.battery]
        told["battery"] = [portable for _, portable in named if portable]
        if lost := [called(name) for name, portable in named if not portable]:
            many = len(lost) > 1
            lie, them = ("lie", "them") if many else ("lies", "it")
            remarks.append(BATTERY.format(names=", ".join(lost), lie=lie, them=them))
    if task.scorers:
        told["score"] = [scorer.public for scorer in task.scorers]
        remarks += [OWN.format(file=called(str(one.options["file"]))) for one in task.scorers if "file" in one.options]
    text = dump_dict({name: value for name, value in told.items() if value != []})
    if len(text) > MOST_CHARACTERS:
        remarks.append(LONG.format(most=MOST_CHARACTERS))
    return text, remarks


def elsewhere(name: str, folder: Path | None) -> str:
    """What a file or folder is called on another machine; '' where there is no telling."""
    path = Path(name).expanduser()
    if folder is not None and path.is_relative_to(folder):
        return path.relative_to(folder).as_posix()
    in_runs = path.absolute()
    if in_runs.is_relative_to(runs_root().absolute()):
        return in_runs.relative_to(runs_root().absolute()).parts[0]
    if name in STARTERS or not (is_path(name) or ("/" in name and path.exists())):
        return name
    return ""


def is_path(name: str) -> bool:
    """Whether a name says where something lies on this machine."""
    return name.startswith((".", "~")) or Path(name).is_absolute() or PureWindowsPath(name).is_absolute()
