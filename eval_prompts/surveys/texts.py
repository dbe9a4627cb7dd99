"""The texts that a set is made of, with the questions that they answer, and what both models make of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval_prompts.lens.view import Written
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.answers import Settings
    from eval_prompts.lens.set_figures import TextSet
    from eval_prompts.models.pair import Pair
    from eval_prompts.serving.lens import Lens
    from eval_prompts.tasks.task import Question, Task
    from tuning.data.chat import Message
    from tuning.data.cleaning import Row

HELD_OUT = "held-out"
SOLUTIONS = ("code", "canonical_solution", "solution", "answer", "reference", "completion", "output")
QUESTIONS = ("text", "question", "prompt", "instruction")
AT_ONCE = 500
CHANGED = (
    "Another adapter, another strength of it or other models were loaded meanwhile, so the figures would mix two: "
    "start again."
)
Say = Callable[[str], None]
"""Takes a sentence on what was left out or replaced."""


@dataclass(frozen=True)
class Text:
    """One text that is read, and the question that it answers."""

    question: str
    messages: tuple[Message, ...]
    written: Written


class Loaded:
    """The models that a survey began with, from before its first question on."""

    def __init__(self, lens: Lens, dialled: bool = True) -> None:
        """Where the adapter is asked as it is ``dialled``, another strength of it is another model. Raises UserError
        while no models are loaded."""
        self._lens, self._dialled = lens, dialled
        self._pair = self._now

    @property
    def _now(self) -> Pair | None:
        return self._lens.served.pair if self._dialled else self._lens.served.trained

    def check(self) -> None:
        """Raise UserError where others have been loaded since, or the same ones again."""
        if self._now is not self._pair:
            raise UserError(CHANGED)


@dataclass(frozen=True)
class Work:
    """How something long is going: ``report(done, total, words)`` takes its progress, ``stopped`` tells whether
    somebody has had enough, ``check`` raises UserError where the models are no longer those of its beginning, and in
    the ``background`` everybody who asks goes first."""

    report: Callable[[int, int, str], None] = lambda done, total, words: None
    stopped: Callable[[], bool] = lambda: False
    check: Callable[[], None] = lambda: None
    background: bool = False


class Stopped(UserError):
    """Somebody has had enough."""

    def __init__(self) -> None:
        super().__init__("It was stopped, so there is no result.")


def limited(texts: list[Text], limit: int | None, say: Say) -> list[Text]:
    """The first texts; what is left out is said. Raises UserError for none at all."""
    if not texts:
        raise UserError("The set holds no question with an answer: name another.")
    if limit is not None and limit < len(texts):
        say(f"Only the first {limit:,} of {len(texts):,} texts are read.")
    return texts[:limit]


def first_questions(task: Task, limit: int | None, say: Say) -> tuple[Question, ...]:
    """A task's questions, at most ``limit`` of them; what is left out is said. Raises UserError for none."""
    if limit is not None and limit < 1:
        raise UserError("The limit must be at least 1.")
    if not task.questions:
        raise UserError(f"The task {task.name} has no questions: choose another, or name a file.")
    questions = tuple(task.questions[:limit])
    if len(questions) < len(task.questions):
        say(f"Only the first {len(questions):,} of {len(task.questions):,} questions are asked.")
    return questions


def task_texts(lens: Lens, task: Task, limit: int | None, answers: bool, say: Say, work: Work) -> list[Text]:
    """The references of a task, or both sides' own answers where it has none, or they are asked for."""
    questions = first_questions(task, limit, say)
    if not answers and any(question.references for question in questions):
        return reference_texts(task, questions, say)
    if not answers:
        say(f"The task {task.name} has no references: both sides' own answers are read.")
    return answer_texts(lens, task, questions, task.settings, work)


def reference_texts(task: Task, questions: tuple[Question, ...], say: Say) -> list[Text]:
    """The first reference of each question, as an answer in the task's prompt; questions without one are counted."""
    lacking = sum(not question.references for question in questions)
    if lacking:
        say(f"{lacking:,} of {len(questions):,} questions have no reference and are left out.")
    texts, unknown = [], 0
    for question in questions:
        if not question.references:
            continue
        try:
            messages = task.prompt(question).messages
        except UserError:  # a later turn behind an answer that the file does not give
            unknown += 1
            continue
        texts.append(Text(question.text, messages, Written(question.references[0], ended=True)))
    if unknown:
        say(f"{unknown:,} later turns go on from answers without a reference and are left out.")
    return texts


