"""Questions that one press asks, page by page: their answers and verdicts, kept while somebody may look at them."""

from __future__ import annotations

import pickle
import secrets
import threading
import time
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from eval_prompts.tasks.choice import begin_of
from eval_prompts.tasks.verdicts import Change
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.answers import Answer, Settings
    from eval_prompts.rows import Prompt
    from eval_prompts.serving.status import Status
    from eval_prompts.showing.showing import Showing
    from eval_prompts.showing.views import AskedView, BoardView
    from eval_prompts.tasks.task import Question, Task
    from eval_prompts.tasks.verdicts import Judgement

REMEMBERED = 32
"""Presses whose answers are kept."""
HIDDEN = "hidden"
GONE = "These answers are no longer kept on the server: ask again."


@dataclass(frozen=True)
class Part:
    """A page that is over: its answers, what was found about them by side and number, the prompts, and the view."""

    answers: list[Answer]
    verdicts: dict[tuple[str, int], Judgement]
    prompts: list[Prompt]
    view: BoardView
    status: Status
    turns: list[tuple[str, int]]
    """For each question the conversation that it is a turn of, and which one."""


def part_of(showing: Showing) -> Part:
    """A request as it stands."""
    found = {
        (side, index): judgement
        for index in range(len(showing.questions))
        for side, judgement in showing.verdicts.final(index).items()
    }
    turns = [(pair.thread.id, pair.turn) for pair in showing.pairs]
    stream = showing.stream
    return Part(stream.answers, found, stream.prompts, showing.view(), showing.status, turns)


@dataclass
class Page:
    """One page: while it lives with all that streams, afterwards ``packed``."""

    number: int
    questions: Sequence[Question]
    showing: Showing
    packed: bytes = b""
    changes: Counter[str] = field(default_factory=Counter)
    follow_ups: list[Showing] = field(default_factory=list)
    """What visitors asked further, each one question, in the order in which they did."""

    def view(self, now: tuple[Showing, BoardView] | None = None, settled: BoardView | None = None) -> BoardView:
        """The page as the board shows it, every follow-up below the turns before it; ``now`` is one that is being
        answered, as it stands, and ``settled`` the page without any, where somebody has unpacked it already."""
        view = settled or self.part().view
        rows = list(view["rows"])
        streams = now[1] if now is not None else view
        for showing in self.follow_ups:
            row = (now[1] if now is not None and now[0] is showing else showing.view())["rows"][0]
            place = max((at for at, one in enumerate(rows) if one["thread"] == row["thread"]), default=len(rows) - 1)
            rows.insert(place + 1, row)
        live = {name: streams[name] for name in ("running", "ahead", "place", "at_once")}
        return {**view, **live, "rows": rows}  # type: ignore[typeddict-item]

    def holds(self, showing: Showing) -> bool:
        """Whether a request is the page itself, and no follow-up."""
        return not self.packed and self.showing is showing

    def later(self) -> list[tuple[Question, Part]]:
        """The follow-ups with their answers, each as a part of its own."""
        return [(showing.questions[0], part_of(showing)) for showing in self.follow_ups]

    def part(self) -> Part:
        """The page as it stands."""
        if self.packed:
            part: Part = pickle.loads(zlib.decompress(self.packed))  # our own bytes, which never left this process
            return part
        return part_of(self.showing)

    def counted(self) -> Counter[str]:
        """How many questions got better, stayed the same, got worse, have no score, or are hidden yet."""
        if self.packed:
            return self.changes
        return Counter(found for index in range(len(self.questions)) if (found := self.change(index)))

    def change(self, index: int) -> str:
        """How one question's answers compare; '' while that is not known."""
        if not self.showing.pairs[index].over:
            return ""
        if not self.showing.pairs[index].revealed:
            return HIDDEN
        return self.showing.change(index) or ""

    def settle(self) -> None:
        """Pack the page once nothing of it will change any more."""
        if self.packed:
            return
        over = self.showing.stream.done and all(pair.revealed for pair in self.showing.pairs)
        if over and self.showing.verdicts.wait(0):
            self.changes = self.counted()
            self.packed = zlib.compress(pickle.dumps(self.part()))
            del self.showing


