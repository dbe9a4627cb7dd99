"""A scoring as the page shows it, running or over: figures with intervals, lists of questions, both answers of one."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from eval_prompts.scoring.card import card_of
from eval_prompts.scoring.figures import Figures, figures_of
from eval_prompts.scoring.folder import Scoring, State
from eval_prompts.scoring.pages import (
    about,
    difference_line,
    figures_rows,
    forgetting_rows,
    parts_line,
    parts_rows,
    side_titles,
)
from eval_prompts.scoring.statistics import mean_interval
from eval_prompts.scoring.table import READ, Outcome, Table, TaskTable
from eval_prompts.showing.code_diff import diff_lines
from tuning.errors import UserError

PER_PAGE = 50
LONGEST = 200
FAILED_HIDDEN = "It failed, and why is told to the server's owner: it may quote questions."
ORDER = (Outcome.LOST, Outcome.GAINED, Outcome.BOTH, Outcome.NEITHER, Outcome.UNKNOWN)


class Board:
    """One scoring, read as it grows. All methods may be called from any thread."""

    def __init__(self, scoring: Scoring) -> None:
        self.scoring = scoring
        self.plan = scoring.plan()
        self._table = Table(self.plan, scoring.questions())
        self._offset = 0
        self._lock = threading.Lock()
        self._figures: tuple[int, Figures] | None = None

    def table(self) -> Table:
        """The answers up to now."""
        with self._lock:
            news, self._offset = self.scoring.follow(self._offset)
            self._table.add(news)
            return self._table

    def figures(self) -> Figures:
        """The statistics of a scoring that is over, computed once."""
        table = self.table()
        with self._lock:
            if self._figures is None or self._figures[0] != self._offset:
                self._figures = self._offset, figures_of(table)
            return self._figures[1]

    def look(self, asked: Mapping[str, Any], everything: bool) -> dict[str, Any]:
        """How it stands, and one page of its questions: ``asked`` names the list (an outcome, or '' for all), a task, a
        tag, words to search for and the page. Unless ``everything``, what tells of the questions of hidden tasks is
        left out: the questions, their tags, the prompt, and why it failed."""
        table = self.table()
        state, message = self.scoring.state()
        over = state is State.FINISHED
        titles = side_titles(self.plan)
        open_tasks = [task for task in table.tasks.values() if everything or task.plan.get("show", True)]
        hidden = {task.name for task in table.tasks.values()} - {task.name for task in open_tasks}
        view: dict[str, Any] = {
            "scoring": self.scoring.name,
            "state": str(state),
            "message": message if everything or not hidden or state is not State.FAILED else FAILED_HIDDEN,
            "done": table.done,
            "total": table.total,
            "titles": titles,
            "about": about(self.plan, everything),
            "tasks": [task_view(task) for task in table.tasks.values()],
            "tags": sorted({tag for task in open_tasks for question in task.questions for tag in question["tags"]}),
            "card": None,
            "figures": [],
            "forgetting": [],
            "habits": [],
            "items": listed(open_tasks, asked),
        }
        if over:
            figures = self.figures()
            card = card_of(figures)
            view["card"] = card.to_dict()
            view["figures"] = [
                {
                    "rows": figures_rows(task, titles),
                    "words": difference_line(task),
                    "parts": [] if task.name in hidden else parts_rows(task, titles),
                    "about_parts": "" if task.name in hidden else parts_line(task),
                }
                for task in figures.tasks
            ]
            view["forgetting"] = forgetting_rows(figures, titles)
            view["habits"] = [habit.to_dict() for habit in figures.habits]
        return view

    def pair(self, task_name: str, number: int, sample: int, everything: bool) -> dict[str, Any]:
        """Both sides' answers to one question, with verdicts, references and their difference. Raises UserError."""
        table = self.table()
        task = table.tasks.get(task_name)
        if task is None or not 0 <= number < len(task.questions) or not (everything or task.plan.get("show", True)):
            raise UserError("This scoring has no such question: open it again from the list.")
        question = task.questions[number]
        sides = {side: answer_view(task, number, side, sample) for side in task.sides}
        texts = [sides.get(side, {}).get("text", "") for side in ("base", "tuned")]
        return {
            "question": question["question"],
            "input": question["input"],
            "id": question["id"],
            "references": question["references"],
            "outcome": str(task.outcome(number)),
            "samples": max((len(task.of(number, side)) for side in task.sides), default=0),
            "sides": sides,
            "titles": side_titles(self.plan),
            "unasked": task.reason_unasked(number),
            "diff": [
                {
                    "kind": pair.kind,
                    "left": pair.left and {"number": pair.left.number, "pieces": pair.left.pieces},
                    "right": pair.right and {"number": pair.right.number, "pieces": pair.right.pieces},
                }
                for pair in diff_lines(*texts)
            ]
            if all(texts)
            else [],
        }


