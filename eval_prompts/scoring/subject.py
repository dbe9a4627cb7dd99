"""What is scored: a task with its questions, or a suite file asked in a task's prompt."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval_prompts.judging import suite
from eval_prompts.tasks.catalogue import BUILT_IN, DEFAULT, find_task, own_files, python_task
from eval_prompts.tasks.scorers.python import from_verdict
from eval_prompts.tasks.task import Question, Task
from eval_prompts.tasks.verdicts import Judgement, judge_answer
from tuning.data.chat import PromptFormat
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.answers import Settings
    from eval_prompts.lens.likelihood import Known
    from eval_prompts.rows import Prompt

PARTS = {"prompt": "its prompt", "scorers": "its scorers", "questions": "its questions"}
"""What is compared when a scoring goes on, in words."""


@dataclass(frozen=True)
class Finished:
    """What a side gave to a question: the text that it wrote, and whether it ended by itself; the likelihoods that were
    read, or why there are none."""

    text: str = ""
    stopped: bool | None = None
    read: Known | None = None
    unread: str = ""


Judge = Callable[[Question, Finished, bool], Judgement]
"""From a question, what was given to it, and whether the jail may be used, to the judgement."""


@dataclass(frozen=True)
class Subject:
    """One task of a scoring. ``source`` is what finds it again; ``questions`` are those that are asked, of ``whole``
    that it has; ``format_words`` tells the prompt they are put in."""

    name: str
    title: str
    source: dict[str, Any]
    task: Task
    questions: Sequence[Question]
    whole: int
    settings: Settings
    judge: Judge
    extra: dict[str, Any] = field(default_factory=dict)

    def prompts(self, questions: Sequence[Question], seeds: Sequence[int | None]) -> list[Prompt]:
        """Questions as they are put to the model together, each with a seed of its own."""
        put = self.task.prompts(questions)
        return [replace(prompt, seed=seed) for prompt, seed in zip(put, seeds, strict=True)]

    def fingerprints(self) -> dict[str, str]:
        """Hashes of its prompt, scorers and questions: a scoring goes on only where they are the same."""
        questions = [
            {
                "id": question.id,
                "text": question.text,
                "columns": dict(question.columns),
                "references": list(question.references),
                "messages": list(question.messages),
                "checks": [scorer.spec for scorer in question.checks],
                "probe": question.probe,
            }
            | ({"after": question.after} if question.after else {})
            for question in self.questions
        ]
        prompt = [self.task.format.to_dict(), list(self.settings.stop)]
        return {
            "prompt": _digest(prompt),
            "scorers": _digest([[scorer.spec for scorer in self.task.scorers], self._own_code(), self.extra]),
            "questions": _digest(questions),
        }

    def _own_code(self) -> list[str]:
        """What the Python files of its own scorers hold."""
        folder = self.task.file.parent if self.task.file else Path()
        every = [*self.task.scorers, *(scorer for question in self.questions for scorer in question.checks)]
        files = {str(scorer.options["file"]) for scorer in every if scorer.name == "own" and "file" in scorer.options}
        return [(folder / file).read_text("utf-8") for file in sorted(files) if (folder / file).is_file()]

    def to_dict(self) -> dict[str, Any]:
        """As it stands in a scoring's plan."""
        return {
            "name": self.name,
            "title": self.title,
            "source": self.source,
            "questions": len(self.questions),
            "whole": self.whole,
            "settings": self.settings.to_dict(),
            "system": self.task.format.system,
            "user": self.task.format.user,
            "shots": [dict(shot) for shot in self.task.format.shots],
            "score": [scorer.public for scorer in self.task.scorers],
            "show": self.task.show,
            "fingerprints": self.fingerprints(),
        }


def conversations(questions: Sequence[Question]) -> list[list[int]]:
    """The places of questions, the turns of a conversation together."""
    found: list[list[int]] = []
    for place, question in enumerate(questions):
        if question.after and found and questions[found[-1][-1]].id == question.after:
            found[-1].append(place)
        else:
            found.append([place])
    return found


