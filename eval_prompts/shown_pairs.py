"""The pairs of answers that people are shown: who stands on which side, what is hidden, and what a vote reveals.

A pair is kept in the ratings database from the moment that both its answers are over, so that it can be voted on
after a restart too. Until then, and as long as it is recent, it is also remembered here, with its running answers.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from eval_prompts.blind import in_step, timeless
from eval_prompts.judging import UNJUDGED, Judges, Verdicts
from eval_prompts.probes import PROBES
from eval_prompts.ratings import Answered, ShownPair, check_vote
from tuning.errors import UserError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from eval_prompts.decode import Answer, Stream
    from eval_prompts.pair import Side
    from eval_prompts.ratings import Ratings
    from eval_prompts.service import Status
    from eval_prompts.verdict import Verdict

REMEMBERED = 2000
STOP_SECONDS = 20.0
PROBE_IDS = {probe.question: probe.id for probe in PROBES}
Place = Literal["left", "right"]

log = logging.getLogger(__name__)


def anonymous(visitor: Any) -> str:
    """A session's name in the database: the same for the same visitor, and of no use to pose as that visitor.

    Raises UserError for what names nobody.
    """
    if not isinstance(visitor, str) or not 0 < len(visitor) <= 200:
        raise UserError("The vote does not say whose it is: reload the page and vote again.")
    return hashlib.sha256(visitor.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class LivePair:
    """One question's two answers while they are recent: their places, and their way into the database."""

    def __init__(self, showing: Showing, index: int, left: Side) -> None:
        self.id = secrets.token_hex(16)
        self.showing = showing
        self.index = index
        self.left = left
        self.revealed = not showing.blind
        self.cut_short = False
        self.queued = False
        self._filed = False
        self._filing = threading.RLock()

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
            probe=PROBE_IDS.get(question),
            base=self._side(answers["base"]),
            tuned=self._side(answers["tuned"]),
            left=self.left,
            blind=showing.blind,
            settings=asdict(showing.stream.settings),
        )

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

        def keep(_: Future[Verdict]) -> None:
            found = self.showing.verdicts.final(self.index)
            if len(found) == len(answers):
                try:
                    ratings.set_verdicts(self.id, found["base"].to_dict(), found["tuned"].to_dict())
                except UserError as error:
                    log.error("Verdicts were not kept: %s", error)

        for answer in answers.values():
            self.showing.verdicts.begin(answer).add_done_callback(keep)


class Showing:
    """One request as its visitor sees it."""

    def __init__(self, stream: Stream, status: Callable[[], Status], session: str, blind: bool, judges: Judges) -> None:
        self.stream = stream
        self.session = session
        self.blind = blind
        self.created = time.time()
        self.verdicts = Verdicts(judges, [PROBE_IDS.get(question) for question, _ in stream.questions])
        self.pairs = [
            LivePair(self, index, secrets.choice(("base", "tuned")) if blind else "base")
            for index in range(len(stream.questions))
        ]
        self._ask_status = status
        self._status: Status | None = None

    @property
    def status(self) -> Status:
        """Who answers: asked anew until the first answer begins, since models may be loading before that."""
        if self._status is not None:
            return self._status
        status = self._ask_status()
        if any(row.state != "waiting" for row in self.stream.rows):
            self._status = status
        return status

    def who(self, side: Side) -> tuple[str, str]:
        """The name of a side's model, and what tells its weights from all others."""
        status = self.status
        base = status.model.rstrip("/").rsplit("/", 1)[-1], status.fingerprint
        if side == "base" or status.adapter is None:
            return base
        return status.adapter.name, f"{status.fingerprint}+{status.adapter.fingerprint}"

    def shown(self, answers: Sequence[Answer] | None = None) -> list[Answer]:
        """The answers as they stand, or as given, without what a blind visitor may not know before the vote."""
        level = self.level(self.stream.answers if answers is None else answers)
        return [answer if self.pairs[answer.index].revealed else timeless(answer) for answer in level]

    def level(self, answers: Sequence[Answer]) -> list[Answer]:
        """The answers with the text that was shown of them."""
        return in_step(self.stream, answers) if self.blind else list(answers)

    def verdict(self, answer: Answer) -> dict[str, Any] | None:
        """What to show of the verdict on an answer; None while a blind pair waits for its vote.

        A blind vote is to be independent of the machine's judgement.
        """
        return self.verdicts.of(answer) if self.pairs[answer.index].revealed else None