class Asked:
    """One press: ``count`` questions of ``task``, of which those from page ``first`` to page ``last`` are asked."""

    def __init__(
        self,
        task: Task,
        settings: Settings,
        count: int,
        first: int = 1,
        last: int = 1,
        size: int = 1,
        asking: int | None = None,
    ) -> None:
        """``asking`` is how many questions these pages have, where a conversation makes one longer than ``size``."""
        self.id = secrets.token_hex(16)
        self.task, self.settings = task, settings
        self.count, self.first, self.last, self.size = count, first, last, size
        self._asking = asking
        self.pages: list[Page] = []
        self.began = time.monotonic()
        self.created = time.time()
        self._lock = threading.Lock()

    def add(self, page: Page) -> None:
        """Begin another page; those before it are packed where they can be."""
        with self._lock:
            for earlier in self.pages:
                earlier.settle()
            self.pages.append(page)

    @property
    def further(self) -> int:
        """How many follow-ups were asked."""
        return sum(len(page.follow_ups) for page in self.pages)

    @property
    def asking(self) -> int:
        """How many questions this press asks in all."""
        if self._asking is not None:
            return self._asking
        return min(self.count, self.last * self.size) - (self.first - 1) * self.size

    def begin_of(self, page: int) -> int:
        """How many of the task's questions stand before a page."""
        return begin_of(self.task, page) if self._asking is not None else min((page - 1) * self.size, self.count)

    def told(self, number: int) -> AskedView:
        """Where page ``number`` stands among all: progress, time left in seconds (None if not known), counts."""
        with self._lock:
            pages = list(self.pages)
            counts: Counter[str] = Counter()
            answered = 0
            for page in pages:
                counts.update(page.counted())
                answered += len(page.questions) if page.packed else sum(pair.over for pair in page.showing.pairs)
        seconds = time.monotonic() - self.began
        left = seconds / answered * (self.asking - answered) if answered else None
        return {
            "id": self.id,
            "task": self.task.words,
            "page": number,
            "first": self.first,
            "last": self.last,
            "begun": pages[-1].number if pages else self.first,
            "size": self.size,
            "before": self.begin_of(number),
            "through": self.begin_of(self.last + 1),
            "next": self.begin_of(self.last + 2),
            "count": self.count,
            "asking": self.asking,
            "answered": answered,
            "seconds_left": None if left is None or answered >= self.asking else round(left),
            "changes": {str(name): counts[name] for name in (*Change, HIDDEN)},
        }

    def view(self, number: int) -> BoardView:
        """A page as the board shows it. Raises UserError for one that was not asked."""
        with self._lock:
            page = next((page for page in self.pages if page.number == number), None)
            if page is None:
                raise UserError("That page has not been asked.")
            view = page.view()
        return {**self.of_all(view, number), "running": False}

    def page_with(self, thread: str, number: Any) -> Page:
        """The page on which a conversation stands, else the one of that number, else the last. Raises UserError where
        nothing was asked."""
        with self._lock:
            pages = sorted(self.pages, key=lambda page: page.number != number)
            if not pages:
                raise UserError(GONE)
            holding = (page for page in pages if any(row["thread"] == thread for row in page.view()["rows"]))
            named = pages[0] if pages[0].number == number else pages[-1]
            return next(holding, named)

    def follow_up(self, page: Page, showing: Showing) -> None:
        """Take a follow-up into a page."""
        with self._lock:
            page.follow_ups.append(showing)

    def shown_on(self, page: Page, showing: Showing) -> Callable[[BoardView], BoardView]:
        """How a request that is being answered is shown on its page, from its own view as it stands. What of the page
        is settled is unpacked once."""
        settled: list[BoardView] = []

        def view(now: BoardView) -> BoardView:
            with self._lock:
                if page.holds(showing):
                    whole = now
                else:
                    if page.packed and not settled:
                        settled.append(page.part().view)
                    whole = page.view((showing, now), *settled)
            return self.of_all(whole, page.number)

        return view

    def of_all(self, view: BoardView, number: int) -> BoardView:
        """The view of a page as one of the whole press: with its id, its time, and how everything stands."""
        return {**view, "id": self.id, "asked_at": self.created, "asked": self.told(number)}

    def parts(self) -> tuple[list[Question], list[Part]]:
        """Everything that was asked so far, its numbers running on over the pages and then over the follow-ups. Raises
        UserError while answers are hidden, or nothing is answered."""
        hidden = self.told(1)["changes"][HIDDEN]
        if hidden:
            raise UserError(
                f"{hidden:,} answers are hidden until you vote on them: vote first, since the report tells who is who."
            )
        questions: list[Question] = []
        parts: list[Part] = []
        with self._lock:
            found: list[tuple[Sequence[Question], Part]] = [(page.questions, page.part()) for page in self.pages]
            found += [([one], part) for page in self.pages for one, part in page.later()]
        for asked, part in found:
            before = len(questions)
            answers = [replace(answer, index=answer.index + before) for answer in part.answers]
            verdicts = {(side, index + before): known for (side, index), known in part.verdicts.items()}
            parts.append(replace(part, answers=answers, verdicts=verdicts))
            questions += asked
        if not any(answer.text for part in parts for answer in part.answers):
            raise UserError("Nothing is answered yet: wait for the first answers.")
        return questions, parts


class AskedBefore:
    """What was asked lately, by the id that only the asker was told."""

    def __init__(self) -> None:
        self._recent: OrderedDict[str, Asked] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, asked: Asked) -> None:
        """Remember it; the oldest is forgotten."""
        with self._lock:
            self._recent[asked.id] = asked
            while len(self._recent) > REMEMBERED:
                self._recent.popitem(last=False)

    def find(self, id: Any) -> Asked:
        """What was asked under that id. Raises UserError if it is no longer kept."""
        asked = self.known(id)
        if asked is None:
            raise UserError(GONE)
        return asked

    def known(self, id: Any) -> Asked | None:
        """What was asked under that id; None if it is no longer kept."""
        with self._lock:
            asked = self._recent.get(id) if isinstance(id, str) else None
            if asked is not None:
                self._recent.move_to_end(asked.id)
            return asked
