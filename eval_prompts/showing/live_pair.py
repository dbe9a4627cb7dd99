"""One question's two answers while they are recent: their places, and their way into the database."""

from __future__ import annotations

import logging
import secrets
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from eval_prompts.showing.certainty import recorded
from eval_prompts.votes.records import Answered, ShownPair
from tuning.errors import UserError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from eval_prompts.answers import Answer
    from eval_prompts.models.pair import Side
    from eval_prompts.showing.showing import Showing
    from eval_prompts.tasks.verdicts import Judgement
    from eval_prompts.votes.store import Ratings

STOP_SECONDS = 20.0
STILL_WRITTEN = "The answers are still being written: wait for their end, or stop them."
Place = Literal["left", "right"]

log = logging.getLogger(__name__)


def other(side: Side) -> Side:
    """The one that ``side`` is compared with."""
    return "tuned" if side == "base" else "base"


@dataclass
class Thread:
    """What the turns of one conversation share: its id, which is that of its first pair, who stands left, and whether
    it has been told who is who."""

    id: str
    left: Side
    revealed: bool


class LivePair:
    """One question's two answers while they are recent: their places, and their way into the database."""

    def __init__(
        self, showing: Showing, index: int, left: Side, thread: Thread | None = None, turn: int = 1, follows: str = ""
    ) -> None:
        """``thread`` is the conversation that this pair is turn number ``turn`` of, None where it begins one;
        ``follows`` says what both sides go on from."""
        self.id = secrets.token_hex(16)
        self.showing = showing
        self.index = index
        self.thread = thread or Thread(self.id, left, not showing.blind)
        self.turn, self.follows = turn, follows
        self.cut_short = False
        self.queued = False
        self._filed = False
        self._filing = threading.RLock()

    @property
    def left(self) -> Side:
        """Which model stands left."""
        return self.thread.left

    @property
    def revealed(self) -> bool:
        """Whether it may be told who is who."""
        return self.thread.revealed

    def reveal(self) -> None:
        """Tell from now on who is who, in this turn and all others of its conversation."""
        self.thread.revealed = True

    @property
    def names(self) -> dict[Place, Side]:
        """Which model stands where."""
        return {"left": self.left, "right": other(self.left)}

    @property
    def over(self) -> bool:
        """Whether neither answer will grow any more."""
        return self.showing.stream.wait(self.index, timeout=0)

    def answers(self) -> dict[Side, Answer]:
        """Both answers by side, with the text that was shown."""
        level = self.showing.level(self.showing.stream.answers)
        return {answer.side: answer for answer in level if answer.index == self.index}

    def settle(self) -> None:
        """End both answers if they still stream. Raises UserError where nothing is written yet."""
        if not self.written:
            raise UserError("Neither answer has begun: wait for the first words.")
        if self.over:
            return
        self.cut_short = True
        self.showing.stream.stop(self.index)
        if not self.showing.stream.wait(self.index, STOP_SECONDS):
            raise UserError("The answers could not be stopped: vote again in a moment.")

    @property
    def written(self) -> bool:
        """Whether there is any text to compare."""
        return any(answer.text for answer in self.answers().values())

    def file(self, ratings: Ratings) -> None:
        """Keep the pair, once, when both answers are over. Raises UserError if the database refuses."""
        with self._filing:
            if self._filed or not self.over or not self.written:
                return
            answers = self.answers()
            ratings.add_pair(self._record(answers))
            self._filed = True
        self._file_verdicts(ratings, answers)

    def _record(self, answers: dict[Side, Answer]) -> ShownPair:
        showing = self.showing
        question = answers["base"].question
        return ShownPair(
            id=self.id,
            created=showing.created - self.index / 1000,  # newest first is then the order of asking within a request
            session=showing.session,
            question=question,
            probe=showing.questions[self.index].probe,
            base=self._side(answers["base"]),
            tuned=self._side(answers["tuned"]),
            left=self.left,
            blind=showing.blind,
            settings=showing.stream.settings.to_dict() | showing.task_named | self._asked() | self._confidence(answers),
            conversation=self.thread.id,
            turn=self.turn,
        )

    def _asked(self) -> dict[str, Any]:
        """What the answers follow, for the record: one conversation, or one for each side."""
        prompt = self.showing.stream.prompts[self.index]
        told: dict[str, Any] = {"messages": [dict(turn) for turn in prompt.messages]}
        if prompt.tuned is not None:
            told["tuned_messages"] = [dict(turn) for turn in prompt.tuned]
        return told | ({"follows": self.follows} if self.follows else {})

    def _confidence(self, answers: dict[Side, Answer]) -> dict[str, Any]:
        """How sure both sides were of each token, where that was asked for: it takes the setting's place."""
        if not self.showing.stream.settings.confidence:
            return {}
        return {"confidence": {side: recorded(answer) for side, answer in answers.items()}}

    def _side(self, answer: Answer) -> Answered:
        label, fingerprint = self.showing.who(answer.side)
        return Answered(
            text=answer.text,
            tokens=answer.tokens,
            seconds=round(answer.seconds, 3),
            state=answer.state,
            label=label,
            fingerprint=fingerprint,
            verdict=None,
        )

    def _file_verdicts(self, ratings: Ratings, answers: dict[Side, Answer]) -> None:
        """Keep the verdicts as soon as both are known; a pair that was stopped has none."""
        if not all(answer.state in ("ended", "capped") for answer in answers.values()):
            return

        def keep(_: Future[Judgement]) -> None:
            found = self.showing.verdicts.final(self.index)
            if len(found) == len(answers):
                try:
                    ratings.set_verdicts(self.id, found["base"].to_dict(), found["tuned"].to_dict())
                except UserError as error:
                    log.error("Verdicts were not kept: %s", error)
                except Exception:
                    log.exception("Verdicts were not kept")

        for answer in answers.values():
            self.showing.verdicts.begin(answer).add_done_callback(keep)
