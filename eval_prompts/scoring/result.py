"""What is written when a scoring is over: ``score.json`` and ``score.csv`` for programs, ``summary.md`` and
``report.html`` for people."""

from __future__ import annotations

import csv
import io
import json
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval_prompts.scoring.card import Card, card_of
from eval_prompts.scoring.figures import Figures, figures_of
from eval_prompts.scoring.folder import Scoring, translated
from eval_prompts.scoring.judge.pairs import kept_lines
from eval_prompts.scoring.pages import markdown, page
from eval_prompts.scoring.table import Outcome, Table, TaskTable
from tuning.files import write_whole

CHANGES = {
    Outcome.GAINED: "better",
    Outcome.LOST: "worse",
    Outcome.BOTH: "same",
    Outcome.NEITHER: "same",
    Outcome.UNKNOWN: "unknown",
}
"""How a comparison calls what a scoring finds of a question."""
COLUMNS = (
    "task", "number", "id", "question", "references", "tags", "side", "sample", "seed", "text", "draft", "tokens",
    "state", "verdict", "score", "reason", "repetition", "language", "outcome",
)  # fmt: skip
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""


def table_of(scoring: Scoring) -> Table:
    """A scoring's answers as they stand. Raises UserError if this is no scoring's folder."""
    table = Table(scoring.plan(), scoring.questions())
    table.add(scoring.follow()[0])
    return table


def write_results(scoring: Scoring) -> str:
    """Write a finished scoring's files into its folder; returns the card's sentence. Raises UserError if the disk is
    full."""
    table = table_of(scoring)
    figures = figures_of(table)
    card = card_of(figures)
    contents = {
        "score.json": json.dumps(score_data(table, figures, card), indent=2, ensure_ascii=False) + "\n",
        "score.csv": as_csv(table),
        "summary.md": markdown(table, figures, card),
        "report.html": page(table, figures, card, sources_of(scoring)),
    }
    with translated(scoring.path):
        for name, content in contents.items():
            write_whole(scoring.path / name, content.encode("utf-8", "replace"))
    return f"{card.head}: {card.sentence}"


def sources_of(scoring: Scoring, people: str = "") -> list[tuple[str, str]]:
    """What others than the checks say: people, in words, and a judge, with what that is worth."""
    judge = "; ".join(kept_lines(scoring))
    return [(name, words) for name, words in (("people", people), ("judge", judge)) if words]


def report(scoring: Scoring, people: str = "") -> str:
    """The report of a finished scoring with what people and a judge say now."""
    table = table_of(scoring)
    figures = figures_of(table)
    return page(table, figures, card_of(figures), sources_of(scoring, people))


def score_data(table: Table, figures: Figures, card: Card) -> dict[str, Any]:
    """The content of ``score.json``: who was scored on what and how, the card, the figures, and every answer.

    ``table``, ``changes``, ``task`` and ``settings`` are those of the first task, as ``compare`` gives them.
    """
    plan = table.plan
    first = next(iter(table.tasks.values()))
    counts = Counter(CHANGES[first.outcome(number)] for number in range(len(first.questions)))
    own = plan["tasks"][0]
    return {
        "model": plan["model"],
        "origin": plan["origin"],
        "device": plan["device"],
        "version": plan["version"],
        "created": date(plan),
        "adapter": plan["adapter"],
        "against": plan["against"],
        "fingerprints": plan["fingerprints"],
        "settings": own["settings"],
        "samples": plan["samples"],
        "sides": plan["sides"],
        "task": {
            "name": own["name"],
            "title": own["title"],
            "prompt_format": {"system": own["system"], "user": own["user"]},
            "score": own["score"],
        },
        "tasks": plan["tasks"],
        "card": card.to_dict(),
        "table": {side: _counts(first, side) for side in plan["sides"]},
        "changes": dict(counts),
        **figures_dict(figures),
        "questions": [question for task in table.tasks.values() for question in _questions(task)],
        "answers": [answer for task in table.tasks.values() for answer in _answers(task)],
    } | _as_suite(plan, figures)