def answer_texts(lens: Lens, task: Task, questions: tuple[Question, ...], settings: Settings, work: Work) -> list[Text]:
    """What both sides answer to a task's questions, in the tokens they write. Raises UserError if one cannot be asked,
    other models were loaded meanwhile, or somebody has stopped it."""
    texts: list[Text] = []
    for start in range(0, len(questions), AT_ONCE):
        portion = questions[start : start + AT_ONCE]
        stream = lens.ask(task.prompts(portion), settings, background=work.background)
        for answers in stream.snapshots(interval=0.5):
            work.report(2 * start + sum(answer.done for answer in answers), 2 * len(questions), "answers")
            if work.stopped():
                stream.cancel()
                raise Stopped
        work.check()
        for row, answer in zip(stream.rows, stream.answers, strict=True):
            written = Written(answer.text, answer.stopped, tuple(row.written))
            texts.append(Text(portion[row.index].text, stream.conversation(row.index, row.side), written))
    return texts


def data_texts(name: str, say: Say) -> list[Text]:
    """The test split of a data set, whose rows no training on it sees, each in the set's own prompt."""
    from tuning.data.dataset import load
    from tuning.data.place import EMBEDDED

    data = load(EMBEDDED if name == HELD_OUT else name)
    for note in data.notes:
        say(note)
    rows = data.split("test")
    texts = [text for row in rows if (text := row_text(row, data.format.messages))]
    if len(texts) < len(rows):
        say(f"{len(rows) - len(texts):,} of {len(rows):,} rows hold no answer to a question: left out.")
    return texts


def row_text(row: Row, put: Callable[[dict[str, str]], Any]) -> Text | None:
    """A row's last trained answer behind all that stands before it; None for a plain text."""
    if not row.turns:
        return Text(row.question, tuple(put({"question": row.question, "input": row.input})), Written(row.answer, True))
    last = max((at for at, turn in enumerate(row.turns) if turn.role == "assistant" and turn.trained), default=0)
    if not last:
        return None
    before: list[Any] = [{"role": turn.role, "content": turn.text} for turn in row.turns[:last]]
    return Text(row.question, tuple(before), Written(row.turns[last].text, True))


def suite_texts(path: Path, say: Say) -> Iterator[Text]:
    """The solutions of a suite in the Python task's prompt; rows without one are counted."""
    from tuning.data.chat import PYTHON_FORMAT
    from tuning.data.reading.readers import read_file

    lacking = 0
    for _, row in read_file(path).rows:
        question = next((row[name] for name in QUESTIONS if isinstance(row.get(name), str)), "")
        solution = next((row[name] for name in SOLUTIONS if isinstance(row.get(name), str)), "")
        if not question or not solution:
            lacking += 1
            continue
        whole = f"{question}{solution}" if "canonical_solution" in row and "prompt" in row else solution
        messages = tuple(PYTHON_FORMAT.messages({"question": question, "input": ""}))
        yield Text(question, messages, Written(whole, True))
    if lacking:
        say(f"{lacking:,} rows of {path.name} lack a question or a solution and are left out.")


def read_all(lens: Lens, texts: list[Text], work: Work) -> TextSet:
    """Every text as both models see it; those that cannot be read are kept with the reason. Stopped, it is what was
    read until then. Raises UserError where nothing was read, or other models were loaded meanwhile."""
    from eval_prompts.lens.set_figures import TextSet
    from eval_prompts.serving.readings import Readings

    found, readings = TextSet(), Readings(lens)
    lens.loaded_pair().model("tuned")
    for number, text in enumerate(texts):
        if work.stopped():
            break
        work.check()
        try:
            found.add(text.question, readings.read(text.messages, {"text": text.written})["text"])
        except UserError as error:
            found.skipped.append(f"{text.question[:60]}: {error}")
        work.report(number + 1, len(texts), f"{found.texts} texts read")
    work.check()
    if not found.texts and found.skipped:
        raise UserError(f"None of the texts could be read; the first: {found.skipped[0]}")
    if not found.texts:
        raise Stopped
    return found
