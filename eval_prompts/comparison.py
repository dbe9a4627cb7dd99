"""One comparison as data: who was asked what, in which prompt, what each side answered, and what that is worth."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

from eval_prompts.answer_facts import PROBE_IDS, answer_dict
from eval_prompts.judging.verdict import summary
from eval_prompts.showing.compare_view import adapter_names
from eval_prompts.showing.loss_curve import LossCurve
from eval_prompts.tasks.catalogue import python_task
from eval_prompts.tasks.task import Question, Task
from eval_prompts.tasks.verdicts import Change, Judgement, change, judge_answer, tally

if TYPE_CHECKING:
    from eval_prompts.answers import Answer, Settings
    from eval_prompts.lens.picture import Picture
    from eval_prompts.models.pair import Side
    from eval_prompts.rows import Prompt
    from eval_prompts.serving.status import Status
    from tuning.data.chat import Message

SIDE_TITLES: Mapping[Side, str] = {"base": "Base", "tuned": "Tuned"}
SIDES: tuple[Side, Side] = ("base", "tuned")
FIRST = {Change.WORSE: 0, Change.BETTER: 1}
"""Regressions come first, then what got better, then the rest in its own order."""
Key = tuple[str, int]
Turn = tuple[int, int]
"""The number of the question that began the conversation, and which turn of it this is."""


def turns_of(threads: Sequence[tuple[str, int]]) -> dict[int, Turn]:
    """From each question's conversation and turn the places of those that stand in a conversation of several."""
    first: dict[str, int] = {}
    for number, (thread, turn) in enumerate(threads):
        if thread and (thread not in first or turn == 1):
            first[thread] = number
    several = Counter(thread for thread, _ in threads)
    return {
        number: (first[thread], turn) for number, (thread, turn) in enumerate(threads) if thread and several[thread] > 1
    }