class ShownPairs:
    """All pairs on show, and what people say of them. All methods may be called from any thread."""

    def __init__(self, url: str) -> None:
        """``url`` is the ratings database (SQLAlchemy); it is opened when it is first needed."""
        self._url = url
        self._judges = Judges()
        self._keeper = ThreadPoolExecutor(1, thread_name_prefix="keep")
        self._recent: OrderedDict[str, LivePair] = OrderedDict()
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._ratings: Ratings | None = None

    @property
    def ratings(self) -> Ratings:
        """The database. Raises UserError if it cannot be opened; the next call tries again."""
        from eval_prompts.ratings import Ratings

        with self._opening:
            if self._ratings is None:
                self._ratings = Ratings(self._url)
            return self._ratings

    def show(self, stream: Stream, status: Callable[[], Status], session: str, blind: bool = False) -> Showing:
        """Give a request's pairs their places and names; blind, which side stands where is left to chance."""
        session = anonymous(session or secrets.token_hex(16))
        showing = Showing(stream, status, session, blind, self._judges)
        with self._lock:
            self._recent.update({pair.id: pair for pair in showing.pairs})
            while len(self._recent) > REMEMBERED:
                self._recent.popitem(last=False)
        return showing

    def keep(self, showing: Showing) -> None:
        """Have what is complete of a request kept, without waiting for it. Where the database refuses, a vote will
        try again and say so."""
        for pair in showing.pairs:
            if not pair.queued and pair.over:
                pair.queued = True
                self._keeper.submit(self._keep, pair)

    def _keep(self, pair: LivePair) -> None:
        try:
            pair.file(self.ratings)
        except UserError as error:
            log.warning("A pair was not kept: %s", error)
        except Exception:
            log.exception("a pair was not kept")

    def rate(
        self, pair: Any, visitor: Any, choice: Any, reasons: Sequence[str] = (), comment: str = ""
    ) -> dict[str, Any]:
        """Record a vote, or change it, and tell what it reveals. When this returns, the vote is on disk.

        A vote on answers that still stream ends them. Raises UserError for an unknown pair, choice or reason, a
        comment that is too long, and a database that cannot be written.
        """
        choice, reasons, comment = check_vote(choice, reasons, comment)
        session, ratings, live = anonymous(visitor), self.ratings, self._live(pair)
        if live is not None:
            live.settle()
            live.file(ratings)
        vote = ratings.vote(
            str(pair),
            session,
            choice,
            streaming=live is not None and live.cut_short,
            reasons=reasons,
            comment=comment,
        )
        if live is not None:
            live.revealed = True
        told = {key: getattr(vote, key) for key in ("choice", "outcome", "streaming", "blind", "comment")}
        told |= {"pair": vote.pair_id, "reasons": list(vote.reasons)}
        return told | {"reveals": self.reveal(str(pair))}

    def undo(self, pair: Any, visitor: Any) -> bool:
        """Take a vote back; False if there was none."""
        return self.ratings.undo(str(pair), anonymous(visitor))

    def reveal(self, pair: str) -> dict[str, Any]:
        """A pair that has been voted on, told in full: names, measures and verdicts by place."""
        record = self.ratings.pair(pair)
        live = self._live(pair)
        found = self._verdicts(live) if live else _stored_verdicts(record)
        names: dict[Place, Side] = {"left": record.left, "right": other(record.left)}
        return {
            "blind": record.blind,
            "names": names,
            "sides": {
                place: {"facts": measures(getattr(record, name)), "verdict": found[name]}
                for place, name in names.items()
            },
        }

    def judged(self, pairs: Any) -> dict[str, dict[str, Any]]:
        """Verdicts by pair and place, of those pairs that hide nothing any more."""
        found = {}
        for pair in pairs if isinstance(pairs, list) else []:
            live = self._live(pair)
            if live is None:
                found[str(pair)] = {"left": UNJUDGED, "right": UNJUDGED}
            elif live.revealed:
                verdicts = self._verdicts(live)
                found[live.id] = {place: verdicts[name] for place, name in live.names.items()}
        return found

    def close(self) -> None:
        """Let go of the threads and the database."""
        self._judges.close()
        self._keeper.shutdown(wait=True, cancel_futures=False)
        if self._ratings is not None:
            self._ratings.close()

    def _live(self, pair: Any) -> LivePair | None:
        return self._recent.get(pair) if isinstance(pair, str) else None

    def _verdicts(self, live: LivePair) -> dict[Side, dict[str, Any]]:
        return {side: live.showing.verdicts.of(answer) for side, answer in live.answers().items()}


def _stored_verdicts(record: ShownPair) -> dict[Side, dict[str, Any]]:
    sides: dict[Side, Answered] = {"base": record.base, "tuned": record.tuned}
    return {
        name: UNJUDGED if side.verdict is None else {"checking": False, "badges": side.verdict["badges"]}
        for name, side in sides.items()
    }


def measures(side: Answered) -> list[str]:
    """A kept answer's measures in words, as ``compare_view.facts`` says those of a running one."""
    words = [f"{side.tokens:,} token{'s' if side.tokens != 1 else ''}"]
    return [*words, f"{side.tokens / side.seconds:.0f} tok/s", f"{side.seconds:.1f} s"] if side.seconds > 0 else words


def other(side: Side) -> Side:
    """The one that ``side`` is compared with."""
    return "tuned" if side == "base" else "base"
