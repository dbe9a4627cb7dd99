"""``python -m eval_prompts tasks``: what tasks there are, one of them whole, and whether a file is one."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from eval_prompts.tasks.catalogue import all_tasks, find_task
from eval_prompts.tasks.export import dump_task
from eval_prompts.tasks.files import read_task
from eval_prompts.tasks.scorers.likelihood import UNREAD
from eval_prompts.tasks.verdicts import judge_answer
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.tasks.task import Task
    from tuning.command_line import Parser

SHOWN = 3
"""Questions of which the prompt is shown."""


def add(commands: argparse._SubParsersAction[Parser]) -> None:
    """The command and what it can do."""
    tasks = commands.add_parser("tasks", help="list tasks, show one, or check a task file")
    what = tasks.add_subparsers(dest="what", required=True, metavar="{list,show,check}")
    what.add_parser("list", help="all tasks there are").set_defaults(run=run_list)
    show = what.add_parser("show", help="a task as a file, its questions inline")
    show.add_argument("task", help="its name, or its file")
    show.set_defaults(run=run_show)
    check = what.add_parser("check", help="whether a task file can be used, and what is asked of the models")
    check.add_argument("file", type=Path)
    check.set_defaults(run=run_check)


def run_list(_: argparse.Namespace) -> None:
    """Name, questions and description of every task."""
    found, problems = all_tasks()
    for task in found:
        print(f"{task.name:18} {len(task.questions):>6,} questions  {task.description or task.title}")
    for problem in problems:
        print(f"cannot be used: {problem}", file=sys.stderr)


def run_show(options: argparse.Namespace) -> None:
    """A task as YAML."""
    print(dump_task(find_task(options.task)), end="")


def run_check(options: argparse.Namespace) -> None:
    """What a file holds, the first prompts, and references that their own scorers refuse."""
    task = read_task(options.file)
    scorers = ", ".join(scorer.name for scorer in task.scorers) or "none, so answers get no verdict"
    print(f"{task.name}: {len(task.questions):,} questions; scorers: {scorers}")
    prompts = task.prompts(task.questions)
    for question, prompt in list(zip(task.questions, prompts, strict=True))[:SHOWN]:
        print(f"\n── {question.id} ──")
        if question.after:
            print(f"(goes on from each side's own answer to {question.after})")
        for turn in prompt.messages:
            print(f"[{turn['role']}] {turn['content']}")
        for reference in question.references:
            print(f"[reference] {reference}")
    odd = refused(task)
    if odd:
        shown = "; ".join(f"{id} ({reason})" if reason else id for id, reason in odd[:5])
        raise UserError(f"{len(odd):,} references do not pass their own scorers: {shown}.")


def refused(task: Task) -> list[tuple[str, str]]:
    """Questions whose first reference, as an answer, does not pass; with the reason. Likelihoods need a model, and are
    left out."""
    found = []
    for question in task.questions:
        if question.references:
            judgement = judge_answer(task, question, question.references[0], True)
            judgement = replace(judgement, scores=tuple(one for one in judgement.scores if one.reason != UNREAD))
            if judgement.task in ("fails", "not run"):
                found.append((question.id, judgement.task_reason))
    return found
