"""What an adapter's own record says it was measured to be: one line, how that was measured, and example questions.

A finished scoring of a run's best adapter against its base is written into the adapter's record, so it travels with the
adapter. Where a record holds nothing of the kind, nothing is said.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval_prompts.scoring.figures import TaskFigures, figures_of
from eval_prompts.scoring.folder import Scoring
from eval_prompts.scoring.result import date, table_of
from eval_prompts.scoring.table import SIDES, Outcome, Table, TaskTable
from eval_prompts.tasks.catalogue import all_tasks
from tuning.data.chat import PYTHON_FORMAT, PromptFormat
from tuning.errors import UserError
from tuning.file_names import CONFIG_FILE, RECORD_FILE
from tuning.files import write_json
from tuning.models.weights import fingerprint

KEY = "evidence"
PROMPT = ("system", "user", "shots")
KINDS = {"gain": (Outcome.GAINED,), "tie": (Outcome.BOTH, Outcome.NEITHER), "loss": (Outcome.LOST,)}
"""Examples, and the outcomes that they may have: solved by neither side is a tie where none is solved by both."""
LONGEST_QUESTION = 2000
DIGITS = 6
"""To which a share is rounded."""
SCALE = ("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern")
"""Settings that say what an adapter's factors come to."""
ALTERED = "What its record was measured to be is of other weights than these: score it anew."
OTHER_BASE = "What its record was measured to be is of another base than this one: score it anew."
HIDDEN = "Its questions are not open to visitors, so none is shown."
OTHERWISE = (
    "Its examples were asked in another prompt than questions are asked in now, so none is shown: the task that they "
    "are of ({source}) shows them."
)
UNKNOWN = "Its questions are not known to be open to visitors, so none is shown."

log = logging.getLogger(__name__)


def of_table(table: Table) -> dict[str, Any] | None:
    """A finished scoring of both sides, as a record keeps it; None where the sides were not compared."""
    plan = table.plan
    figures = figures_of(table)
    own, *beside = figures.tasks
    if own.difference is None or plan["against"]:
        return None
    first = plan["tasks"][0]
    settings = first["settings"]
    hidden = not first.get("show", True)
    at = 0 if hidden else examples_place(plan["tasks"])
    shown = figures.tasks[at]
    return {
        "task": own.title,
        "questions": own.difference.of,
        "passes": own.metric == "passes",
        **{side: round(mean, DIGITS) for side, mean in compared_means(table.tasks[own.name]).items()},
        **{f"{side}_ended": own.sides[side].ended for side in SIDES},
        **{f"{side}_written": own.sides[side].written for side in SIDES},
        "p_value": own.p_value,
        "beside": [
            {"task": task.title, "points": round(100 * task.difference.value, 2), "questions": task.difference.of}
            for task in beside
            if task.difference is not None
        ],
        "hidden": hidden,
        "examples": [] if hidden else examples_of(shown, table.tasks[shown.name].questions),
        "examples_of": shown.title,
        "prompt": None if hidden else {part: plan["tasks"][at].get(part) for part in PROMPT},
        "how": {
            "date": date(plan)[:10],
            "model": plan["model"],
            "device": plan["device"],
            "temperature": settings["temperature"],
            "max_new_tokens": settings["max_new_tokens"],
            "samples": plan["samples"],
            "version": plan["version"],
        },
    }


def examples_place(tasks: Sequence[Mapping[str, Any]]) -> int:
    """Which of a scoring's tasks gives the examples: the first, but of a suite's file, whose questions are another's
    to hand on, the first task scored beside it that is open and asked in the same prompt, if there is one."""
    first = tasks[0]
    if "suite" not in first.get("source", {}):
        return 0
    prompt = [first.get(part) for part in PROMPT]
    for at, task in enumerate(tasks):
        if "suite" not in task.get("source", {}) and task.get("show", True) and prompt == [task.get(p) for p in PROMPT]:
            return at
    return 0


def compared_means(task: TaskTable) -> dict[str, float]:
    """Each side's mean over the questions that are compared, which are those with a value on both sides."""
    values = [task.values(side) for side in SIDES]
    compared = [pair for pair in zip(*values, strict=True) if all(pair)]
    means = ([math.fsum(pair[at]) / len(pair[at]) for pair in compared] for at in range(len(SIDES)))
    return {side: math.fsum(each) / max(1, len(each)) for side, each in zip(SIDES, means, strict=True)}


