"""The scorer of one's own: a function in a Python file. For tasks that lie on this machine, never from a visitor."""

from __future__ import annotations

import importlib.util
import logging
import math
from pathlib import Path
from typing import Any

from eval_prompts.tasks.scorers.base import Given, Judge, Outcome, Score, said, unknown
from tuning.errors import UserError

log = logging.getLogger(__name__)


def own(file: Any, function: Any = "score", folder: Path | None = None) -> Judge:
    """``function(answer, question)`` in a Python file: true or false, a number from 0 to 1, or either with a reason.

    ``question`` is a dictionary of the question's columns, with ``references`` and ``stopped``.
    """
    if folder is None:
        raise UserError("own runs Python code, which a task from the page cannot do: name the task's file instead")
    path = folder / str(file)
    name = f"{path.name}:{function}"
    judge_answer = _load(path, str(function))

    def judge(given: Given) -> Score:
        question = {**given.columns, "references": list(given.references), "stopped": given.stopped}
        try:
            found = judge_answer(given.text, question)
        except Exception as error:
            log.error("the scorer %s failed", name, exc_info=error)
            return unknown("own", f"{name} failed ({type(error).__name__}: {str(error)[:120]})")
        value, reason = found if isinstance(found, tuple) and len(found) == 2 else (found, "")
        if isinstance(value, bool):
            return said("own", value, str(reason))
        if isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= 1:
            return Score("own", Outcome.MEASURED, str(reason), float(value), f"{value:.2f}")
        return unknown("own", f"{name} gave {str(value)[:60]!r}, not true, false or a number from 0 to 1")

    return judge


def _load(path: Path, function: str) -> Any:
    if not path.is_file():
        raise UserError(f"own: there is no file {path.name} beside the task")
    spec = importlib.util.spec_from_file_location(f"lora_lens_scorer_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"own: {path.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"own: {path.name} cannot be run ({type(error).__name__}: {str(error)[:120]})") from error
    found = getattr(module, function, None)
    if not callable(found):
        raise UserError(f"own: {path.name} has no function {function}")
    return found