def task_view(task: TaskTable) -> dict[str, Any]:
    """One task's live score by side, and how many questions are in each list. No claim is made here: whoever looks
    again and again would see a false one soon."""
    counts = {str(outcome): 0 for outcome in ORDER}
    for number in range(len(task.questions)):
        counts[task.outcome(number)] += 1
    sides = {}
    for side in task.sides:
        interval = mean_interval(task.values(side), task.clusters)
        words = f"{interval.value:.1%}" if interval.of else "–"
        sides[side] = interval.to_dict() | {"words": words, "range": f"{interval.low:.1%} to {interval.high:.1%}"}
    return {"name": task.name, "title": task.title, "metric": task.metric, "sides": sides, "counts": counts}


def listed(tasks: Sequence[TaskTable], asked: Mapping[str, Any]) -> dict[str, Any]:
    """One page of the questions that are asked for, regressions first."""
    outcome, name, tag = (str(asked.get(key) or "") for key in ("list", "task", "tag"))
    search = str(asked.get("search") or "").casefold().strip()
    rows = []
    for task in tasks:
        if name and task.name != name:
            continue
        for number, question in enumerate(task.questions):
            found = task.outcome(number)
            if (outcome and found != outcome) or (tag and tag not in question["tags"]):
                continue
            if search and not _holds(task, number, question, search):
                continue
            rows.append((ORDER.index(found), task, number, question))
    rows.sort(key=lambda row: row[0])
    wanted = asked.get("page")
    page = wanted if isinstance(wanted, int) and wanted > 0 else 0
    shown = rows[page * PER_PAGE : (page + 1) * PER_PAGE]
    return {
        "total": len(rows),
        "page": page,
        "pages": max(1, -(-len(rows) // PER_PAGE)),
        "rows": [
            {
                "task": task.name,
                "number": at,
                "id": question["id"],
                "question": question["title"] or question["question"][:LONGEST],
                "tags": question["tags"],
                "outcome": str(task.outcome(at)),
                "marks": {side: _mark(task, at, side) for side in task.sides},
            }
            for _, task, at, question in shown
        ],
    }


def answer_view(task: TaskTable, number: int, side: str, sample: int) -> dict[str, Any]:
    """One answer for the page; empty where there is none yet."""
    answer = task.answers.get((number, side), {}).get(sample)
    if answer is None:
        return {}
    verdict = {"checking": False, "badges": answer["badges"]}
    if answer["state"] == READ:
        return {"text": answer["text"], "verdict": verdict, "facts": ["likelihoods were read, nothing was written"]}
    return {
        "text": answer["text"],
        "verdict": verdict,
        "facts": [
            f"{answer['tokens']} tokens",
            "ended by itself" if answer["state"] == "ended" else "hit the token cap",
            *([f"seed {answer['seed']}"] if task.plan["settings"]["temperature"] else []),
        ],
    }


def _holds(task: TaskTable, number: int, question: Mapping[str, Any], search: str) -> bool:
    texts = [question["id"], question["title"], question["question"], question["input"], *question["references"]]
    texts += [answer["text"] for side in task.sides for answer in task.of(number, side)]
    return any(search in str(text).casefold() for text in texts)


def _mark(task: TaskTable, number: int, side: str) -> str:
    """What a side's answers to a question come to: a sign, how many of its samples pass, or its score."""
    answers = task.of(number, side)
    values = [value for answer in answers if (value := task.value(answer)) is not None]
    if not answers:
        return ""
    if not values:
        return "–"
    if task.metric == "score":
        return f"{sum(values) / len(values):.2f}"
    if len(values) > 1:
        return f"{sum(values):.0f}/{len(values)}"
    return "○" if answers[0]["verdict"] == "not run" else "✓" if values[0] else "✗"


def began(plan: Mapping[str, Any]) -> str:
    """When a scoring was begun, by this machine's clock."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(plan["created"]))
