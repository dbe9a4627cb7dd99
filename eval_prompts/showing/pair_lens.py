"""The lens on a pair of answers that was shown: what was asked, what was written, and how both models see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from eval_prompts.lens.token_lens import FROM_TEXT
from eval_prompts.lens.view import Written, first_choices, parting, reading_view
from eval_prompts.showing.live_pair import STILL_WRITTEN, other
from eval_prompts.votes.export import conversations, kept
from tuning.data.chat import Message
from tuning.errors import UserError

if TYPE_CHECKING:
    from eval_prompts.models.pair import Side
    from eval_prompts.rows import Row
    from eval_prompts.serving.readings import Readings
    from eval_prompts.showing.live_pair import LivePair
    from eval_prompts.showing.shown_pairs import ShownPairs
    from eval_prompts.tasks.task import Task
    from eval_prompts.votes.records import Answered, ShownPair

STILL_BLIND = "Who wrote these answers is hidden until your vote, and the lens would tell: vote first."
OTHER_MODELS = "These answers were written by {then}; they are read by what is loaded now, {now}."
NO_PROMPT = "How this question was put to the models was not kept: ask it again."
APART = "Each answer is read behind the conversation that it goes on from: the two had parted before."
APART_REFERENCE = " The reference is read behind that of the base side."
EMPTY = "The {side} answer has no text, so there is nothing to read on that side."


@dataclass(frozen=True)
class Asked:
    """A pair of answers with what the lens needs of it. ``left`` is the side that stands left; ``who`` are the
    fingerprints of those that wrote it, and their names; ``messages`` by side what each was asked."""

    messages: dict[Side, tuple[Message, ...]]
    answers: dict[Side, Written]
    references: tuple[str, ...]
    greedy: bool
    left: Side
    who: dict[Side, tuple[str, str]]
    notes: list[str] = field(default_factory=list)


def asked(pairs: ShownPairs, pair_id: Any, task: Task) -> Asked:
    """What is known of a pair. Raises UserError if it hides something, is still being written, or is unknown."""
    live = pairs.live(pair_id)
    if live is not None:
        return asked_lately(live)
    record = pairs.ratings.pair(pair_id if isinstance(pair_id, str) else "")
    if not pairs.ratings.is_revealed(record):
        raise UserError(STILL_BLIND)
    return asked_before(record, task)


def asked_lately(live: LivePair) -> Asked:
    """A pair that is remembered with its answers' own tokens."""
    if not live.revealed:
        raise UserError(STILL_BLIND)
    if not live.over:
        raise UserError(STILL_WRITTEN)
    showing, notes = live.showing, []
    answers: dict[Side, Written] = {}
    for side, answer in live.answers().items():
        row = next(row for row in showing.stream.rows if (row.side, row.index) == (side, live.index))
        ids = written_ids(row, answer.text)
        if not ids and answer.text and FROM_TEXT not in notes:
            notes.append(FROM_TEXT)
        answers[side] = Written(answer.text, answer.stopped, ids)
    return Asked(
        {side: showing.stream.conversation(live.index, side) for side in answers},
        answers,
        showing.questions[live.index].references,
        showing.stream.settings.temperature == 0,
        live.left,
        {side: showing.who(side) for side in answers},
        notes,
    )


def written_ids(row: Row, text: str) -> tuple[int, ...]:
    """The tokens of an answer, with the closing one; none where the text is not all of them."""
    written = row.decode(row.generated) if row.decode else None
    if written is None or text not in (written, row.opening + written):
        return ()
    return tuple(row.written)


def asked_before(record: ShownPair, task: Task) -> Asked:
    """A pair as the database keeps it, which is its texts. Raises UserError if the prompt was not kept."""
    if not kept(record, "messages"):
        raise UserError(NO_PROMPT)
    put = conversations(record)
    known = task.question_of(record.question)
    sides: dict[Side, Answered] = {"base": record.base, "tuned": record.tuned}
    return Asked(
        {side: tuple(Message(role=one["role"], content=one["content"]) for one in put[side]) for side in sides},
        {side: Written(answer.text, answer.state == "ended") for side, answer in sides.items()},
        known.references if known else (),
        not record.settings.get("temperature"),
        record.left,
        {side: (answer.label, answer.fingerprint) for side, answer in sides.items()},
        [FROM_TEXT],
    )


def pair_view(found: Asked, readings: Readings, now: dict[Side, tuple[str, str]]) -> dict[str, Any]:
    """Both answers of a pair as both models see them, by place, where they part, and the reference if there is one.

    ``now`` is who would answer now, as in :class:`Asked`. Raises UserError if they cannot be read.
    """
    texts: dict[str, Written] = {side: one for side, one in found.answers.items() if one.text or one.ids}
    notes = [*found.notes, *(EMPTY.format(side=side) for side in found.answers if side not in texts)]
    texts |= {f"reference {number}": Written(text) for number, text in enumerate(found.references[:1]) if text}
    if not texts:
        raise UserError("Neither answer has any text: there is nothing to read.")
    if [who[1] for who in found.who.values()] != [who[1] for who in now.values()]:
        then, today = (" against ".join(dict.fromkeys(who[0] for who in each.values())) for each in (found.who, now))
        notes.append(OTHER_MODELS.format(then=then, now=today))
    apart = found.messages["base"] != found.messages["tuned"]
    if apart:
        read = readings.read(found.messages["base"], {name: one for name, one in texts.items() if name != "tuned"})
        own = {name: one for name, one in texts.items() if name == "tuned"}
        read |= readings.read(found.messages["tuned"], own) if own else {}
        notes.append(APART + (APART_REFERENCE if found.references else ""))
    else:
        read = readings.read(found.messages["base"], texts)
    both = {side: read[side] for side in ("base", "tuned") if side in read}
    parted = parting(both, found.greedy) if len(both) == 2 and not apart else {"place": None, "words": ""}
    views = {name: reading_view(reading) for name, reading in read.items()}
    places = {"left": found.left, "right": other(found.left)}
    reference = next((name for name in read if name not in both), None)
    return {
        "sides": {place: views[side] for place, side in places.items() if side in views},
        "reference": views[reference] | {"parting": first_choices(read[reference])} if reference else None,
        "parting": parted,
        "notes": notes,
    }