def examples_of(task: TaskFigures, questions: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The first question of the task on which the tuned side gained, tied and lost, as far as there are such."""
    by_id = {str(question["id"] or number): question for number, question in enumerate(questions, start=1)}
    found = []
    for kind, outcomes in KINDS.items():
        texts = [
            f"{question['question']}\n{question.get('input') or ''}".strip()
            for outcome in outcomes
            for id in task.outcomes[outcome]
            if (question := by_id.get(id))
        ]
        text = next((text for text in texts if len(text) <= LONGEST_QUESTION), None)
        if text:
            found.append({"kind": kind, "question": text})
    return found


def keep(scoring: Scoring, adapter: Path) -> None:
    """Write a scoring into the record that lies with an adapter, in place of an earlier one."""
    path = adapter / RECORD_FILE
    try:
        found = of_table(table_of(scoring))
        if found is not None:
            of = {"model": scoring.plan()["fingerprints"]["model"], "adapter": mark(adapter)}
            record = json.loads(path.read_text(encoding="utf-8"))
            write_json(path, record | {KEY: found | {"of": of}}, indent=2)
    except (OSError, ValueError):
        log.exception("What was scored could not be written into the adapter's record")


def mark(adapter: Path) -> str:
    """Tells an adapter's weights, and what its settings make of them, from all others."""
    settings = json.loads((adapter / CONFIG_FILE).read_text(encoding="utf-8-sig"))
    scale = json.dumps([settings.get(name) for name in SCALE], sort_keys=True)
    return f"{fingerprint(adapter)}-{hashlib.sha256(scale.encode()).hexdigest()[:8]}"


def read(adapter: Path | None, model: str = "", device: str = "", asked: PromptFormat | None = None) -> dict[str, Any]:
    """What the page shows of an adapter's record: ``line``, ``how`` in sentences, and ``examples``; empty for none.

    ``model`` is the fingerprint of the base that answers, and ``device`` what it is computed on: where base or weights
    are others than were measured, that is the line. Examples that were measured in another prompt than a question would
    be ``asked`` in are left out, and that is told. Older records say of the weights nothing, and of the base what the
    adapter was trained on.
    """
    if adapter is None:
        return {}
    try:
        content = json.loads((adapter / RECORD_FILE).read_text(encoding="utf-8"))
        evidence = content.get(KEY) if isinstance(content, dict) else None
        if not isinstance(evidence, dict):
            return {}
        of = evidence.get("of") or {}
        if of and of["adapter"] != mark(adapter):
            return {"line": ALTERED, "how": [], "examples": []}
        if model and (of.get("model") or content.get("base_fingerprint") or model) != model:
            return {"line": OTHER_BASE, "how": [], "examples": []}
        evidence = shown_to_all(evidence)
        if asked is not None and evidence.get("examples") and asked not in prompts_of(evidence):
            otherwise = OTHERWISE.format(source=evidence.get("examples_of", evidence["task"]))
            evidence |= {"withheld": otherwise, "examples": []}
        told = how(evidence)
        if device and device != evidence["how"]["device"]:
            told.append(f"Here it answers on {device}, where an answer may differ.")
        return {"line": line(evidence), "how": told, "examples": list(evidence.get("examples") or ())}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError):
        log.exception("An adapter's record cannot be read")
        return {}


def shown_to_all(evidence: dict[str, Any]) -> dict[str, Any]:
    """Evidence without its examples, and with why they are ``withheld``, where they may be of a hidden task: a record
    written before that was noted has open examples where its task, looked up by its title, is shown."""
    withheld = HIDDEN if evidence.get("hidden") else ""
    if "hidden" not in evidence and evidence.get("examples"):
        named = [task.show for task in all_tasks()[0] if task.words == evidence["task"]]
        withheld = UNKNOWN if not named else "" if all(named) else HIDDEN
    return evidence | {"withheld": withheld, "examples": []} if withheld else evidence


def prompts_of(evidence: Mapping[str, Any]) -> list[PromptFormat]:
    """The prompt that the examples were asked in; of a record written before that was noted, those of the tasks of
    their title, or the Python task's."""
    if evidence.get("prompt"):
        return [PromptFormat.from_dict(evidence["prompt"])]
    source = evidence.get("examples_of", evidence["task"])
    return [task.format for task in all_tasks()[0] if task.words == source] or [PYTHON_FORMAT]


def line(evidence: Mapping[str, Any]) -> str:
    """The evidence in one line."""
    count, base, tuned = int(evidence["questions"]), float(evidence["base"]), float(evidence["tuned"])
    if evidence["passes"]:
        solved = f"{solved_words(base, count)} \u2192 {solved_words(tuned, count)} solved"
    else:
        solved = f"score {100 * base:.1f} \u2192 {100 * tuned:.1f}"
    words = [f"On {count:,} questions of {evidence['task']}: {solved}"]
    # Older records have one count for both sides.
    written = [int(evidence.get(f"{side}_written", evidence.get("answers", 0))) for side in SIDES]
    if all(written):
        ended = [100 * int(evidence[f"{side}_ended"]) / of for side, of in zip(SIDES, written, strict=True)]
        words.append(f"answers that end by themselves {ended[0]:.0f}% \u2192 {ended[1]:.0f}%")
    words += [f"{one['task']} {float(one['points']):+.1f} points" for one in evidence.get("beside") or ()]
    return "; ".join(words) + "."


def solved_words(share: float, questions: int) -> str:
    """How many of the questions were solved; not whole where only some of a question's samples pass. The share is
    rounded, which is more of a question the more questions there are."""
    count = share * questions
    whole = round(count)
    return f"{whole:,}" if abs(count - whole) < max(0.005, questions * 10**-DIGITS) else f"{count:,.1f}"


def how(evidence: Mapping[str, Any]) -> list[str]:
    """How it was measured, in sentences."""
    known = evidence["how"]
    sampled = "greedily" if not known["temperature"] else f"at temperature {float(known['temperature']):g}"
    several = f", {known['samples']} answers to each question" if known["samples"] > 1 else ""
    p_value = evidence.get("p_value")
    told = [
        f"Base and adapter were asked the same questions on {known['date']} ({known['model']}, {known['device']}; "
        f"{sampled}, at most {known['max_new_tokens']} tokens{several}).",
    ]
    if p_value is not None:
        told.append(
            f"If there were no difference, one as large would come about by chance with p = {float(p_value):.2g}."
        )
    if evidence.get("examples"):
        source = evidence.get("examples_of", evidence["task"])
        these = (
            "these questions" if source == evidence["task"] else f"the questions of {source}, asked in the same way,"
        )
        told.append(f"The examples are the first of {these} that were gained, tied and lost, as far as there are such.")
    if evidence.get("withheld"):
        told.append(evidence["withheld"])
    return told