def of_task(task: Task, source: dict[str, Any], settings: Settings, limit: int | None = None) -> Subject:
    """A task to score. Raises UserError for one without questions or scorers."""
    _check_limit(limit)
    if not task.questions:
        raise UserError(f"The task {task.name} has no questions: choose another, or name a file.")
    if not task.scorers and not any(question.checks for question in task.questions):
        raise UserError(f"The task {task.name} has no scorers: add them under score, or use compare.")

    def judge(question: Question, given: Finished, jail: bool) -> Judgement:
        return judge_answer(task, question, given.text, given.stopped, jail=jail, read=given.read, unread=given.unread)

    questions = task.questions[:limit]
    return Subject(task.name, task.words, source, task, questions, len(task.questions), settings, judge)


def of_suite(path: Path, prompt: Task, settings: Settings, limit: int | None = None) -> Subject:
    """A file in the format of MBPP or HumanEval, asked in the prompt of the task ``prompt``. Raises UserError for a
    file that is neither."""
    _check_limit(limit)
    items = suite.load_suite(path)
    whole, items = len(items), items[:limit]
    given = "input" in prompt.format.fields or prompt.format.user is None
    questions = [
        Question(
            f"{item.id}" if count == 1 else f"{item.id}#{count}",
            item.question if given else f"{item.question}\n{item.input}".strip(),
            columns={"question": item.question if given else f"{item.question}\n{item.input}", "input": item.input},
        )
        for item, count in zip(items, _numbered([item.id for item in items]), strict=True)
    ]
    by_id = {question.id: item for question, item in zip(questions, items, strict=True)}
    task = Task(path.name, path.name, f"Questions of {path.name}", prompt.format, questions, python_task().scorers)

    def judge(question: Question, given: Finished, jail: bool) -> Judgement:
        verdict = suite.judge_answer(by_id[question.id], given.text, given.stopped, jail=jail)
        score = from_verdict(verdict)
        return Judgement((score,) if score else (), verdict, given.stopped)

    source: dict[str, Any] = {"suite": str(path.absolute()), "task": _place(prompt)}
    if prompt.name == DEFAULT and prompt.format != python_task().format:
        source["format"] = prompt.format.to_dict()  # an adapter's own
    tests = {"tests": _digest([repr(item.task) for item in items])}
    return Subject(path.name, path.name, source, task, questions, whole, settings, judge, tests)


def find_subject(source: dict[str, Any], settings: Settings, limit: int | None) -> Subject:
    """What :attr:`Subject.source` names, as it is now. Raises UserError where it is gone."""
    if "suite" in source:
        prompt = find_task(source["task"])
        if "format" in source:
            prompt = replace(prompt, format=PromptFormat.from_dict(source["format"]))
        return of_suite(Path(source["suite"]), prompt, settings, limit)
    return of_task(find_task(source["task"]), source, settings, limit)


def named_subject(name: str, settings: Callable[[Task], Settings], limit: int | None = None) -> Subject:
    """The task of that name, or in that file. Raises UserError for none."""
    task = find_task(name)
    return of_task(task, {"task": _place(task)}, settings(task), limit)


def changed_parts(subject: Subject, recorded: dict[str, str]) -> list[str]:
    """In words, what of a subject is not as a scoring's plan recorded it."""
    now = subject.fingerprints()
    return [words for part, words in PARTS.items() if now[part] != recorded.get(part)]


def _place(task: Task) -> str:
    """What finds a task again: its name where it is known by one, else its file."""
    if task.name in BUILT_IN and task.file in (None, BUILT_IN[task.name]().file):
        return task.name
    if task.file is not None and own_files().get(task.name) != task.file:
        return str(task.file.absolute())
    return task.name


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise UserError("The limit must be at least 1.")


def _numbered(ids: Sequence[str]) -> list[int]:
    """For each id, which of its kind it is, counted from 1."""
    seen: Counter[str] = Counter()
    numbers = []
    for id in ids:
        seen[id] += 1
        numbers.append(seen[id])
    return numbers


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
