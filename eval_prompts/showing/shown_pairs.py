"""All pairs of answers that people are shown, for as long as they can be voted on, and what a vote reveals.

A pair is kept in the ratings database from the moment that both its answers are over, so that it can be voted on
after a restart too. Until then, and as long as it is recent, it is also remembered here, with its running answers.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from eval_prompts.showing.compare_view import pace
from eval_prompts.showing.judges import UNJUDGED, Judges
from eval_prompts.showing.live_pair import LivePair, Place, other
from eval_prompts.showing.showing import Likelihoods, Showing
from eval_prompts.tasks.catalogue import python_task
from eval_prompts.votes.conversation import WHOLE_PAIR, whole_of
from eval_prompts.votes.records import MAX_COMMENT, Answered, ShownPair, check_vote
from eval_prompts.votes.vote_statistics import by_kind
from eval_prompts.votes.words import headline
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.models.pair import Side
    from eval_prompts.serving.status import Status
    from eval_prompts.showing.follow_ups import Before
    from eval_prompts.showing.views import ConfidenceView, VerdictView
    from eval_prompts.stream import Stream
    from eval_prompts.tasks.task import Question, Task
    from eval_prompts.votes.records import VotedPair
    from eval_prompts.votes.store import Ratings

REMEMBERED = 640
"""Twice the pairs of 64 requests for all five probes, which is how many may run. Some 15 KB each, more if long."""

log = logging.getLogger(__name__)


def anonymous(visitor: Any) -> str:
    """A session's name in the database: the same for the same visitor, and of no use to pose as that visitor.

    Raises UserError for what names nobody.
    """
    if not isinstance(visitor, str) or not 0 < len(visitor) <= 200:
        raise UserError("The vote does not say whose it is: reload the page and vote again.")
    return hashlib.sha256(visitor.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class ShownPairs:
    """All pairs on show, and what people say of them. All methods may be called from any thread."""

    def __init__(
        self, url: str, longest_comment: int = MAX_COMMENT, jail: bool = False, always_blind: bool = False
    ) -> None:
        """``url`` is the ratings database (SQLAlchemy); it is opened when it is first needed. ``longest_comment`` is in
        characters, up to what the database keeps. With ``jail`` code that the sandbox cannot run is run in the jail;
        with ``always_blind`` every pair is shown blind, whatever is asked for."""
        self._url, self._longest_comment = url, longest_comment
        self.jail = jail
        self._judges = Judges(jail=jail)
        self.likelihoods: Likelihoods | None = None
        """What reads how likely the models find given answers; without it scorers that go by that say nothing."""
        self.always_blind = always_blind
        self._keeper = ThreadPoolExecutor(1, thread_name_prefix="keep")
        self._recent: OrderedDict[str, LivePair] = OrderedDict()
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._ratings: Ratings | None = None

    @property
    def ratings(self) -> Ratings:
        """The database. Raises UserError if it cannot be opened; the next call tries again."""
        from eval_prompts.votes.store import Ratings

        with self._opening:
            if self._ratings is None:
                self._ratings = Ratings(self._url)
            return self._ratings

    def show(
        self,
        stream: Stream,
        status: Callable[[], Status],
        session: str,
        blind: bool = False,
        task: Task | None = None,
        questions: Sequence[Question] | None = None,
        follows: Before | None = None,
    ) -> Showing:
        """Give a request's pairs their places and names; blind, which side stands where is left to chance.

        ``task`` judges the answers, the default one if there is none; ``questions`` are what the stream asks of it, if
        its texts do not tell. A follow-up, which ``follows`` a turn, has the places of that one, and is blind as long
        as that one hides who is who.
        """
        session = anonymous(session or secrets.token_hex(16))
        task = task or python_task()
        asked = questions or [task.own_question(prompt.text) for prompt in stream.questions]
        blind = blind or self.always_blind if follows is None else not follows.thread.revealed
        showing = Showing(
            stream, status, session, blind, self._judges, task, asked, follows, likelihoods=self.likelihoods
        )
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
        self,
        pair: Any,
        visitor: Any,
        choice: Any,
        reasons: Sequence[str] = (),
        comment: str = "",
        address: str = "",
    ) -> dict[str, Any]:
        """Record a vote, or change it, and tell what it reveals. When this returns, the vote is on disk. ``address`` is
        where it comes from, where that is known.

        A vote on answers that still stream ends them. Raises UserError for an unknown pair, choice or reason, a
        comment that is too long, and a database that cannot be written.
        """
        choice, reasons, comment = check_vote(choice, reasons, comment)
        if len(comment) > self._longest_comment:
            raise UserError(
                f"The comment is too long ({len(comment):,} characters): {self._longest_comment:,} are kept."
            )
        session, ratings = anonymous(visitor), self.ratings
        live = self.live(str(pair).removeprefix(WHOLE_PAIR))
        if live is not None:
            live.settle()
            live.file(ratings)
        if str(pair).startswith(WHOLE_PAIR):
            last = ratings.pair(str(pair).removeprefix(WHOLE_PAIR))
            ratings.add_pair(whole_of(last, self._begun(last)))
        voted = ratings.vote(
            str(pair),
            session,
            choice,
            streaming=live is not None and live.cut_short,
            reasons=reasons,
            comment=comment,
            network=ratings.network_of(address),
        )
        if live is not None:
            live.reveal()
        told = {key: getattr(voted.vote, key) for key in ("choice", "outcome", "streaming", "blind", "comment")}
        told |= {"pair": voted.vote.pair_id, "reasons": list(voted.vote.reasons)}
        return told | {"reveals": self._reveal(voted.pair)}

    def _begun(self, last: ShownPair) -> ShownPair | None:
        """The turn that a conversation began with; None where it is not kept."""
        live = self.live(last.thread)
        if live is not None:
            live.file(self.ratings)
        try:
            return self.ratings.pair(last.thread)
        except UserError:
            return None

    def undo(self, pair: Any, visitor: Any) -> bool:
        """Take a vote back; False if there was none."""
        return self.ratings.undo(str(pair), anonymous(visitor))

    def _reveal(self, record: ShownPair) -> dict[str, Any]:
        """A pair that has been voted on, told in full: names, measures and verdicts by place."""
        live = self.live(record.id.removeprefix(WHOLE_PAIR))
        found = self._verdicts(live) if live else _stored_verdicts(record)
        names: dict[Place, Side] = {"left": record.left, "right": other(record.left)}
        told: dict[Side, Answered] = {"base": record.base, "tuned": record.tuned}
        sure = self._confidence(live)
        return {
            "blind": record.blind,
            "names": names,
            "change": live.showing.change(live.index) if live else None,
            "sides": {
                place: {"facts": pace(told[name].tokens, told[name].seconds), "verdict": found[name]} | sure[name]
                for place, name in names.items()
            },
        }

    def judged(self, pairs: Any) -> dict[str, dict[str, Any]]:
        """Verdicts by pair and place, of those pairs that hide nothing any more."""
        found: dict[str, dict[str, Any]] = {}
        for pair in pairs if isinstance(pairs, list) else []:
            live = self.live(pair)
            if live is None:
                found[str(pair)] = {"left": UNJUDGED, "right": UNJUDGED}
            elif live.revealed:
                verdicts = self._verdicts(live)
                placed: dict[str, Any] = {place: verdicts[name] for place, name in live.names.items()}
                found[live.id] = placed | {"change": live.showing.change(live.index)}
        return found

    def preferred(self, tuned: str, base: str) -> str:
        """What people who voted on two sides, by their fingerprints, prefer, in words; '' where nobody has voted.
        Raises UserError if the database cannot be read."""
        votes = self.votes_on(tuned, base)
        return headline(by_kind(votes)) if votes else ""

    def votes_on(self, tuned: str, base: str) -> list[VotedPair]:
        """What people voted on two sides, by their fingerprints. Raises UserError if the database cannot be read."""
        return self.ratings.votes(adapter=tuned, against=base)

    def close(self) -> None:
        """Let go of the threads and the database."""
        self._keeper.shutdown(wait=True)
        self._judges.close()
        if self._ratings is not None:
            self._ratings.close()

    def live(self, pair: Any) -> LivePair | None:
        """A pair that is recent enough to be remembered; None for any other."""
        return self._recent.get(pair) if isinstance(pair, str) else None

    def _confidence(self, live: LivePair | None) -> dict[Side, dict[str, ConfidenceView]]:
        """What a vote reveals of how sure both sides were, where that was asked for and is still remembered."""
        told: dict[Side, dict[str, ConfidenceView]] = {"base": {}, "tuned": {}}
        for side, answer in live.answers().items() if live else ():
            if (view := live.showing.confidence(answer) if live else None) is not None:
                told[side] = {"confidence": view}
        return told

    def _verdicts(self, live: LivePair) -> dict[Side, VerdictView]:
        return {side: live.showing.verdicts.of(answer) for side, answer in live.answers().items()}


def _stored_verdicts(record: ShownPair) -> dict[Side, VerdictView]:
    sides: dict[Side, Answered] = {"base": record.base, "tuned": record.tuned}
    return {
        name: UNJUDGED if side.verdict is None else {"checking": False, "badges": side.verdict["badges"]}
        for name, side in sides.items()
    }
