"""One request as its visitor sees it: two places for each question, what is hidden in them, and the verdicts."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from eval_prompts.showing.blind import COMPLETE, in_step, timeless
from eval_prompts.showing.certainty import confidence_view
from eval_prompts.showing.compare_view import (
    adapter_names,
    adapter_words,
    base_words,
    code_once,
    difference,
    ending,
    facts,
    settings_words,
    thinking,
)
from eval_prompts.showing.judges import Judges, Verdicts
from eval_prompts.showing.live_pair import LivePair, Place
from eval_prompts.tasks.catalogue import DEFAULT
from eval_prompts.tasks.verdicts import change

if TYPE_CHECKING:
    from eval_prompts.answers import Answer
    from eval_prompts.lens.likelihood import Known
    from eval_prompts.lens.token_tree import Choices, Continuation
    from eval_prompts.models.adapters import AdapterCard
    from eval_prompts.models.pair import Side
    from eval_prompts.serving.status import Status
    from eval_prompts.showing.follow_ups import Before
    from eval_prompts.showing.views import BoardView, ConfidenceView, LinesView, RowView, SideView, VerdictView
    from eval_prompts.stream import Stream
    from eval_prompts.tasks.task import Question, Task


Likelihoods = Callable[["Status", "Side", "Choices"], "Known"]
"""How likely a side of the models that a status tells of finds given answers. Raises UserError."""


class Showing:
    """One request on its way from the question to the page: what is asked, who stands where, what may be told."""

    def __init__(
        self,
        stream: Stream,
        status: Callable[[], Status],
        session: str,
        blind: bool,
        judges: Judges,
        task: Task,
        questions: Sequence[Question],
        follows: Before | None = None,
        likelihoods: Likelihoods | None = None,
    ) -> None:
        """``questions`` are what ``stream`` asks, as ``task`` knows them; ``status`` tells who answers; ``follows`` is
        the turn that the only question goes on from; ``likelihoods`` reads how likely the models that answer find given
        texts."""
        self.id = secrets.token_hex(16)
        self.stream = stream
        self.task = task
        self.questions = questions
        self.session = session
        self.blind = blind
        self.created = time.time()
        self._likelihoods = likelihoods
        self.verdicts = Verdicts(judges, task, questions, self._read if likelihoods else None)
        self.pairs: list[LivePair] = []
        self.follows = follows
        for index, prompt in enumerate(stream.questions):
            if follows is not None:
                thread = follows.thread
                self.pairs.append(LivePair(self, index, thread.left, thread, follows.turn + 1, follows.basis))
            elif prompt.after is not None:
                before = self.pairs[prompt.after]
                self.pairs.append(LivePair(self, index, before.left, before.thread, before.turn + 1, "own"))
            else:
                self.pairs.append(LivePair(self, index, secrets.choice(("base", "tuned")) if blind else "base"))
        self._ask_status = status
        self._status: Status | None = None
        self._diffs: dict[int, tuple[bool, list[LinesView]]] = {}

    @property
    def task_named(self) -> dict[str, str]:
        """The task's name, for the record of a pair; the default one goes without saying."""
        return {} if self.task.name == DEFAULT else {"task": self.task.name}

    @property
    def status(self) -> Status:
        """Who answers: asked anew until the first answer begins, since models may be loading before that."""
        if self._status is not None:
            return self._status
        status = self._ask_status()
        if any(row.state != "waiting" for row in self.stream.rows):
            self._status = status
        return status

    def _read(self, answer: Answer, texts: tuple[Continuation, ...]) -> Known:
        """How likely the side that gave an answer finds other texts in its place. Raises UserError."""
        from eval_prompts.lens.token_tree import Choices

        if self._likelihoods is None:
            return {}
        asked = self.stream.conversation(answer.index, answer.side)
        return self._likelihoods(self.status, answer.side, Choices(asked, texts))

    def who(self, side: Side) -> tuple[str, str]:
        """The name of a side's model, and what tells its weights from all others."""
        return answering(self.status)[side]

    def shown(self, answers: Sequence[Answer] | None = None) -> list[Answer]:
        """The answers as they stand, or as given, without what a blind visitor may not know before the vote."""
        level = self.level(self.stream.answers if answers is None else answers)
        return [answer if self.pairs[answer.index].revealed else timeless(answer) for answer in level]

    def level(self, answers: Sequence[Answer]) -> list[Answer]:
        """The answers with the text that was shown of them."""
        return in_step(self.stream, answers) if self.blind else list(answers)

    def change(self, index: int) -> str | None:
        """How the tuned side's answer to a question compares with the base side's; None while that is not known, is
        not to be shown yet, or cannot be said because nothing scores the answers."""
        question = self.questions[index]
        found = self.verdicts.final(index)
        if not self.pairs[index].revealed or len(found) < 2 or not (self.task.scorers or question.checks):
            return None
        return str(change(found["base"], found["tuned"]))

    def verdict(self, answer: Answer) -> VerdictView | None:
        """What to show of the verdict on an answer; None while a blind pair waits for its vote.

        A blind vote is to be independent of the machine's judgement.
        """
        return self.verdicts.of(answer) if self.pairs[answer.index].revealed else None

    def follow(
        self, snapshots: Iterable[list[Answer]], keep: Callable[[Showing], None], wait: Callable[[Verdicts], object]
    ) -> Iterator[list[Answer]]:
        """The answers as their visitor may see them, again and again as ``snapshots`` of the stream come.

        ``keep`` is called before each, to keep what is complete, and ``wait`` before the last, to wait for the verdicts
        that may be seen: all of them are being worked out by then.
        """
        for answers in snapshots:
            keep(self)
            if all(answer.done for answer in answers):
                for answer in answers:
                    if answer.state in COMPLETE and self.pairs[answer.index].revealed:
                        self.verdicts.begin(answer)
                wait(self.verdicts)
            yield self.shown(answers)

    def view(self, answers: Sequence[Answer] | None = None) -> BoardView:
        """The page's data for the answers as they are shown now, or for these, which are ordered by question."""
        answers = self.shown() if answers is None else answers
        status, ahead = self.status, self.stream.ahead
        titles = adapter_names(status)
        return {
            "id": self.id,
            "asked_at": self.created,
            "settings": settings_words(self.stream.settings),
            "title": self.title,
            "blind": self.blind,
            "model": base_words(status),
            "adapter": adapter_words(status),
            "running": not all(answer.done for answer in answers),
            "ahead": ahead.answers,
            "place": ahead.requests + 1,
            "at_once": ahead.at_once,
            "rows": [self._row(list(group), titles) for _, group in groupby(answers, key=lambda answer: answer.index)],
        }

    @property
    def title(self) -> str:
        """What the request is called in the visitor's list of them."""
        if len(self.questions) == 1:
            return self.stream.questions[0].text
        if self.task.name == DEFAULT:
            return "All five probes"
        return f"{self.task.words}: {len(self.task.questions) or len(self.questions):,} questions"

    def _row(self, answers: list[Answer], titles: dict[Side, str] | None) -> RowView:
        """One question's data; its diff, which never changes, is worked out once. ``names`` says which model stands
        where, and is None for a blind pair before its vote; nothing else in the data depends on it."""
        index = answers[0].index
        pair = self.pairs[index]
        by_side = {answer.side: answer for answer in answers}
        sides: dict[Place, SideView] = {
            place: self._side(by_side[side]) for place, side in pair.names.items() if side in by_side
        }
        row: RowView = {
            "title": self.questions[index].title,
            "task": self.task.words if self.questions[index].id else "",
            "question": answers[0].question,
            "pair": pair.id,
            "thread": pair.thread.id,
            "turn": pair.turn,
            "number": 0 if self.follows else index + 1,
            "follows": self._goes_on(pair),
            "names": {place: side for place, side in pair.names.items() if place in sides} if pair.revealed else None,
            "sides": sides,
            "differs": None,
            "diff": [],
            "references": list(self.questions[index].references),
            "change": self.change(index),
        }
        if titles:
            row["titles"] = titles
        if len(sides) == 2 and all(answer.done for answer in answers):
            if index not in self._diffs:
                self._diffs[index] = difference(sides["left"], sides["right"])
            row["differs"], row["diff"] = self._diffs[index]
        return row

    def _goes_on(self, pair: LivePair) -> str:
        """What a later turn goes on from, in words."""
        if pair.turn == 1:
            return ""
        own, both = "each goes on from its own answer", f"both go on from the {pair.follows} answer"
        told = own if pair.follows == "own" else both
        before = self.follows.who if self.follows is not None else None
        begun = any(row.state != "waiting" for row in self.stream.rows)
        if before is not None and begun and before != answering(self.status):
            told += "; the models were changed since the turn before"
        asked = self.follows.task if self.follows is not None else ""
        if asked and asked != self.task.name:
            told += f"; the task {asked} cannot be asked any more, so these answers get no verdict"
        return told

    def confidence(self, answer: Answer) -> ConfidenceView | None:
        """How sure an answer's model was of it; None where nobody asked, and while that might tell who it was."""
        if not self.stream.settings.confidence or not self.pairs[answer.index].revealed:
            return None
        return confidence_view(answer)

    def _side(self, answer: Answer) -> SideView:
        sure = self.confidence(answer)
        known: SideView = {
            "text": answer.said,
            "thinking": thinking(answer),
            "code": code_once(answer.said) if answer.done else "",
            "state": answer.state,
            "facts": facts(answer),
            "ending": ending(answer, self.stream.settings.max_new_tokens),
            "verdict": self.verdict(answer),
        }
        return known if sure is None else {**known, "confidence": sure}


def answering(status: Status) -> dict[Side, tuple[str, str]]:
    """For each side the name of its model, and what tells its weights from all others."""
    cards: dict[Side, AdapterCard | None] = {"base": status.against, "tuned": status.adapter}
    bare = status.model.rstrip("/").rsplit("/", 1)[-1], status.fingerprint
    return {
        side: bare if card is None else (card.name, f"{status.fingerprint}+{card.fingerprint}")
        for side, card in cards.items()
    }