@dataclass(frozen=True)
class Comparison:
    """What was asked of whom, and what each side answered (by question, base before tuned).

    ``verdicts`` are by side and question number; ``votes`` says in lines what people voted on this adapter's answers;
    ``curve`` is the loss of the adapter's run. ``questions`` are those of ``task`` that were asked, by number,
    and ``prompts`` how they were put, where that was not the task's own way; ``remarks`` say what a reader has to know.
    """

    status: Status
    settings: Settings
    answers: Sequence[Answer]
    verdicts: Mapping[Key, Judgement] = field(default_factory=dict)
    votes: Sequence[str] = ()
    curve: LossCurve | None = None
    task: Task = field(default_factory=python_task)
    questions: Sequence[Question] = ()
    created: float = field(default_factory=time.time)
    prompts: Sequence[Prompt] = ()
    remarks: Sequence[str] = ()
    picture: Picture | None = None
    """The most changed answer, read token by token."""
    turns: Mapping[int, Turn] = field(default_factory=dict)
    """By number, the place of those questions that are turns of a conversation of several."""

    def to_dict(self) -> dict[str, Any]:
        """The content of ``answers.json``."""
        judgements = [((side, judgement)) for (side, _), judgement in self.verdicts.items()]
        return {
            "model": self.status.model,
            "origin": self.status.origin,
            "device": self.status.device,
            "version": self.status.version,
            "created": self.date,
            "adapter": self.status.adapter and self.status.adapter.to_dict(),
            "against": self.status.against and self.status.against.to_dict(),
            "settings": self.settings.to_dict(),
            "task": {
                "name": self.task.name,
                "title": self.task.words,
                "prompt_format": self.task.format.to_dict(),
                "score": [scorer.public for scorer in self.task.scorers],
            },
            "table": tally(judgements),
            "changes": dict(self.changes),
            "questions": [self.question_dict(number) for number, _ in self.groups],
            "conversations": [self.conversation_dict(first) for first in dict.fromkeys(self._firsts)],
            "answers": [self.answer_dict(answer) for _, group in self.groups for answer in group],
            "verdicts": [
                {"probe": PROBE_IDS.get(answer.question), "side": answer.side, **judgement.to_dict()}
                for _, group in self.groups
                for answer in group
                if (judgement := self.verdict(answer))
            ],
            "summary": summary((side, found.python) for side, found in judgements if found.python),
            "votes": list(self.votes),
            "lens": self.picture and self.picture.to_dict(),
            "remarks": list(self.remarks),
        }

    def question_dict(self, number: int) -> dict[str, Any]:
        """One question for JSON: what was asked and how, its references, and how the sides compare."""
        question = self.asked(number)
        tuned = self.messages(number, "tuned")
        told: dict[str, Any] = {}
        if number in self.turns:
            told = {"conversation": self.turns[number][0] + 1, "turn": self.turns[number][1]}
        if tuned != self.messages(number):
            told["prompt_tuned"] = [dict(turn) for turn in tuned]
        return told | {
            "number": number + 1,
            "id": question.id,
            "title": question.title,
            "question": question.text,
            "prompt": [dict(turn) for turn in self.messages(number)],
            "references": list(question.references),
            "change": self.change(number),
        }

    @property
    def _firsts(self) -> list[int]:
        """The numbers of the questions that began a conversation of several turns, once for each turn, in order."""
        return [self.turns[number][0] for number, _ in self.groups if number in self.turns]

    def conversation_dict(self, first: int) -> dict[str, Any]:
        """A whole conversation for JSON: its questions, and for each side how many of its turns do their task, of those
        that are to: an answer that could not be tried was not seen to."""
        numbers = self.conversation(first)
        found = [((side, number), self.verdicts.get((side, number))) for side in SIDES for number in numbers]
        passes = Counter(side for (side, _), judgement in found if judgement and judgement.task == "passes")
        judged = Counter(side for (side, _), judgement in found if judgement and judgement.task != "none")
        return {
            "questions": [number + 1 for number in numbers],
            "passes": {side: passes[side] for side in SIDES if judged[side]},
            "judged": {side: judged[side] for side in SIDES if judged[side]},
        }

    def conversation(self, first: int) -> list[int]:
        """The numbers of a conversation's turns, in order."""
        found = [(turn, number) for number, (began, turn) in self.turns.items() if began == first]
        return [number for _, number in sorted(found)]

    def answer_dict(self, answer: Answer) -> dict[str, Any]:
        """One answer for JSON, with what each scorer says of it."""
        judgement = self.verdict(answer)
        told = answer_dict(answer) | {"number": answer.index + 1, "state": answer.state}
        scores = [score.to_dict() for score in judgement.scores] if judgement else []
        return told | {"verdicts": scores, "score": judgement.score if judgement else None}

    @cached_property
    def groups(self) -> list[tuple[int, list[Answer]]]:
        """Question numbers with their answers, regressions first; the turns of a conversation stay together."""
        found = [(index, list(group)) for index, group in groupby(self.answers, key=lambda answer: answer.index)]
        rank: dict[int, int] = {}
        for number, _ in found:
            first = self.turns.get(number, (number, 1))[0]
            rank[first] = min(rank.get(first, 2), FIRST.get(self.change(number), 2))

        def place(group: tuple[int, list[Answer]]) -> tuple[int, int, int]:
            first, turn = self.turns.get(group[0], (group[0], 1))
            return rank[first], first, turn

        return sorted(found, key=place)

    def asked(self, number: int) -> Question:
        """A question by its number."""
        if number < len(self.questions):
            return self.questions[number]
        text = next(answer.question for answer in self.answers if answer.index == number)
        return self.task.question_of(text) or Question("", text, columns={"question": text})

    def messages(self, number: int, side: Side = "base") -> Sequence[Message]:
        """The conversation that a side's answer to a question follows."""
        if number < len(self.prompts):
            return self.prompts[number].to(side)
        return self.task.put(self.asked(number)).messages

    def verdict(self, answer: Answer) -> Judgement | None:
        """What the machine found about an answer, if it was judged."""
        return self.verdicts.get((answer.side, answer.index))

    def change(self, number: int) -> Change:
        """How the tuned side's answer to a question compares with the base side's."""
        return change(self.verdicts.get(("base", number)), self.verdicts.get(("tuned", number)))

    @cached_property
    def changes(self) -> Counter[str]:
        """How many questions got better, stayed the same, got worse, or are unknown."""
        return Counter(str(self.change(number)) for number, _ in self.groups)

    @property
    def changes_line(self) -> str:
        """Per question in one line: better, same, worse; '' where nothing can be said."""
        counts = self.changes
        if not any(counts[state] for state in (Change.BETTER, Change.SAME, Change.WORSE)):
            return ""
        line = f"per question: {counts['better']} better, {counts['same']} the same, {counts['worse']} worse"
        return line + (f", {counts['unknown']} unknown" if counts["unknown"] else "") + f" of {len(self.groups)}"

    @property
    def date(self) -> str:
        """When it was made, UTC."""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.created))

    @property
    def titles(self) -> Mapping[Side, str]:
        """What both sides are called: Base and Tuned, or the names of two adapters that are compared."""
        return adapter_names(self.status) or SIDE_TITLES

    @property
    def tally(self) -> str:
        """How many answers of each side do their task, in one line; '' where none was judged."""
        counts = tally((side, judgement) for (side, _), judgement in self.verdicts.items())
        names = adapter_names(self.status) or {}
        words = [
            f"{names.get(side, side)}: {count['passes']} of {count['answers']} do the task, "
            + (f"{count['not_run']} could not be {self._tried}, " if count["not_run"] else "")
            + f"{count['ended']} ended by themselves"
            for side in ("tuned", "base")
            if (count := counts.get(side)) and (self.task.scorers or count["score"] is not None)
        ]
        return " · ".join(words)

    @property
    def _tried(self) -> str:
        return "run" if self.task.judges_python else "judged"

    @property
    def table(self) -> tuple[list[str], list[list[str]]]:
        """The first table: its head, and a row per figure with one column per side."""
        sides = [side for side in SIDES if any(answer.side == side for answer in self.answers)]
        counts = tally((side, judgement) for (side, _), judgement in self.verdicts.items())
        rows = []
        for label, key in (("pass", "passes"), ("fail", "fails"), ("could not be judged", "not_run")):
            if any(counts.get(side, {}).get(key) for side in sides):
                rows.append([label, *(str(counts.get(side, {}).get(key, "-")) for side in sides)])
        means = [counts.get(side, {}).get("score") for side in sides]
        if any(mean is not None for mean in means):
            rows.append(["mean score", *("-" if mean is None else f"{mean:.3f}" for mean in means)])
        answers = {side: [answer for answer in self.answers if answer.side == side] for side in sides}
        ended = [f"{sum(one.stopped for one in answers[side])} of {len(answers[side])}" for side in sides]
        rows.append(["ended by itself", *ended])
        tokens = [f"{sum(one.tokens for one in answers[side]) / len(answers[side]):.0f}" for side in sides]
        rows.append(["tokens on average", *tokens])
        return ["", *(self.titles[side] for side in sides)], rows

    @property
    def subtitle(self) -> str:
        """Model, adapter, device and settings in one line."""
        cards = [card.summary for card in (self.status.adapter, self.status.against) if card]
        parts = [f"base {self.status.model}", " against ".join(cards) or "no adapter", self.status.device]
        settings = self.settings
        sampling = (
            "greedy"
            if settings.temperature == 0
            else f"temperature {settings.temperature:g}, top-p {settings.top_p:g}, seed {settings.seed}"
        )
        stops = f"stops at {', '.join(map(repr, settings.stop))}" if settings.stop else ""
        return " · ".join(filter(None, [*parts, sampling, f"at most {settings.max_new_tokens} tokens", stops]))

    @property
    def about(self) -> str:
        """The task, its prompt and when it was asked, in one line."""
        format = self.task.format
        system = f"system prompt: “{' '.join(format.system.split())}”" if format.system else "no system prompt"
        user = f"user turn: “{' '.join(format.user.split())}”" if format.user else ""
        return " · ".join(filter(None, [f"task {self.task.words}", system, user, self.date]))


def judged(answers: Sequence[Answer], task: Task | None = None) -> dict[Key, Judgement]:
    """The judgement on each complete answer, by side and question number. Python code runs in the sandbox."""
    task = task or python_task()
    return {
        (answer.side, answer.index): judge_answer(task, task.own_question(answer.question), answer.said, answer.stopped)
        for answer in answers
        if answer.state in ("ended", "capped")
    }
