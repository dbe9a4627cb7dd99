"""Two scorings beside each other: their tuned sides, task by task, on the questions that both asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eval_prompts.scoring.statistics import compare, holm
from eval_prompts.scoring.table import Table, TaskTable


def against(one: Table, other: Table) -> dict[str, Any]:
    """What the tuned side of ``other`` scores beside that of ``one``, for the page."""
    found, lines = {}, []
    for name, first in one.tasks.items():
        second = other.tasks.get(name)
        if second is None or first.metric != second.metric:
            continue
        ours, theirs, notes = _common(first, second)
        found[name] = compare(ours, theirs)
        lines.append((name, first.title, notes))
    adjusted = holm({name: difference.p_value for name, difference in found.items()})
    return {
        "tasks": [
            {
                "title": title,
                "words": _difference_words(found[name].to_dict(), adjusted[name]),
                "notes": notes,
                **found[name].to_dict(),
            }
            for name, title, notes in lines
        ],
        "problem": "" if found else "These two scorings have no task in common.",
    }


def _common(first: TaskTable, second: TaskTable) -> tuple[list[list[float]], list[list[float]], str]:
    """The tuned values of both on the questions that they share, and what is to be said of the others."""
    places = {(q["id"], q["question"]): number for number, q in enumerate(second.questions)}
    pairs = [
        (number, places[key]) for number, q in enumerate(first.questions) if (key := (q["id"], q["question"])) in places
    ]
    values = first.values("tuned"), second.values("tuned")
    left = len(first.questions) + len(second.questions) - 2 * len(pairs)
    notes = f"{left} questions that only one of them asked are left out" if left else ""
    changed = [
        words
        for part, words in (("prompt", "prompt"), ("scorers", "scorers"))
        if first.plan["fingerprints"][part] != second.plan["fingerprints"][part]
    ]
    if changed:
        notes = "; ".join(filter(None, [notes, f"asked with another {' and other '.join(changed)}"]))
    return [values[0][one] for one, _ in pairs], [values[1][other] for _, other in pairs], notes


def _difference_words(difference: Mapping[str, Any], p_value: float) -> str:
    if not difference["of"]:
        return "nothing in common"
    shown = "better" if difference["value"] > 0 else "worse"
    verdict = shown if p_value < 0.05 else "no difference is shown"
    low, high = difference["low"] * 100, difference["high"] * 100
    return f"{difference['value'] * 100:+.1f} points ({low:+.1f} to {high:+.1f}), p = {p_value:.3g}: {verdict}"