def figures_dict(figures: Figures) -> dict[str, Any]:
    """The statistics, without taking the place of the plan's tasks."""
    told = figures.to_dict()
    return {"statistics": told["tasks"], "habits": told["habits"], "figures": told["figures"]}


def date(plan: Mapping[str, Any]) -> str:
    """When a scoring was begun, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(plan["created"]))


def _counts(task: TaskTable, side: str) -> dict[str, Any]:
    answers = task.all_of(side)
    verdicts = Counter(answer["verdict"] for answer in answers)
    scores = [answer["score"] for answer in answers if answer["score"] is not None]
    return {
        "answers": len(answers),
        "passes": verdicts["passes"],
        "fails": verdicts["fails"],
        "not_run": verdicts["not run"],
        "written": len(task.written(side)),
        "ended": sum(answer["state"] == "ended" for answer in answers),
        "score": sum(scores) / len(scores) if scores else None,
    }


def _questions(task: TaskTable) -> list[dict[str, Any]]:
    return [
        {
            "task": task.name,
            "number": number + 1,
            **{key: question[key] for key in ("id", "title", "question", "input", "references", "tags")},
            "change": CHANGES[task.outcome(number)],
            "outcome": str(task.outcome(number)),
            "unasked": task.reason_unasked(number),
        }
        for number, question in enumerate(task.questions)
    ]


def _answers(task: TaskTable) -> list[dict[str, Any]]:
    return [
        {
            "task": task.name,
            "number": number + 1,
            "id": question["id"],
            "question": question["question"],
            "side": side,
            "sample": answer["sample"],
            "seed": answer["seed"],
            "text": answer["text"],
            **({"draft": answer["draft"]} if "draft" in answer else {}),
            "tokens": answer["tokens"],
            "state": answer["state"],
            "stopped": answer["state"] == "ended",
            **({"likelihoods": answer["likelihoods"]} if "likelihoods" in answer else {}),
            "verdict": answer["verdict"],
            "score": answer["score"],
            "reason": answer["reason"],
            "verdicts": answer["scores"],
            "repetition": answer["repetition"],
            "language": answer["language"],
        }
        for number, question in enumerate(task.questions)
        for side in task.sides
        for answer in task.of(number, side)
    ]


def _as_suite(plan: Mapping[str, Any], figures: Figures) -> dict[str, Any]:
    """What ``score --suite`` has always written, where one sample of both sides was scored on a suite file."""
    source, first = plan["tasks"][0]["source"], figures.tasks[0]
    if "suite" not in source or plan["samples"] != 1 or first.difference is None:
        return {}
    told: dict[str, Any] = {"suite": first.name, "n": first.questions, "p_value": first.difference.p_value}
    for side, one in first.sides.items():
        of = max(1, first.questions)
        told[side] = {
            "passed": one.passed,
            "stopped": one.ended,
            "mean_tokens": one.mean_tokens,
            "pass_rate": one.passed / of,
            "stopped_rate": one.ended / of,
            "not_run": one.not_run,
        }
    return told | {"only_base": first.outcomes[Outcome.LOST], "only_tuned": first.outcomes[Outcome.GAINED]}


def as_csv(table: Table) -> str:
    """Every answer as a row. What a spreadsheet would take for a formula begins with an apostrophe."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for task in table.tasks.values():
        questions = {question["number"]: question for question in _questions(task)}
        for answer in _answers(task):
            question = questions[answer["number"]]
            row = {
                **answer,
                "references": " | ".join(question["references"]),
                "tags": ", ".join(question["tags"]),
                "outcome": question["outcome"],
            }
            writer.writerow({name: _cell(row.get(name, "")) for name in COLUMNS})
    return out.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def copy_results(scoring: Scoring, path: Path) -> list[Path]:
    """Write ``score.json`` to ``path`` and the rows beside it as CSV. Raises UserError if that cannot be done."""
    from eval_prompts.report import write_text

    rows = path.with_suffix(".csv") if path.suffix.lower() != ".csv" else path.with_name(f"{path.stem}-rows.csv")
    write_text(path, (scoring.path / "score.json").read_text("utf-8"))
    write_text(rows, (scoring.path / "score.csv").read_text("utf-8"))
    return [path, rows]
