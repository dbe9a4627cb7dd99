"""A conversation goes on: what the turn before was, and what both sides are asked next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from eval_prompts.rows import Prompt
from eval_prompts.showing.live_pair import STILL_WRITTEN, LivePair, Place, Thread, other
from eval_prompts.votes.export import conversations
from tuning.data.chat import Message, check_question
from tuning.data.thinking import without_thinking
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.models.pair import Side
    from eval_prompts.showing.shown_pairs import ShownPairs
    from eval_prompts.votes.records import Answered, ShownPair

Basis = Literal["own", "left", "right"]
"""What both sides go on from: each from its own answer, or both from the one that stands there."""
SAYS_NOTHING = "The {place} answer says nothing to go on from: let both go on from the other one."
FAILED = "The {place} answer failed, so nothing can go on from it: ask again."


@dataclass(frozen=True)
class Before:
    """The turn that a follow-up goes on from. ``messages`` and ``said`` are by side: what each was asked, and what it
    said without a draft. ``who`` answered, as :func:`eval_prompts.showing.showing.answering` tells it."""

    thread: Thread
    turn: int
    basis: Basis
    messages: dict[Side, tuple[Message, ...]]
    said: dict[Side, str]
    failed: tuple[Side, ...]
    who: dict[Side, tuple[str, str]]
    task: str = ""


def turn_before(pairs: ShownPairs, pair_id: Any, basis: Any = "own") -> Before:
    """The pair of that id, however long ago it was shown. Raises UserError for one that is unknown or still being
    written, and for another basis than there is."""
    if basis not in get_args(Basis):
        raise UserError(f"A follow-up goes on from {', '.join(get_args(Basis))}: choose one of them.")
    live = pairs.live(pair_id)
    if live is not None:
        return replace(shown_lately(live), basis=basis)
    record = pairs.ratings.pair(pair_id if isinstance(pair_id, str) else "")
    return replace(shown_before(record, pairs.ratings.is_revealed(record)), basis=basis)


def shown_lately(live: LivePair) -> Before:
    """A pair that is remembered. Raises UserError while it is being written."""
    if not live.over:
        raise UserError(STILL_WRITTEN)
    showing, answers = live.showing, live.answers()
    return Before(
        live.thread,
        live.turn,
        "own",
        {side: showing.stream.conversation(live.index, side) for side in answers},
        {side: answer.said for side, answer in answers.items()},
        tuple(side for side, answer in answers.items() if answer.state == "failed"),
        {side: showing.who(side) for side in answers},
        showing.task.name,
    )


def shown_before(record: ShownPair, revealed: bool) -> Before:
    """A pair as the database keeps it."""
    sides: dict[Side, Answered] = {"base": record.base, "tuned": record.tuned}
    asked = conversations(record)
    return Before(
        Thread(record.thread, record.left, revealed),
        record.turn,
        "own",
        {side: tuple(Message(role=one["role"], content=one["content"]) for one in asked[side]) for side in sides},
        {side: without_thinking(answer.text) for side, answer in sides.items()},
        tuple(side for side, answer in sides.items() if answer.state == "failed"),
        {side: (answer.label, answer.fingerprint) for side, answer in sides.items()},
        str(record.settings.get("task") or ""),
    )


def prompt_after(before: Before, question: str) -> Prompt:
    """What both sides are asked next. Raises UserError where there is nothing to go on from, or nothing asked."""
    text = check_question(question)
    names: dict[Place, Side] = {"left": before.thread.left, "right": other(before.thread.left)}
    places: dict[Side, Place] = {side: place for place, side in names.items()}
    sides: tuple[Side, ...] = tuple(before.said) if before.basis == "own" else (names[before.basis],)
    for side in sides:
        if side in before.failed:
            raise UserError(FAILED.format(place=places[side]))
        if not before.said[side].strip():
            raise UserError(SAYS_NOTHING.format(place=places[side]))
    put = {side: (*before.messages[side], *after(before.said[side], text)) for side in sides}
    base = put.get("base") or put["tuned"]
    tuned = put.get("tuned") or base
    return Prompt(text, base, len(text), tuned=None if tuned == base else tuned)


def after(said: str, question: str) -> tuple[Message, Message]:
    """An answer and what is asked next."""
    return Message(role="assistant", content=said), Message(role="user", content=question)
