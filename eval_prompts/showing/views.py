"""What crosses to the page's script, by name and kind: ``eval_prompts/page/*.js`` reads these fields."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from eval_prompts.judging.verdict import BadgeState
from eval_prompts.models.pair import Side
from eval_prompts.rows import State
from eval_prompts.showing.live_pair import Place


class BadgeView(TypedDict):
    """A finding: ``label`` is shown, ``reason`` and ``output`` on a click."""

    kind: str
    label: str
    state: BadgeState
    reason: str
    output: str


class VerdictView(TypedDict):
    """What is known of an answer, and whether more is to come."""

    checking: bool
    badges: list[BadgeView]


class ThinkingView(TypedDict):
    """The draft of a thinking model; ``over`` once it has come to its end."""

    text: str
    over: bool


class ConfidenceView(TypedDict):
    """An answer's tokens, each with how likely its model found it (None where nobody told); ``note`` says what is not
    known."""

    tokens: list[tuple[str, float | None]]
    note: str


class SideView(TypedDict):
    """One answer as it stands; ``verdict`` is None while it is hidden, ``thinking`` where there was no draft.
    ``confidence`` is there where it was asked for, and is not hidden."""

    text: str
    thinking: ThinkingView | None
    code: str
    state: State
    facts: list[str]
    ending: str
    verdict: VerdictView | None
    confidence: NotRequired[ConfidenceView]


class LineView(TypedDict):
    """One line of code of one side: its number from 1, and its pieces, each with whether it is marked."""

    number: int
    pieces: list[tuple[str, bool]]


class LinesView(TypedDict):
    """What stands at one height of the diff; a side without a line there is None."""

    kind: str
    left: LineView | None
    right: LineView | None


class RowView(TypedDict):
    """One question with its answers by place; ``names`` tells who stands where, and is None while that is hidden.
    ``differs`` is None until both answers are complete, ``change`` until it is known which one scores better. Turns of
    one conversation have one ``thread``, the pair that began it; ``follows`` says what a later one goes on from.
    ``number`` counts the questions of a page, 0 for what was asked further; ``task`` is the one that the question is
    of, "" for a visitor's own.
    """

    title: str
    task: str
    question: str
    pair: str
    thread: str
    turn: int
    number: int
    follows: str
    names: dict[Place, Side] | None
    sides: dict[Place, SideView]
    differs: bool | None
    diff: list[LinesView]
    references: list[str]
    change: str | None
    titles: NotRequired[dict[Side, str]]


class AskedView(TypedDict):
    """Where a page stands among all that one press asks: the pages from ``first`` to ``last`` of ``size`` questions
    each, of which those up to ``begun`` are asked; ``count`` questions has the task, ``asking`` are asked, ``answered``
    are. ``before`` of them stand before this page, ``through`` is the last that is asked, ``next`` the last of the page
    behind that: a conversation is whole on its page. ``changes`` counts what got better, same, worse, unknown (not
    scored) or is hidden yet."""

    id: str
    task: str
    page: int
    first: int
    last: int
    begun: int
    size: int
    before: int
    through: int
    next: int
    count: int
    asking: int
    answered: int
    seconds_left: int | None
    changes: dict[str, int]


class BoardView(TypedDict):
    """One request with its answers so far. ``ahead`` answers of others come first, which are of ``place - 1`` requests;
    ``at_once`` answers are written at a time, 0 where that is not known."""

    id: str
    asked_at: float
    settings: str
    title: str
    blind: bool
    model: str
    adapter: str
    running: bool
    ahead: int
    place: int
    at_once: int
    rows: list[RowView]
    asked: NotRequired[AskedView]


class StatusView(TypedDict):
    """The page's header: who answers (``tuned`` says what kind the tuned side is), the state in words, details as
    pairs of a name and words, and ``models`` is something else whenever another base or adapter answers."""

    state: str
    words: str
    problem: str
    progress: float | None
    model: str
    base: str
    models: str
    against: bool
    adapter: str
    tuned: str
    device: str
    details: list[list[str]]
    poll_seconds: float
